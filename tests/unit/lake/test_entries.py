"""Log entries: what they say, and how an unfinished one is told from a whole one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.lake import delta
from s4s_lab.lake.entries import broken_checkpoints, entry_path, fault_of, newest_version, read_entry

SCHEMA = pa.schema([pa.field("bucket", pa.int32(), nullable=False), pa.field("name", pa.string())])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of three versions: made, two buckets filled, one of them replaced."""
    path = tmp_path / "table"
    delta.create(path, SCHEMA, partition_by=("bucket",), transactions={"shown": 0})
    delta.append(path, pa.table([[1, 2], ["ä b", "c"]], schema=SCHEMA), transactions={"cursor": 5, "other": 6})
    delta.replace(path, pa.table([[1], ["d"]], schema=SCHEMA), where="bucket = 1", transactions={"shown": 2})
    return path


def test_an_entry_tells_files_numbers_and_time(table: Path) -> None:
    entry = read_entry(table, 1)
    assert entry.transactions == {"cursor": 5, "other": 6}
    assert sorted(file.partition["bucket"] for file in entry.added) == ["1", "2"]
    assert all((table / file.path).stat().st_size == file.size for file in entry.added)
    assert entry.committed_at is not None
    assert abs(entry.committed_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert (entry.removed, read_entry(table, 2).removed) == (0, 1)
    assert newest_version(table) == 2


def test_a_folder_without_a_log_has_no_version(tmp_path: Path) -> None:
    assert newest_version(tmp_path) is None


@pytest.mark.parametrize("version", [0, 2])
def test_whole_entries_have_no_fault(table: Path, version: int) -> None:
    assert fault_of(table, version) is None


def test_an_entry_without_numbers_that_lost_a_line_is_noticed(table: Path) -> None:
    commit = delta.append(table, pa.table([[1, 2], ["e", "f"]], schema=SCHEMA), transactions={})
    path = entry_path(table, commit.version)
    info, first, _ = path.read_text().splitlines()
    assert fault_of(table, commit.version) is None
    for lines in ([info, first], [info]):
        path.write_text("\n".join(lines))
        assert fault_of(table, commit.version) == "its log entry is cut off"


@pytest.mark.parametrize("version", [0, 1, 2])
def test_an_entry_cut_anywhere_is_noticed(table: Path, version: int) -> None:
    path = entry_path(table, version)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    near_an_end = {end + step for end in (0, *ends, len(whole)) for step in (-1, 0, 1)}
    unnoticed = []
    for length in sorted({*range(0, len(whole), 17), *near_an_end} & set(range(len(whole)))):
        path.write_bytes(whole[:length])
        if fault_of(table, version) is None:
            unnoticed.append(length)
    assert unnoticed == []


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b'{"add": {"path": 1}}', b'{"commitInfo": 5}', b"\xff\xfe", b"\0" * 512]
)
def test_what_is_no_entry_is_a_fault_and_no_crash(table: Path, content: bytes) -> None:
    entry_path(table, 2).write_bytes(content)
    assert fault_of(table, 2) == "its log entry is cut off"


def test_a_missing_and_a_cut_data_file_are_faults(table: Path) -> None:
    file = table / read_entry(table, 2).added[0].path
    file.write_bytes(file.read_bytes()[:-1])
    assert fault_of(table, 2) == "a file that it adds is cut off"
    file.unlink()
    assert fault_of(table, 2) == "a file that it adds is missing"


def test_names_of_data_files_are_read_as_they_lie_on_disk(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("kind", pa.string(), nullable=False), pa.field("name", pa.string())])
    path = tmp_path / "table"
    delta.create(path, schema, partition_by=("kind",))
    delta.append(path, pa.table([["a b/ü=1%"], ["x"]], schema=schema), transactions={})
    assert fault_of(path, 1) is None


def test_a_cut_checkpoint_and_its_hint_are_found_and_the_table_opens_without_them(table: Path) -> None:
    delta.open_table(table).create_checkpoint()
    checkpoint, hint = (table / "_delta_log" / name for name in (f"{2:020}.checkpoint.parquet", "_last_checkpoint"))
    assert broken_checkpoints(table, newest=2) == []
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    assert broken_checkpoints(table, newest=2) == [checkpoint, hint]
    for path in (checkpoint, hint):
        path.unlink()
    assert delta.open_table(table).transaction_version("cursor") == 5


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 7}', b"[1]"])
def test_a_hint_that_names_no_checkpoint_is_broken(table: Path, content: bytes) -> None:
    delta.open_table(table).create_checkpoint()
    hint = table / "_delta_log" / "_last_checkpoint"
    hint.write_bytes(content)
    assert broken_checkpoints(table, newest=2) == [hint]


def test_a_checkpoint_of_a_version_that_does_not_count_is_broken(table: Path) -> None:
    delta.open_table(table).create_checkpoint()
    assert len(broken_checkpoints(table, newest=1)) == 2
