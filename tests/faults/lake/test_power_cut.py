"""What a power cut can leave: it costs the last commit, never the dataset."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from s4s_lab.errors import S4SWarning
from s4s_lab.lake import Dataset, PullRow, delta, durable, open_dataset
from s4s_lab.lake.delta import open_table
from s4s_lab.lake.entries import entry_path, newest_version, read_entry
from tests.faults.lake import working
from tests.faults.lake.working import Step
from tests.unit.lake.records import NOON, Person, put

Cut = Callable[[Path], None]


def newest(table: Path) -> Path:
    """The newest log entry."""
    version = newest_version(table)
    assert version is not None
    return entry_path(table, version)


def cut_entry(table: Path) -> None:
    """Leave half of the newest log entry."""
    entry = newest(table)
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])


def empty_entry(table: Path) -> None:
    """Leave the newest log entry without content."""
    newest(table).write_bytes(b"")


def zero_entry(table: Path) -> None:
    """Leave zeros of the right length."""
    newest(table).write_bytes(b"\0" * newest(table).stat().st_size)


def lose_file(table: Path) -> None:
    """Lose a data file that the newest commit added."""
    file_of(table).unlink()


def cut_file(table: Path) -> None:
    """Leave half of a data file that the newest commit added."""
    file_of(table).write_bytes(file_of(table).read_bytes()[:200])


def file_of(table: Path) -> Path:
    """A data file that the newest commit added."""
    version = newest_version(table)
    assert version is not None
    return table / read_entry(table, version).added[0].path


CUTS = [cut_entry, empty_entry, zero_entry, lose_file, cut_file]


@pytest.fixture
def data(tmp_path: Path, person: Person, steps: list[Step]) -> Dataset:
    """A dataset after two commits, tables refreshed after each."""
    data = open_dataset(tmp_path / "dataset")
    working.run(data, person.patient_id, steps[:2])
    return data


@pytest.fixture
def calm(tmp_path: Path, person: Person, steps: list[Step]) -> Dataset:
    """A dataset that never saw more than the first commit."""
    calm = open_dataset(tmp_path / "calm")
    working.run(calm, person.patient_id, steps[:1])
    return calm


def assert_same(data: Dataset, other: Dataset) -> None:
    """Check that both hold the same, in log and tables."""
    assert data.log.digest() == other.log.digest()
    for name in ("explanation_of_benefit", "eob_item", "patient"):
        assert data.arrow(name, fallen_out=True).equals(other.arrow(name, fallen_out=True))


def reopened(data: Dataset) -> Dataset:
    """Open again, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", S4SWarning)
        return open_dataset(data.path())


def lose_entry(table: Path) -> None:
    """Lose the newest log entry."""
    newest(table).unlink()


@pytest.mark.parametrize("cut", CUTS)
def test_the_logs_last_commit_is_set_aside_and_the_one_before_counts(
    data: Dataset, calm: Dataset, person: Person, steps: list[Step], cut: Cut
) -> None:
    cut(data.log.path)
    with pytest.warns(S4SWarning, match=r"commit to resources \(version 2\) was never finished.*set aside") as caught:
        again = open_dataset(data.path())
    assert len(caught) == 1
    _, cursor = working.known(again, person.patient_id)
    assert (again.log.version, working.steps_done(again, cursor)) == (1, 1)
    assert_same(again, calm)
    assert len(list((data.path() / "set-aside").iterdir())) == 1
    working.run(again, person.patient_id, steps[:2])
    working.run(calm, person.patient_id, steps[:2])
    assert_same(open_dataset(data.path()), calm)


@pytest.mark.parametrize("cut", [cut_entry, lose_entry])
def test_tables_never_show_a_lost_version_under_the_number_of_another(
    data: Dataset, calm: Dataset, person: Person, steps: list[Step], cut: Cut
) -> None:
    cut(data.log.path)
    again = reopened(data)
    # Version 2 is made again, with another content, before anybody looks at a table that shows the lost version 2.
    for dataset in (again, calm):
        record, _ = working.known(dataset, person.patient_id)
        assert put(dataset, record, steps[3]) == 2
    assert_same(again, calm)


def test_a_missing_last_entry_costs_that_commit(data: Dataset, calm: Dataset) -> None:
    lose_entry(data.log.path)
    assert_same(open_dataset(data.path()), calm)


def test_a_log_that_falls_back_while_it_is_open_takes_the_tables_along(data: Dataset, calm: Dataset) -> None:
    lose_entry(data.log.path)
    assert_same(data, calm)


def test_what_others_committed_is_synced_before_a_table_shows_it(
    data: Dataset, person: Person, steps: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = working.known(data, person.patient_id)
    with monkeypatch.context() as another:
        # Another writer has committed and not synced yet.
        another.setattr(delta, "make_durable", lambda _commits: None)
        version = put(data, record, steps[2])
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync", synced.append)
    data.refresh()
    of_tables = [place for place, path in enumerate(synced) if data.path() / "tables" in path.parents]
    lasts = [synced.index(path) for path in (entry_path(data.log.path, version), file_of(data.log.path))]
    assert max(lasts) < min(of_tables)


@pytest.mark.parametrize("cut", CUTS)
def test_a_tables_last_commit_is_set_aside_and_derived_again(data: Dataset, cut: Cut) -> None:
    before = data.arrow("eob_item")
    cut(data.path("eob_item"))
    with pytest.warns(S4SWarning, match=r"commit to tables/eob_item"):
        again = open_dataset(data.path())
    assert again.arrow("eob_item").equals(before)


@pytest.mark.parametrize("cut", [cut_entry, empty_entry, zero_entry])
def test_a_table_cut_at_its_first_commit_is_made_anew(data: Dataset, cut: Cut) -> None:
    before = data.arrow("patient")
    for version in range(newest_version(data.path("patient")) or 0, 0, -1):
        entry_path(data.path("patient"), version).unlink()
    cut(data.path("patient"))
    with pytest.warns(S4SWarning, match=r"commit to tables/patient \(version 0\)"):
        again = open_dataset(data.path())
    assert again.arrow("patient").equals(before)


@pytest.mark.parametrize("cut", [cut_entry, lose_file])
def test_a_cut_ledger_loses_advice_only(data: Dataset, cut: Cut) -> None:
    record = data.connections()[0]
    for run_id in ("run-0", "run-1"):
        row = PullRow(run_id, record.connection_id, "ExplanationOfBenefit", "first", "query", NOON, NOON)
        data.ledger.record([row])
    cut(data.ledger.path)
    with pytest.warns(S4SWarning, match="commit to pulls"):
        again = open_dataset(data.path())
    assert again.ledger.rows()["run_id"].to_pylist() == ["run-0"]
    assert again.log.version == data.log.version


def test_a_cut_checkpoint_costs_nothing(data: Dataset) -> None:
    digest, before = data.log.digest(), data.arrow("eob_item")
    open_table(data.log.path).create_checkpoint()
    checkpoint = data.log.path / "_delta_log" / f"{2:020}.checkpoint.parquet"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    again = open_dataset(data.path())
    assert (again.log.version, again.log.digest()) == (2, digest)
    assert again.arrow("eob_item").equals(before)


def test_a_checkpoint_of_a_lost_version_is_set_aside_with_it(data: Dataset, calm: Dataset) -> None:
    open_table(data.log.path).create_checkpoint()
    cut_entry(data.log.path)
    assert_same(reopened(data), calm)


def test_what_is_whole_is_never_set_aside(data: Dataset) -> None:
    open_dataset(data.path())
    assert not (data.path() / "set-aside").exists()
