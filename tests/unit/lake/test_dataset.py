"""What a dataset tells about itself."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.dicom import instance_schema
from s4s_lab.errors import DatasetBusy, NotInDataset, UsageError
from s4s_lab.lake import Dataset, PullRow, open_dataset
from s4s_lab.views import packaged_views
from tests.unit.lake.records import NOON, SOURCE, Person, connect, put, tombstone_of


def test_the_list_of_tables_counts_what_is_in_the_record(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    put(data, record, [tombstone_of(darcy.of("ExplanationOfBenefit")[0])])
    rows = {row["name"]: row for row in data.tables().to_pylist()}
    assert list(rows) == sorted([*packaged_views(), "dicom_instance"])
    assert rows["explanation_of_benefit"] == {
        "name": "explanation_of_benefit",
        "rows": len(darcy.of("ExplanationOfBenefit")) - 1,
        "version": 2,
        "path": str(data.path() / "tables" / "explanation_of_benefit"),
    }
    assert rows["dicom_instance"]["rows"] == 0


def test_paths_lead_to_delta_tables(data: Dataset) -> None:
    assert data.path() == Path(str(data.path())).absolute()
    data.tables()
    assert all((data.path(name) / "_delta_log").is_dir() for name in data.tables()["name"].to_pylist())
    with pytest.raises(NotInDataset, match="'nope'"):
        data.path("nope")


@pytest.mark.parametrize("name", ["eob_item", "dicom_instance"])
def test_the_dictionary_explains_every_column(data: Dataset, name: str) -> None:
    dictionary = data.dictionary(name)
    assert dictionary["column"].to_list() == data.arrow(name).column_names
    assert {"type", "meaning", "unit"} <= set(dictionary.columns)
    assert (dictionary["meaning"].str.len() > 0).all()


def test_a_citation_names_dataset_version_and_digest(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    cited = data.citation()
    assert re.fullmatch(rf"S4S Lab dataset {data.dataset_id}, version 1, sha256:[0-9a-f]{{64}}", cited)
    assert open_dataset(data.path()).citation() == cited


def test_a_cited_version_keeps_its_digest(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    cited = data.log.digest()
    put(data, record, [tombstone_of(darcy.study)])
    assert data.log.digest(1) == cited != data.log.digest()


def test_status_has_one_row_per_connection_and_type(data: Dataset, darcy: Person, leroy: Person) -> None:
    record, _ = connect(data, darcy, "S-1"), connect(data, leroy)
    put(data, record, [tombstone_of(darcy.study)])
    cursor = data.cursor(record, "ImagingStudy", "query")
    data.log.commit(record, [], run_id="r", received_at=NOON, cursor_id=cursor, last_check=NOON)
    later = NOON + timedelta(days=7)
    first = PullRow("r", record.connection_id, "ImagingStudy", "first", "query", NOON, NOON)
    data.ledger.record([first])
    ended = NOON + timedelta(hours=1)
    data.ledger.record([replace(first, mode="update", started_at=ended, ended_at=ended, next_broad=later)])
    status = data.status()
    row = status[(status["patient_id"] == darcy.patient_id) & (status["resource_type"] == "ImagingStudy")].iloc[0]
    studies = len(darcy.of("ImagingStudy"))
    assert (row["participant_id"], row["last_mode"], row["rows"], row["fallen_out"]) == (
        "S-1",
        "update",
        studies - 1,
        1,
    )
    assert (row["last_check"], row["last_run"], row["next_broad"]) == (NOON, ended, later)
    assert not status.duplicated(["source", "patient_id", "resource_type"]).any()
    assert set(status["patient_id"]) == {darcy.patient_id, leroy.patient_id}


def test_status_of_an_empty_dataset_is_an_empty_frame(data: Dataset) -> None:
    assert data.status().empty
    assert "last_check" in data.status().columns


def test_two_pulls_of_one_connection_never_run_at_once(data: Dataset) -> None:
    record, other = data.connection(SOURCE, "p"), data.connection(SOURCE, "q")
    with data.pulling(record), data.pulling(other):
        again = open_dataset(data.path())
        with pytest.raises(DatasetBusy, match="pulling this connection"), again.pulling(record):
            pass
    with data.pulling(record):
        pass


def test_duckdb_sees_the_table(data: Dataset, darcy: Person) -> None:
    pytest.importorskip("duckdb")
    connect(data, darcy)
    found = data.relation("explanation_of_benefit").aggregate("count(*), count(DISTINCT resource_id)").fetchall()
    assert found == [(8, 8)]


def test_without_duckdb_the_extra_is_named(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match=r"s4s-lab\[duckdb\]"):
        data.relation("patient")


def test_a_dataset_shows_where_it_is(data: Dataset) -> None:
    assert repr(data) == f"<Dataset {data.dataset_id[:8]} in {data.path()}>"


def test_without_images_the_table_of_files_is_empty_and_whole(data: Dataset) -> None:
    table = data.arrow("dicom_instance")
    assert (table.num_rows, table.schema.equals(instance_schema(), check_metadata=True)) == (0, True)
    assert isinstance(table, pa.Table)
    with pytest.raises(NotInDataset, match=r"no images of series 1\.2.*Fetch"):
        data.slices("1.2")


def test_several_tables_read_at_one_version_fit_each_other_whatever_comes_meanwhile(
    data: Dataset, darcy: Person
) -> None:
    record = connect(data, darcy)
    version = data.version
    studies = data.table("imaging_study", as_of=version)
    put(data, record, [tombstone_of(darcy.study)])
    data.refresh()
    series = data.table("imaging_series", as_of=version)
    assert set(series["resource_id"]) == set(studies["resource_id"]) == {darcy.study["id"]}
    assert data.table("imaging_series").empty
    assert data.version == version + 1


def test_an_earlier_version_is_cited_as_it_was_and_one_that_never_was_is_refused(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    cited = data.citation()
    put(data, record, [tombstone_of(darcy.study)])
    assert data.citation(1) == cited != data.citation()
    assert data.citation() == data.citation(2)
    for version in (3, -1):
        with pytest.raises(NotInDataset, match=f"no version {version}"):
            data.citation(version)


@pytest.mark.parametrize("name", [*packaged_views(), "dicom_instance"])
def test_every_table_has_its_columns_and_says_whose_rows_they_are_when_it_is_empty(name: str, data: Dataset) -> None:
    columns = data.arrow(name)
    assert "participant_id" in columns.column_names[:6]
    assert columns.num_rows == 0
    assert columns.schema.field("participant_id").type == pa.string()
