"""Locks: who may hold what at the same time."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from s4s_lab.errors import DatasetBusy, DatasetError
from s4s_lab.lake import durable
from s4s_lab.lake.locks import Locks

HOLD = """
import sys, time
from pathlib import Path
from s4s_lab.lake.locks import Locks
with Locks(Path(sys.argv[1])).alone("pull", busy="taken"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def locks(tmp_path: Path) -> Locks:
    """Locks in an empty folder."""
    return Locks(tmp_path)


def test_writers_share_the_dataset(locks: Locks) -> None:
    with locks.writing(), locks.writing(timeout_s=0.0):
        pass


def test_maintenance_waits_for_writers_and_then_says_who_was_in_the_way(locks: Locks) -> None:
    with (
        locks.writing(),
        pytest.raises(DatasetBusy, match=r"Another process is writing"),
        locks.maintaining(timeout_s=0.05),
    ):
        pass


def test_nobody_writes_during_maintenance(locks: Locks) -> None:
    with locks.maintaining(), pytest.raises(DatasetBusy, match="maintenance"), locks.writing(timeout_s=0.05):
        pass


def test_a_named_lock_is_held_by_one_only_and_given_back(locks: Locks) -> None:
    with locks.alone("pull", busy="taken"):
        with pytest.raises(DatasetBusy, match="taken"), locks.alone("pull", busy="taken"):
            pass
        with locks.alone("other", busy="taken"):
            pass
    with locks.alone("pull", busy="taken"):
        pass


def test_an_error_inside_gives_the_lock_back(locks: Locks) -> None:
    with pytest.raises(RuntimeError), locks.alone("pull", busy="taken"):
        raise RuntimeError
    with locks.alone("pull", busy="taken"):
        pass


def test_a_killed_process_gives_its_lock_back(locks: Locks, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DatasetBusy), locks.alone("pull", busy="taken"):
            pass
        holder.kill()
        holder.wait()
        with locks.alone("pull", busy="taken"):
            pass


def test_locks_that_work_leave_no_trace_of_the_probe(locks: Locks, tmp_path: Path) -> None:
    locks.probe()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_gives_a_lock_out_twice_is_refused(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    # What some network mounts do: flock succeeds and locks nothing.
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(DatasetError, match=r"do not work in .*: one was given out twice\..*shared file system"):
        locks.probe()


def test_a_file_system_without_locks_is_refused_with_its_reason(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(DatasetError, match="No locks available"):
        locks.probe()


def test_a_full_disk_is_not_taken_for_locks_that_do_not_work(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    open_, opened = Locks._open, []

    def full(self: Locks, name: str) -> int:
        opened.append(name)
        if len(opened) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_(self, name)

    monkeypatch.setattr(Locks, "_open", full)
    with pytest.raises(DatasetError, match="could not be written: No space left") as caught:
        locks.probe()
    assert caught.value.hint == durable.HINT
