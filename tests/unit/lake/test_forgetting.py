"""forget: nothing is left of one participant, nothing is lost of another."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from s4s_lab.errors import DatasetBusy, DatasetError, NotInDataset, S4SWarning, UsageError
from s4s_lab.lake import ConnectionRecord, Dataset, open_dataset, opening
from s4s_lab.lake.delta import open_table, read
from s4s_lab.lake.locks import JOURNAL, Locks
from s4s_lab.lake.log import LOG_SCHEMA
from tests.unit.lake.forgetting import STUDY_UIDS, contents, found_in, names_of, shared
from tests.unit.lake.records import SOURCE, Person, put, version_of

TABLES = ("patient", "explanation_of_benefit", "eob_item", "imaging_study", "dicom_instance")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, darcy: Person, leroy: Person) -> Path:
    """Two people in one bucket, so that files hold rows of both."""
    root = tmp_path_factory.mktemp("pair") / "dataset"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BUCKETS", 1)
        shared(open_dataset(root), [darcy, leroy])
    return root


@pytest.fixture
def two(tmp_path: Path, pair: Path) -> Dataset:
    """A copy of them."""
    return open_dataset(shutil.copytree(pair, tmp_path / "dataset"))


def record_of(data: Dataset, person: Person) -> ConnectionRecord:
    (record,) = [one for one in data.connections() if one.patient_id == person.patient_id]
    return record


def at_every_version(data: Dataset, person: Person) -> list[pa.Table]:
    """A person's rows in the log and in tables, as every version up to now shows them."""
    found = []
    for version in range(6):
        rows = read(data.log.at(version), LOG_SCHEMA)
        found.append(rows.filter(pc.equal(rows["patient_id"], person.patient_id)).sort_by("position"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", S4SWarning)
        for name in TABLES:
            tables = (data.arrow(name), data.arrow(name, as_of=3))
            found += [rows.filter(pc.equal(rows["patient_id"], person.patient_id)) for rows in tables]
    return found


def test_nothing_is_left_of_a_participant_in_any_byte(two: Dataset, darcy: Person) -> None:
    record = record_of(two, darcy)
    words = names_of(darcy, record, 0, [two.cursor(record, "ExplanationOfBenefit", "query")])
    # What is searched for is there before, in files of every kind.
    before = {name.split("/")[0] for name, _ in found_in(two.path(), words)}
    assert before >= {"resources", "tables", "pulls", "dicom", "connections", "grants", "set-aside"}
    assert {word for _, word in found_in(two.path(), words)} == words
    two.forget(darcy.patient_id)
    assert found_in(two.path(), words) == set()


def test_images_behind_a_link_are_told_before_anything_is_removed(two: Dataset, darcy: Person) -> None:
    place = next((two.path() / "dicom").rglob(f"{STUDY_UIDS[0]}.1.dcm")).parent
    outside = two.path().parent / "elsewhere"
    place.rename(outside)
    place.symlink_to(outside)
    before = dict(contents(two.path()))
    with pytest.raises(DatasetError, match=f"{place.name} leads out of the image cache"):
        two.forget(darcy.patient_id)
    assert before.items() <= dict(contents(two.path())).items()
    place.unlink()
    outside.rename(place)
    assert two.forget(darcy.patient_id).removed["image files"] == 3


@pytest.mark.parametrize(
    "place", [".part-4y487nhd", "connections/.part-9x", "set-aside/resources-1-2.checkpoint.parquet"]
)
def test_what_a_killed_writer_or_a_power_cut_left_goes_too(two: Dataset, darcy: Person, place: str) -> None:
    left = two.path() / place
    left.parent.mkdir(exist_ok=True)
    left.write_text(darcy.patient_id)
    two.forget(darcy.patient_id)
    assert not left.exists()


def test_files_held_rows_of_both(two: Dataset) -> None:
    column = pa.schema([LOG_SCHEMA.field("patient_id")])
    held = [read(open_table(two.path(name)), column) for name in ("patient", "eob_item")]
    assert [len(rows["patient_id"].unique()) for rows in held] == [2, 2]
    assert all(len(open_table(two.path(name)).file_uris()) == 1 for name in ("patient", "eob_item"))


def test_the_other_participant_keeps_every_row_in_every_version(two: Dataset, darcy: Person, leroy: Person) -> None:
    before = at_every_version(two, leroy)
    images = sorted(path.read_bytes() for path in (two.path() / "dicom").rglob(f"{STUDY_UIDS[1]}.*.dcm"))
    two.forget(darcy.patient_id)
    again = open_dataset(two.path())
    for kept, was in zip(at_every_version(again, leroy), before, strict=True):
        assert kept.equals(was)
    assert any(rows.num_rows for rows in before)
    assert sorted(path.read_bytes() for path in (two.path() / "dicom").rglob(f"{STUDY_UIDS[1]}.*.dcm")) == images
    assert all(rows.num_rows == 0 for rows in at_every_version(again, darcy))


def test_the_other_participant_keeps_watermarks_ledger_grant_and_waits(
    two: Dataset, darcy: Person, leroy: Person
) -> None:
    other = record_of(two, leroy)
    cursor = two.cursor(other, "ExplanationOfBenefit", "query")
    before = (two.log.last_check(cursor), two.ledger.rows(other), other.grants_path.read_bytes())
    two.forget(darcy.patient_id)
    assert (two.log.last_check(cursor), two.ledger.rows(other), other.grants_path.read_bytes()) == before
    assert before[0] is not None
    assert list(two.connections()) == [other]
    assert other.connection_id in (two.path() / "dicom" / "waits.json").read_text()


def test_a_later_consent_has_no_watermark(two: Dataset, darcy: Person) -> None:
    old = two.cursor(record_of(two, darcy), "ExplanationOfBenefit", "query")
    two.forget(darcy.patient_id)
    record = two.connection(SOURCE, darcy.patient_id)
    new = two.cursor(record, "ExplanationOfBenefit", "query")
    assert new != old
    assert (two.log.last_check(new), two.log.last_check(old)) == (None, None)
    assert two.log.current(record, "ExplanationOfBenefit") == {}
    put(two, record, map(version_of, darcy.of("Patient")))
    two.refresh()
    assert darcy.patient_id in set(two.table("patient")["patient_id"])


def test_a_cited_version_says_what_is_missing(two: Dataset, darcy: Person) -> None:
    old = two.log.version
    report = two.forget(darcy.patient_id)
    assert report.version == two.log.version == old + 1
    assert "without 1 participant forgotten since (20" in two.citation(old)
    assert "without" not in two.citation()
    with pytest.warns(S4SWarning, match="shown without 1 participant forgotten since"):
        two.table("patient", as_of=old)
    with warnings.catch_warnings():
        warnings.simplefilter("error", S4SWarning)
        two.table("patient", as_of=old + 1)
        two.table("patient")


def test_tables_show_the_newest_version_and_can_go_on(two: Dataset, darcy: Person, leroy: Person) -> None:
    two.forget(darcy.patient_id)
    assert {row["version"] for row in two.tables().to_pylist()} == {two.log.version}
    claim = version_of(leroy.of("ExplanationOfBenefit")[0], id="one-more")
    put(two, record_of(two, leroy), [claim])
    two.refresh()
    assert "one-more" in set(two.table("explanation_of_benefit")["resource_id"])


def test_the_report_counts_and_names_nobody(two: Dataset, darcy: Person) -> None:
    report = two.forget(darcy.patient_id)
    assert report.removed["connections"] == report.removed["grants"] == report.removed["image studies"] == 1
    # Two images and one that was set aside; two runs.
    assert (report.removed["image files"], report.removed["ledger rows"] >= 2) == (3, True)
    assert report.removed["resource versions"] >= len(darcy.resources)
    assert darcy.patient_id not in repr(report) + str(report.to_json())
    assert repr(report).startswith("ForgetReport: done\n")


def test_an_unknown_patient_is_refused_and_nobody_else_is_named(two: Dataset, leroy: Person) -> None:
    with pytest.raises(NotInDataset, match=r"no patient with this id\. It has 2 connections") as caught:
        two.forget("nobody")
    assert leroy.patient_id not in str(caught.value)
    with pytest.raises(NotInDataset, match="of that server"):
        two.forget(leroy.patient_id, "http://127.0.0.1:8/other")


def test_an_id_that_two_servers_know_needs_the_server(two: Dataset, darcy: Person) -> None:
    other = two.connection("http://127.0.0.1:8/other", darcy.patient_id)
    with pytest.raises(UsageError, match=r"2 servers .* know this patient id"):
        two.forget(darcy.patient_id)
    two.forget(darcy.patient_id, SOURCE)
    assert other in two.connections()


def test_a_connection_whose_file_is_lost_can_be_forgotten(two: Dataset, darcy: Person) -> None:
    record = record_of(two, darcy)
    (two.path() / "connections" / f"{record.connection_id}.json").unlink()
    two.forget(darcy.patient_id)
    assert found_in(two.path(), {darcy.patient_id, record.connection_id}) == set()


@pytest.mark.parametrize("doing", ["pulling", "fetching"])
def test_nobody_is_forgotten_while_a_run_goes_on(
    two: Dataset, darcy: Person, doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s4s_lab.lake.forgetting._PATIENCE_S", 0.0)
    before = two.log.version
    with getattr(two, doing)(record_of(two, darcy)), pytest.raises(DatasetBusy, match="this participant"):
        open_dataset(two.path()).forget(darcy.patient_id)
    assert (two.log.version, (two.path() / JOURNAL).exists()) == (before, False)


@pytest.mark.parametrize("doing", ["pulling", "fetching"])
def test_an_opened_dataset_does_not_write_for_somebody_forgotten(two: Dataset, darcy: Person, doing: str) -> None:
    elsewhere = open_dataset(two.path())
    record = record_of(elsewhere, darcy)
    two.forget(darcy.patient_id)
    with pytest.raises(DatasetError, match="has been removed"), getattr(elsewhere, doing)(record):
        pytest.fail("it went on")
    elsewhere.refresh()
    assert found_in(two.path(), {darcy.patient_id}) == set()


def test_nobody_writes_until_what_was_interrupted_is_finished(two: Dataset, darcy: Person, leroy: Person) -> None:
    (two.path() / JOURNAL).write_text("{}")
    with pytest.raises(DatasetBusy, match=r"being forgotten .* Open the dataset again"):
        put(two, record_of(two, leroy), map(version_of, leroy.of("Patient")))
    with pytest.raises(DatasetError, match="is damaged"):
        open_dataset(two.path())


def damage(table: Path) -> None:
    """Leave nothing readable in the files of the table's newest version."""
    for uri in open_table(table).file_uris():
        Path(uri.removeprefix("file://")).write_bytes(b"nothing of use")


def test_a_damaged_file_of_the_log_stops_it_before_anything_is_changed(two: Dataset, darcy: Person) -> None:
    damage(two.log.path)
    before = {name: content for name, content in contents(two.path()) if not name.startswith(".locks")}
    with pytest.raises(DatasetError, match=r"cannot be told whose rows .*s4s verify --repair"):
        two.forget(darcy.patient_id)
    assert {name: content for name, content in contents(two.path()) if not name.startswith(".locks")} == before


def test_a_damaged_table_or_ledger_stops_nothing(two: Dataset, darcy: Person, leroy: Person) -> None:
    before = two.arrow("patient").filter(pc.not_equal(two.arrow("patient")["patient_id"], darcy.patient_id))
    damage(two.path("patient"))
    damage(two.ledger.path)
    two.forget(darcy.patient_id)
    assert two.arrow("patient").equals(before)
    assert set(two.table("eob_item")["patient_id"]) == {leroy.patient_id}


def test_a_lock_of_somebody_else_stays(two: Dataset, darcy: Person, leroy: Person) -> None:
    with Locks(two.path() / ".locks").alone(f"pull-{record_of(two, leroy).connection_id}", busy="busy"):
        two.forget(darcy.patient_id)
    left = {path.name for path in (two.path() / ".locks").glob("pull-*.lock")}
    assert left == {f"pull-{record_of(two, leroy).connection_id}.lock"}
