"""What is known to be on the disk is taken as whole; what is not is read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.lake import delta
from s4s_lab.lake.entries import entry_path, read_entry
from s4s_lab.lake.synced import first_fault, mark_synced, synced, unsynced

ROWS = pa.table({"a": list(range(1000))})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with three commits after its first version, of which all are on the disk."""
    path = tmp_path / "table"
    delta.create(path, ROWS.schema)
    delta.make_durable([delta.append(path, ROWS, transactions={"t": number}) for number in range(3)])
    return path


def spoil(table: Path, version: int) -> None:
    """Lose the middle of a file, as a disk may that had the size written and not all of the content."""
    (added,) = read_entry(table, version).added
    file = table / added.path
    content = file.read_bytes()
    file.write_bytes(content[:100] + bytes(len(content) - 200) + content[-100:])


def test_a_synced_version_is_marked(table: Path) -> None:
    assert (synced(table), list(unsynced(table))) == (3, [])
    delta.append(table, ROWS, transactions={})
    assert list(unsynced(table)) == [4]


@pytest.mark.parametrize("mark", [b"", b"\0" * 20, b"x"])
def test_of_a_lost_mark_the_newest_version_is_read(table: Path, mark: bytes) -> None:
    (table / "_synced").write_bytes(mark)
    assert (synced(table), list(unsynced(table))) == (None, [3])


def test_a_mark_of_a_version_that_is_gone_counts_for_nothing(table: Path) -> None:
    mark_synced(table, 7)
    assert list(unsynced(table)) == [3]


def test_a_file_of_the_right_size_with_lost_content_is_found(table: Path) -> None:
    mark_synced(table, 1)
    spoil(table, 3)
    assert first_fault(table) == (3, "a file that it adds is damaged")
    spoil(table, 2)
    assert first_fault(table) == (2, "a file that it adds is damaged")


def test_what_is_on_the_disk_is_not_read_again(table: Path) -> None:
    spoil(table, 3)
    assert first_fault(table) is None


def test_a_lost_entry_takes_those_after_it_along(table: Path) -> None:
    mark_synced(table, 1)
    entry_path(table, 2).unlink()
    assert first_fault(table) == (2, "its log entry is missing")


def test_what_another_writer_did_not_sync_is_synced_with_the_next_commit(table: Path) -> None:
    delta.append(table, ROWS, transactions={})
    later = delta.append(table, ROWS, transactions={})
    # As far as its writer knows, it is version 5 alone.
    delta.make_durable([delta.Commit(table, 5, later.version)])
    assert (table / "_checksums" / f"{4:020}.json").is_file()
    assert synced(table) == 5


def test_a_folder_that_cannot_be_written_to_costs_the_mark_only(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    mark_synced(table, 9)
    monkeypatch.undo()
    assert synced(table) == 3
