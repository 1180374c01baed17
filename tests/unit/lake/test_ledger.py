"""The ledger: what runs did, and what follows from it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from s4s_lab.lake import ConnectionRecord, Dataset, PullRow
from s4s_lab.lake.ledger import LEDGER_SCHEMA
from tests.unit.lake.records import NOON, SOURCE


def ran(record: ConnectionRecord, hours: int = 0, **more: Any) -> PullRow:
    """A run of one type that began some hours after noon."""
    begun = NOON + timedelta(hours=hours)
    row = PullRow(f"run-{hours}", record.connection_id, "ImagingStudy", "first", "query", begun, begun)
    return replace(row, **more)


@pytest.fixture
def record(data: Dataset) -> ConnectionRecord:
    """A connection."""
    return data.connection(SOURCE, "p")


def test_a_row_comes_back_as_it_went_in(data: Dataset, record: ConnectionRecord) -> None:
    row = ran(
        record,
        requests=3,
        pages=2,
        new=5,
        last_check=NOON,
        filter="honoured",
        waits_s=1.5,
        outcome="waiting",
        warnings=("slow", "very slow"),
        next_broad=NOON + timedelta(days=7),
        not_before=NOON + timedelta(minutes=5),
        differences='[{"id": "a"}]',
    )
    data.ledger.record([row])
    (found,) = data.ledger.rows(record).to_pylist()
    assert found == vars(row) | {"warnings": ["slow", "very slow"]}


def test_one_run_is_one_commit_and_nothing_is_none(data: Dataset, record: ConnectionRecord) -> None:
    assert data.ledger.record([ran(record), ran(record, resource_type="Patient")]) == 1
    assert data.ledger.record([]) == 1
    assert data.ledger.rows().num_rows == 2


def test_rows_are_of_one_connection_when_asked_and_oldest_first(data: Dataset, record: ConnectionRecord) -> None:
    other = data.connection(SOURCE, "q")
    for row in (ran(record, 2), ran(other, 1), ran(record, 0)):
        data.ledger.record([row])
    assert data.ledger.rows(record)["run_id"].to_pylist() == ["run-0", "run-2"]
    assert data.ledger.rows()["run_id"].to_pylist() == ["run-0", "run-1", "run-2"]


def test_a_ledger_that_knows_no_queries_yet_is_read_and_goes_on(data: Dataset, record: ConnectionRecord) -> None:
    older = pa.schema([field for field in LEDGER_SCHEMA if field.name != "query"])
    content = {name: value for name, value in vars(ran(record)).items() if name != "query"}
    shutil.rmtree(data.ledger.path)
    DeltaTable.create(data.ledger.path, older)
    write_deltalake(data.ledger.path, pa.Table.from_pylist([content], older), mode="append")
    assert data.ledger.rows()["query"].to_pylist() == [None]
    data.ledger.record([ran(record, 1, query="ImagingStudy?patient={patientId}")])
    assert data.ledger.rows(record)["query"].to_pylist() == [None, "ImagingStudy?patient={patientId}"]
    assert data.ledger.rows().schema == LEDGER_SCHEMA
