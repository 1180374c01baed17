"""Who is connected, and the cursor ids of their watermarks."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from s4s_lab.errors import DatasetError, UsageError
from s4s_lab.lake import ConnectionRecord, Dataset, open_dataset

URL = "https://ehr.example/fhir"


def file_of(data: Dataset, record: ConnectionRecord) -> Path:
    """The connection's file."""
    return data.path() / "connections" / f"{record.connection_id}.json"


def test_a_connection_is_found_again_however_its_address_is_written(data: Dataset) -> None:
    made = data.connection(f"{URL}/", "p1")
    assert data.connection(URL, "p1") == made
    assert open_dataset(data.path()).connection(URL, "p1") == made
    assert made.fhir_url == URL
    assert data.connections() == [made]


@pytest.mark.parametrize(("url", "patient_id"), [(URL, "p2"), ("https://other.example/fhir", "p1"), (f"{URL}2", "p1")])
def test_another_patient_or_server_is_another_connection(data: Dataset, url: str, patient_id: str) -> None:
    first, second = data.connection(URL, "p1"), data.connection(url, patient_id)
    assert first.connection_id != second.connection_id
    assert len(data.connections()) == 2


def test_an_address_that_is_none_is_refused(data: Dataset) -> None:
    with pytest.raises(UsageError):
        data.connection("ehr.example", "p1")
    assert data.connections() == []


def test_the_pseudonym_is_kept_when_none_is_given_and_changed_when_another_is(data: Dataset) -> None:
    assert data.connection(URL, "p1", "S-1").participant_id == "S-1"
    assert data.connection(URL, "p1").participant_id == "S-1"
    assert data.connection(URL, "p1", "S-2").participant_id == "S-2"
    assert [record.participant_id for record in data.connections()] == ["S-2"]


def test_the_grant_belongs_into_a_folder_of_its_own(data: Dataset) -> None:
    record = data.connection(URL, "p1")
    assert record.grants_path == data.path() / "grants" / f"{record.connection_id}.json"
    assert not record.grants_path.parent.exists()


def test_a_cursor_is_in_the_file_before_it_is_used_and_stays(data: Dataset) -> None:
    record = data.connection(URL, "p1")
    cursor = data.cursor(record, "ImagingStudy", "query")
    stored = json.loads(file_of(data, record).read_text())
    assert stored["cursors"] == {"ImagingStudy": {"query": cursor}}
    assert open_dataset(data.path()).cursor(record, "ImagingStudy", "query") == cursor
    assert data.connection(URL, "p1") == record


def test_every_type_and_query_has_a_random_cursor_that_tells_nothing(data: Dataset, tmp_path: Path) -> None:
    record = data.connection(URL, "patient-4711")
    other = open_dataset(tmp_path / "other")
    same = other.connection(URL, "patient-4711")
    cursors = {
        data.cursor(record, "ImagingStudy", "query"),
        data.cursor(record, "ImagingStudy", "another query"),
        data.cursor(record, "ExplanationOfBenefit", "query"),
        other.cursor(same, "ImagingStudy", "query"),
    }
    assert len(cursors) == 4
    assert all(len(bytes.fromhex(cursor)) == 16 for cursor in cursors)
    # Nor can the file's name be guessed from the patient's id without the dataset.
    assert same.connection_id != record.connection_id


def test_many_who_ask_for_one_cursor_at_once_get_the_same(data: Dataset) -> None:
    record = data.connection(URL, "p1")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: data.cursor(record, "ImagingStudy", "query"), range(24)))
    assert len(found) == 1


def test_a_cursor_of_a_connection_that_was_removed_is_not_made(data: Dataset) -> None:
    record = data.connection(URL, "p1")
    file_of(data, record).unlink()
    with pytest.raises(DatasetError, match="Connect again"):
        data.cursor(record, "ImagingStudy", "query")


def test_the_file_is_private_and_holds_nothing_else(data: Dataset) -> None:
    record = data.connection(URL, "p1", "S-1")
    path = file_of(data, record)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()).keys() == {"fhir_url", "patient_id", "participant_id", "cursors"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fhir_url": "https://x"}', "null"])
def test_a_damaged_file_is_named(data: Dataset, content: str) -> None:
    record = data.connection(URL, "p1")
    file_of(data, record).write_text(content)
    with pytest.raises(DatasetError, match=rf"{record.connection_id}\.json is damaged"):
        data.connections()


def test_a_record_shows_the_pseudonym_when_there_is_one(data: Dataset) -> None:
    assert repr(data.connection(URL, "p1", "S-1")) == f"<ConnectionRecord S-1 at {URL}>"
