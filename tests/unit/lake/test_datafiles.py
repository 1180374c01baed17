"""Files of a commit: what the log says of them is true, and a large commit costs no more memory than a small one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from s4s_lab.lake import delta
from s4s_lab.lake.entries import fault_of, read_entry

SCHEMA = pa.schema({"kind": pa.string(), "bucket": pa.int32(), "id": pa.string(), "n": pa.int64()})
SETTINGS = {"delta.dataSkippingStatsColumns": "id"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table"
    delta.create(path, SCHEMA, partition_by=("kind", "bucket"), settings=SETTINGS)
    return path


def batch(kinds: list[str], ids: list[str | None], bucket: int = 7) -> pa.RecordBatch:
    columns = {"kind": kinds, "bucket": [bucket] * len(ids), "id": ids, "n": list(range(len(ids)))}
    return pa.RecordBatch.from_pydict(columns, SCHEMA)


def append(table: Path, *batches: pa.RecordBatch) -> delta.Commit:
    return delta.append(table, pa.RecordBatchReader.from_batches(SCHEMA, batches), transactions={"cursor": 5})


def test_one_commit_holds_a_file_for_each_partition_and_the_numbers(table: Path) -> None:
    commit = append(table, batch(["A", "B", "A"], ["x", "y", "z"]), batch(["A"], ["w"]))
    assert (commit.first, commit.version) == (1, 1)
    entry = read_entry(table, 1)
    assert sorted((file.partition["kind"], file.stats["numRecords"]) for file in entry.added) == [("A", 3), ("B", 1)]
    assert entry.transactions == {"cursor": 5}
    assert fault_of(table, 1) is None


def test_what_the_log_says_of_a_file_is_what_is_in_it(table: Path) -> None:
    append(table, batch(["A"] * 3, ["m", None, "c"]), batch(["A"] * 2, ["é", "d"]))
    (file,) = read_entry(table, 1).added
    assert file.stats == {"numRecords": 5, "minValues": {"id": "c"}, "maxValues": {"id": "é"}, "nullCount": {"id": 1}}
    assert file.size == (table / file.path).stat().st_size
    assert pq.read_table(table / file.path, partitioning=None)["id"].to_pylist() == ["m", None, "c", "é", "d"]


def test_another_engine_reads_the_same_rows_and_skips_by_what_the_log_says(table: Path) -> None:
    append(table, batch(["A", "B"], ["x", "y"]))
    append(table, batch(["A"], ["z"], bucket=8))
    handle = DeltaTable(table)
    rows = handle.to_pyarrow_dataset().to_table().sort_by("id").to_pylist()
    assert [(row["kind"], row["bucket"], row["id"]) for row in rows] == [("A", 7, "x"), ("B", 7, "y"), ("A", 8, "z")]
    assert pa.table(handle.scan(columns=["id"], predicate="id = 'z'"))["id"].to_pylist() == ["z"]


def test_an_entry_that_lost_a_file_is_known(table: Path) -> None:
    append(table, batch(["A", "B"], ["x", "y"]))
    path = table / "_delta_log" / f"{1:020}.json"
    lines = path.read_text().splitlines()
    first = next(line for line in lines if "add" in json.loads(line))
    path.write_text("\n".join(line for line in lines if line != first))
    assert fault_of(table, 1) == "its log entry is cut off"


def test_files_are_this_users_alone_and_gone_when_the_rows_do_not_come(table: Path) -> None:
    def broken() -> Any:
        yield batch(["A"], ["x"])
        raise KeyboardInterrupt

    before = set(table.rglob("*.parquet"))
    with pytest.raises(KeyboardInterrupt):
        delta.append(table, broken(), transactions={})
    assert set(table.rglob("*.parquet")) == before
    append(table, batch(["A"], ["x"]))
    assert {path.stat().st_mode & 0o777 for path in table.rglob("part-*.parquet")} == {0o600}


CHILD = """
import sys; from pathlib import Path; import pyarrow as pa
from s4s_lab.lake import delta
schema = pa.schema([("kind", pa.string()), ("bucket", pa.int32()), ("id", pa.string()), ("raw", pa.string())])
table = Path(sys.argv[1]); delta.create(table, schema, partition_by=("kind", "bucket"))
def batches():
    for begin in range(0, int(sys.argv[2]), 256):
        raw = [f"{n:08}" * 640 for n in range(begin, begin + 256)]
        same = [pa.repeat("A", 256), pa.repeat(pa.scalar(1, pa.int32()), 256)]
        yield pa.record_batch([*same, pa.array(raw), pa.array(raw)], schema)
delta.append(table, pa.RecordBatchReader.from_batches(schema, batches()), transactions={})
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024)
"""


def test_ten_times_the_rows_cost_no_more_memory(tmp_path: Path) -> None:
    def peak_mb(rows: int) -> int:
        command = [sys.executable, "-c", CHILD, str(tmp_path / str(rows)), str(rows)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    # 5 KiB twice a row: 26 MB and 260 MB of text.
    assert peak_mb(25_600) < peak_mb(2_560) + 60


def test_a_table_begins_with_its_rows_as_its_first_version(tmp_path: Path) -> None:
    path = tmp_path / "table"
    rows = pa.RecordBatchReader.from_batches(SCHEMA, [batch(["A", "B"], ["x", "y"])])
    delta.fill(path, rows, partition_by=("bucket",), described=("id",), transactions={"shown": 3})
    (file,) = read_entry(path, 0).added
    assert (file.partition, file.stats["maxValues"]) == ({"bucket": "7"}, {"id": "y"})
    assert DeltaTable(path).transaction_version("shown") == 3
    assert fault_of(path, 0) is None


def test_a_table_may_begin_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "table"
    delta.fill(path, SCHEMA.empty_table(), partition_by=("bucket",), transactions={"shown": 3})
    assert delta.read(DeltaTable(path), SCHEMA).num_rows == 0
    assert fault_of(path, 0) is None
