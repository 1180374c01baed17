"""Files of a table read one after another: found whatever the folder's name, skipped by what the log tells of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.errors import DatasetError
from s4s_lab.lake import delta
from s4s_lab.lake.scanning import files_of

SCHEMA = pa.schema([("patient_id", pa.string()), ("number", pa.int64()), ("bucket", pa.int32())])
INSIDE = pa.schema([("number", pa.int64()), ("patient_id", pa.string())])


def filled(table: Path) -> Path:
    first = pa.table({"patient_id": ["a", "a", "b"], "number": [1, 2, 3], "bucket": [1, 1, 2]}, SCHEMA)
    delta.fill(table, first, partition_by=("bucket",), described=("patient_id",), transactions={})
    more = pa.table({"patient_id": ["c"], "number": [4], "bucket": [1]}, SCHEMA)
    delta.make_durable([delta.append(table, more, transactions={})])
    return table


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("bucket = 1", {1, 2, 4}),
        ("bucket = 2", {3}),
        ("bucket = 1 AND patient_id = 'a'", {1, 2, 4}),
        ("bucket = 3", set()),
    ],
)
def test_files_are_those_that_may_hold_what_is_asked_for(tmp_path: Path, where: str, numbers: set[int]) -> None:
    handle = delta.open_table(filled(tmp_path / "Größe of 100% x"))
    files = files_of(handle, where)
    assert all(path.is_file() for path in files.paths)
    assert set(files.read(INSIDE)["number"].to_pylist()) == numbers
    assert files.read(INSIDE).schema.equals(INSIDE)


def test_rows_come_some_at_a_time_in_the_columns_that_were_asked_for(tmp_path: Path) -> None:
    handle = delta.open_table(filled(tmp_path / "t"))
    batches = list(files_of(handle, "bucket = 1").stream(INSIDE, 1))
    assert [batch.num_rows for batch in batches] == [1, 1, 1]
    assert {batch.schema.equals(INSIDE) for batch in batches} == {True}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"nothing")])
def test_a_file_that_cannot_be_read_is_told_with_its_table(tmp_path: Path, damage: object) -> None:
    handle = delta.open_table(filled(tmp_path / "t"))
    files = files_of(handle, "bucket = 2")
    assert callable(damage)
    damage(files.paths[0])
    with pytest.raises(DatasetError, match=r"The table in .*t cannot be read"):
        files.read(INSIDE)
    with pytest.raises(DatasetError, match="cannot be read"):
        list(files.stream(INSIDE, 10))
