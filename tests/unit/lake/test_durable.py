"""Files that are whole or not there, and private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from s4s_lab.errors import DatasetError
from s4s_lab.lake.durable import keep, make_private_folder, write_durably


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_content_is_replaced_and_private(tmp_path: Path) -> None:
    target = tmp_path / "settings.json"
    target.write_text("old")
    write_durably(target, b"new")
    assert target.read_bytes() == b"new"
    assert mode(target) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_content_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "settings.json"
    target.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match="No space left"):
        write_durably(target, b"new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_content_is_synced_before_it_takes_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, seen = tmp_path / "settings.json", list[tuple[bool, bool]]()
    real = os.fsync

    def spy(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_durably(target, b"new")
    assert seen == [(False, False), (True, True)]


def test_kept_files_and_folders_are_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "table" / "bucket=1" / "part.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1")
    for path in (file, file.parent, file.parent.parent):
        path.chmod(0o755)
    keep([file], [file.parent])
    assert [mode(path) for path in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o755]


def test_a_disk_that_cannot_keep_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part.parquet"
    file.write_bytes(b"PAR1")

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(DatasetError, match="Input/output error"):
        keep([file], [])


def test_a_private_folder_may_be_there_already(tmp_path: Path) -> None:
    make_private_folder(tmp_path / "connections")
    make_private_folder(tmp_path / "connections")
    assert mode(tmp_path / "connections") == 0o700
