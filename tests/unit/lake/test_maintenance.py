"""Orphans go and small files are joined; every version reads as before, and nobody waits for it."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.errors import DatasetBusy, S4SWarning
from s4s_lab.lake import Dataset, PullRow, locks, maintenance, open_dataset, opening
from s4s_lab.lake.delta import open_table
from s4s_lab.lake.entries import entry_path, newest_version, read_entry
from tests.unit.lake.records import NOON, SOURCE, Person, connect, place, put, version_of

LEFT = (
    "resources/part-00000-left-c000.zstd.parquet",
    "resources/resource_type=Patient/bucket=3/part-00000-left-c000.zstd.parquet",
    "resources/resource_type=Patient/bucket=3/part-00001-left-c000.zstd.parquet#1",
    "resources/_delta_log/_commit_3f.json.tmp",
    "tables/eob_item/bucket=3/part-00000-left-c000.zstd.parquet",
    "pulls/part-00000-left-c000.zstd.parquet",
    "connections/.part-x1",
    ".part-x2",
    ".locks/probe-1-2.lock",
    "tables/.part-old",
    "dicom/a/1.2.3/4.part",
)
FOREIGN = ("resources/_change_data/x.parquet", "resources/notes.txt", "resources/_delta_log/own.crc", "dicom/a/1/2.dcm")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four files are many."""
    monkeypatch.setattr(maintenance, "MANY", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, darcy: Person) -> Path:
    """A dataset with two versions of a claim, tables shown after each."""
    data = open_dataset(tmp_path_factory.mktemp("made") / "dataset")
    record = connect(data, darcy)
    data.refresh()
    put(data, record, [version_of(darcy.of("ExplanationOfBenefit")[0], disposition="again")])
    data.refresh()
    return data.path()


@pytest.fixture
def data(tmp_path: Path, made: Path) -> Dataset:
    """A copy of it."""
    return open_dataset(shutil.copytree(made, tmp_path / "dataset"))


def remove(data: Dataset, *, older_than_s: float = 0.0) -> set[str]:
    gone = maintenance.remove_orphans(data.path(), opening.lock_folder(data.path()), older_than_s=older_than_s)
    return {path.relative_to(data.path()).as_posix() for path in gone}


def leave(data: Dataset, *names: str, age: timedelta = timedelta()) -> None:
    for name in names:
        path = data.path() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "tables/.part-old":
            path.joinpath("_delta_log").mkdir(parents=True)
        else:
            path.write_bytes(b"left")
        moment = time.time() - age.total_seconds()
        os.utime(path, (moment, moment))


def pile_up(data: Dataset, darcy: Person, count: int = 4) -> None:
    """Make many small commits: each another version of one claim, and a row of the ledger."""
    record, claim = data.connections()[0], darcy.of("ExplanationOfBenefit")[0]
    for number in range(count):
        put(data, record, [version_of(claim, disposition=f"{number}")])
        data.ledger.record([PullRow(f"r{number}", record.connection_id, "Patient", "update", "q", NOON, NOON)])


def pull_nothing(data: Dataset) -> None:
    with data.pulling(data.connections()[0]):
        pass


def claims_in_files(data: Dataset) -> int:
    files = open_table(data.log.path).file_uris(file_pruning_predicate="resource_type = 'ExplanationOfBenefit'")
    return len(files)


def test_what_no_version_names_is_removed_and_nothing_else(data: Dataset) -> None:
    versions = range(data.log.version + 1)
    before = [data.citation(version) for version in versions]
    leave(data, *LEFT, *FOREIGN)
    assert remove(data) == set(LEFT)
    assert all((data.path() / name).is_file() for name in FOREIGN)
    assert [data.citation(version) for version in versions] == before


def test_the_peer_finds_the_same_orphans(data: Dataset) -> None:
    leave(data, *LEFT)
    table = open_table(data.log.path)
    kept = list(range(table.version() + 1))
    theirs = table.vacuum(
        retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True, keep_versions=kept
    )
    ours = {name.removeprefix("resources/") for name in remove(data) if name.startswith("resources/")}
    assert set(theirs) == {name for name in ours if name.endswith(".parquet")}


def test_what_is_younger_than_a_day_stays(data: Dataset) -> None:
    leave(data, LEFT[0], age=timedelta(hours=23))
    leave(data, LEFT[1], age=timedelta(hours=25))
    assert remove(data, older_than_s=maintenance.DAY_S) == {LEFT[1]}


def test_files_that_were_replaced_are_no_orphans(data: Dataset) -> None:
    table = data.path("explanation_of_benefit")
    named = {file.path for version in range(newest_version(table) or 0) for file in read_entry(table, version).added}
    assert named - set(open_table(table).file_uris())
    assert remove(data) == set()
    assert all((table / name).is_file() for name in named)


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_a_log_that_does_not_tell_everything_has_no_orphans(data: Dataset, harm: str) -> None:
    leave(data, *LEFT[:2], LEFT[5])
    entry = entry_path(data.log.path, 1)
    entry.unlink() if harm == "missing" else entry.write_text("{")
    assert remove(data) == {LEFT[5]}


def test_nothing_is_removed_or_joined_while_somebody_writes(data: Dataset, darcy: Person) -> None:
    locks = opening.lock_folder(data.path())
    leave(data, *LEFT)
    pile_up(data, darcy)
    before = data.log.version
    with locks.writing():
        with pytest.raises(DatasetBusy):
            remove(data)
        pull_nothing(data)
    assert all((data.path() / name).exists() for name in LEFT)
    assert data.log.version == before


def test_a_half_done_forget_is_left_alone(data: Dataset, darcy: Person) -> None:
    leave(data, *LEFT)
    pile_up(data, darcy)
    before = data.log.version
    (data.path() / locks.JOURNAL).write_text("{}")
    pull_nothing(data)
    assert remove(data) == set()
    assert data.log.version == before


def test_a_file_that_gets_its_name_meanwhile_is_kept(
    data: Dataset, darcy: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer's file is there before its name is; then the name comes before the lock is had."""
    real = maintenance._search

    def search_while_another_commits(table: Path, until: float) -> object:
        found = real(table, until)
        if table == data.log.path:
            put(data, data.connections()[0], [version_of(darcy.study)])
            (added,) = read_entry(table, data.log.version).added
            return maintenance._Search(table, data.log.version - 1, frozenset({table / added.path}))
        return found

    monkeypatch.setattr(maintenance, "_search", search_while_another_commits)
    assert remove(data) == set()
    data.log.digest()


def test_small_files_are_joined_after_a_pull_and_every_version_gives_the_same(data: Dataset, darcy: Person) -> None:
    pile_up(data, darcy)
    data.refresh()
    versions = range(data.log.version + 1)
    before = [data.citation(version) for version in versions]
    shown = data.arrow("explanation_of_benefit", as_of=3), data.arrow("explanation_of_benefit"), data.ledger.rows()
    pull_nothing(data)
    assert data.log.version == versions[-1] + 1
    assert claims_in_files(data) == 1
    assert len(open_table(data.ledger.path).file_uris()) == 1
    assert [data.citation(version) for version in versions] == before
    again = data.arrow("explanation_of_benefit", as_of=3), data.arrow("explanation_of_benefit"), data.ledger.rows()
    assert all(one.equals(other) for one, other in zip(shown, again, strict=True))
    assert data.log.digest() == before[-1].rsplit(" ", 1)[1]


def test_joining_changes_nobodys_rows(data: Dataset, darcy: Person) -> None:
    pile_up(data, darcy)
    pull_nothing(data)
    version = data.log.version
    assert data.log.changed(version - 1, version) == {}
    assert data.log.changed(2, version) == {"ExplanationOfBenefit": {place(data.connections()[0])}}


def test_the_raw_json_gets_into_no_log_entry(data: Dataset, darcy: Person) -> None:
    pile_up(data, darcy)
    pull_nothing(data)
    text = entry_path(data.log.path, data.log.version).read_text()
    assert '"OPTIMIZE"' in text
    assert "disposition" not in text


def test_a_table_says_what_it_shows_after_its_files_were_joined(
    data: Dataset, darcy: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "MANY", 2)
    neighbours = [f"p{number}" for number in range(999) if data.log.bucket(SOURCE, f"p{number}") == 3][:3]
    for patient_id in neighbours:
        put(data, data.connection(SOURCE, patient_id), [version_of(darcy.study)])
        data.refresh()
    table, rows = data.path("imaging_study"), data.arrow("imaging_study")
    commits = maintenance.compact(data.path(), opening.lock_folder(data.path()), [table])
    assert [commit.table for commit in commits] == [table]
    assert open_dataset(data.path()).arrow("imaging_study").equals(rows)
    # The log loses the version that the table shows: seen although the join says nothing of it.
    entry_path(data.log.path, data.log.version).unlink()
    assert set(open_dataset(data.path()).table("imaging_study")["patient_id"]) < set(rows["patient_id"].to_pylist())


def test_files_that_were_joined_are_not_joined_again(data: Dataset, darcy: Person) -> None:
    pile_up(data, darcy)
    pull_nothing(data)
    assert maintenance.compact(data.path(), opening.lock_folder(data.path())) == []
    before = data.log.version, newest_version(data.ledger.path)
    pull_nothing(data)
    assert (data.log.version, newest_version(data.ledger.path)) == before


def test_no_round_joins_more_than_its_share(data: Dataset, darcy: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "AT_ONCE", 1000)
    pile_up(data, darcy)
    pull_nothing(data)
    assert claims_in_files(data) == 1
    assert len(open_table(data.ledger.path).file_uris()) == maintenance.MANY
    pull_nothing(data)
    assert len(open_table(data.ledger.path).file_uris()) == 1


def test_tidying_is_looked_for_once_a_day_whatever_the_clock_does(data: Dataset) -> None:
    pull_nothing(data)
    leave(data, LEFT[0], age=timedelta(days=3))
    pull_nothing(data)
    assert (data.path() / LEFT[0]).exists()
    state = data.path() / ".locks" / "tended.json"
    for swept_at in (time.time() - 90_000, time.time() + 90_000):
        leave(data, LEFT[0], age=timedelta(days=3))
        state.write_text(json.dumps({"swept_at": swept_at, "versions": {}}))
        pull_nothing(data)
        assert not (data.path() / LEFT[0]).exists()


def test_a_pull_that_failed_is_not_followed_by_it(data: Dataset) -> None:
    leave(data, LEFT[0], age=timedelta(days=3))
    with pytest.raises(KeyError), data.pulling(data.connections()[0]):
        raise KeyError
    assert (data.path() / LEFT[0]).exists()


def test_a_damaged_file_hinders_tidying_and_no_pull(data: Dataset, darcy: Person) -> None:
    pile_up(data, darcy)
    (added,) = read_entry(data.log.path, data.log.version).added
    file = data.log.path / added.path
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.warns(S4SWarning, match="could not be tidied"):
        pull_nothing(data)
    file.write_bytes(content)
    assert isinstance(data.arrow("explanation_of_benefit"), pa.Table)
