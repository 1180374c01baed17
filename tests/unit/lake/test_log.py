"""The resource log: versions in, current state and watermarks out."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.lake import CurrentVersion, Dataset, ResourceVersion, open_dataset
from s4s_lab.lake.delta import open_table
from s4s_lab.lake.entries import read_entry
from tests.unit.lake.records import NOON, SOURCE, Person, connect, place, put, tombstone_of, version_of, versions

LAST_CHECK = datetime(2026, 10, 31, 23, 59, 59, 999000, tzinfo=UTC)


def test_everything_received_is_current_and_its_json_unchanged(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    claims = data.log.raw(record, "ExplanationOfBenefit")
    assert {key: json.loads(raw) for key, raw in claims.items()} == {
        one["id"]: one for one in darcy.of("ExplanationOfBenefit")
    }
    assert data.log.current(record, "ExplanationOfBenefit").keys() == claims.keys()


def test_json_comes_back_byte_by_byte(data: Dataset) -> None:
    record = data.connection(SOURCE, "p")
    raw = '{ "resourceType":"Patient",\r\n"id" : "p", "x": 1.10, "big": 1e400, "text": "\\u00e9é\\ud83d\\ude00😀" }  '
    put(data, record, [ResourceVersion("Patient", "p", None, None, "h", raw, "stu3")])
    assert data.log.raw(record, "Patient") == {"p": raw}


def test_the_newest_version_counts(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    newer = version_of(darcy.study, description="seen again")
    put(data, record, [newer])
    key = darcy.study["id"]
    assert data.log.current(record, "ImagingStudy")[key].content_hash == newer.content_hash
    assert data.log.raw(record, "ImagingStudy", [key]) == {key: newer.raw}


def test_a_tombstone_is_current_and_the_json_stays(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    put(data, record, [tombstone_of(darcy.study, "withdrawn")])
    key = darcy.study["id"]
    assert data.log.current(record, "ImagingStudy")[key] == CurrentVersion("gone", None, "withdrawn")
    assert json.loads(data.log.raw(record, "ImagingStudy")[key]) == darcy.study


def test_last_updated_comes_back_in_milliseconds(data: Dataset) -> None:
    record = data.connection(SOURCE, "p")
    put(data, record, [ResourceVersion("Patient", "p", "3", LAST_CHECK, "h", "{}", "r4")])
    assert data.log.current(record, "Patient") == {"p": CurrentVersion("h", LAST_CHECK, None, "3")}


def test_only_the_ids_asked_for_come(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    some = [one["id"] for one in darcy.of("ExplanationOfBenefit")[:2]]
    assert data.log.raw(record, "ExplanationOfBenefit", [*some, "unknown"]).keys() == set(some)
    assert data.log.raw(record, "ExplanationOfBenefit", []) == {}


def test_one_patient_never_sees_anothers(data: Dataset, darcy: Person, leroy: Person) -> None:
    connect(data, darcy)
    record = connect(data, leroy)
    elsewhere = data.connection("http://127.0.0.1:10/fhir", leroy.patient_id)
    assert data.log.current(record, "Patient").keys() == {leroy.patient_id}
    assert data.log.current(elsewhere, "Patient") == {}


def test_a_watermark_is_set_in_the_commit_that_holds_its_rows(data: Dataset, darcy: Person) -> None:
    record = data.connection(SOURCE, darcy.patient_id)
    cursor = data.cursor(record, "ImagingStudy", "query")
    assert data.log.last_check(cursor) is None
    version = data.log.commit(
        record, [version_of(darcy.study)], run_id="r", received_at=NOON, cursor_id=cursor, last_check=LAST_CHECK
    )
    entry = read_entry(data.log.path, version)
    # 2026-10-31T23:59:59.999Z by `date -u +%s%3N`.
    assert entry.transactions == {cursor: 1793491199999}
    assert len(entry.added) == 1
    assert open_dataset(data.path()).log.last_check(cursor) == LAST_CHECK


def test_a_watermark_alone_can_be_set_and_set_back(data: Dataset) -> None:
    record = data.connection(SOURCE, "p")
    cursor = data.cursor(record, "ImagingStudy", "query")
    for moment in (LAST_CHECK, LAST_CHECK - timedelta(days=1)):
        data.log.commit(record, [], run_id="r", received_at=NOON, cursor_id=cursor, last_check=moment)
        assert data.log.last_check(cursor) == moment


def test_a_commit_of_nothing_and_half_a_watermark_are_refused(data: Dataset) -> None:
    record = data.connection(SOURCE, "p")
    with pytest.raises(UsageError, match="nothing to commit"):
        put(data, record, [])
    with pytest.raises(UsageError, match="both a cursor id and an instant"):
        data.log.commit(record, [], run_id="r", received_at=NOON, cursor_id="c")
    assert data.log.version == 0


def test_versions_tell_whose_resources_they_brought(data: Dataset, darcy: Person, leroy: Person) -> None:
    first = connect(data, darcy)
    before = data.log.version
    second = connect(data, leroy)
    put(data, first, [version_of(darcy.study, note="again")])
    changed = data.log.changed(before, data.log.version)
    assert changed["ImagingStudy"] == {place(first), place(second)}
    assert changed["Patient"] == {place(second)}


def test_a_version_that_never_was_is_refused(data: Dataset) -> None:
    for version in (-1, 1):
        with pytest.raises(NotInDataset, match=f"no version {version}"):
            data.log.at(version)


def test_statistics_repeat_nothing_of_a_record(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    entry = (data.log.path / "_delta_log" / f"{1:020}.json").read_text()
    assert darcy.patient_id in entry
    family = darcy.of("Patient")[0]["name"][0]["family"]
    assert family in next(iter(data.log.raw(data.connections()[0], "Patient").values()))
    assert family not in entry


def test_buckets_spread_patients_and_depend_on_the_server_too(data: Dataset) -> None:
    found = [data.log.bucket(SOURCE, str(number)) for number in range(2000)]
    assert set(found) == set(range(64))
    # printf 'http://127.0.0.1:9/fhir\np' | sha256sum: the low six bits of the eighth byte, 2c; with fhir2 it is a7.
    assert [data.log.bucket(SOURCE, "p"), data.log.bucket(SOURCE + "2", "p")] == [0x2C, 0x27]


def test_compaction_moves_rows_and_changes_no_state(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    for number in range(5):
        put(data, record, [version_of(darcy.study, description=f"seen {number} times")])
    data.refresh()
    digest, table = data.log.digest(), data.arrow("imaging_study")
    compacted = open_table(data.log.path).optimize.compact()
    assert compacted["numFilesRemoved"] > compacted["numFilesAdded"] > 0
    assert data.log.digest() == digest
    assert data.log.changed(data.log.version - 1, data.log.version) == {}
    assert data.arrow("imaging_study").equals(table)
    entry = read_entry(data.path("imaging_study"), versions(data)["imaging_study"])
    assert (entry.transactions, entry.added) == ({"resources": data.log.version}, ())


def test_of_a_history_each_newest_version_comes_once(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    for number in range(3):
        put(data, record, [version_of(darcy.study, description=str(number))])
    put(data, record, [tombstone_of(darcy.study)])
    key = darcy.study["id"]
    assert [json.loads(raw)["description"] for _, raw in data.log.each_raw(record, "ImagingStudy", [key])] == ["2"]
    assert dict(data.log.each_raw(record, "ImagingStudy", [])) == {}
    other = data.connection(SOURCE, "somebody else")
    assert data.log.raw(other, "ImagingStudy") == {}


def test_any_number_of_ids_is_looked_up_on_any_stack(data: Dataset) -> None:
    record = data.connection(SOURCE, "p")
    ids = [f"e{number}'\"x" for number in range(40_000)]
    put(data, record, [ResourceVersion("Endpoint", key, None, None, "h", "{}", "stu3") for key in ids])
    found: list[int] = []
    before = threading.stack_size(1 << 19)
    try:
        looking = threading.Thread(target=lambda: found.append(len(data.log.raw(record, "Endpoint", ids))))
        looking.start()
    finally:
        threading.stack_size(before)
    looking.join()
    assert found == [40_000]
