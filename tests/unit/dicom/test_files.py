"""Files that last: synced before they are known, never written through a link, errors told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache
from s4s_lab.dicom.files import IncomingFile
from tests.unit.dicom.depositing import ARCHIVE, put
from tests.unit.dicom.samples import SERIES, STUDY, image_file

PARTS = [image_file(f"1.9.{number}", number=number) for number in range(1, 4)]

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the names of open files are read in /proc")


def name_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def test_a_part_is_never_written_over_a_file_or_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "somebody's"
    target.write_text("precious")
    (tmp_path / "link.part").symlink_to(target)
    (tmp_path / "dangling.part").symlink_to(tmp_path / "nowhere")
    for place in (target, tmp_path / "link.part", tmp_path / "dangling.part"):
        with pytest.raises(FileExistsError):
            IncomingFile(place)
    assert target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@needs_proc
def test_every_file_and_its_folders_are_synced_before_the_index_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, synced, real = DicomCache(tmp_path / "dicom"), list[str](), os.fsync

    def recorded(descriptor: int) -> None:
        assert cache.instances().num_rows == 0
        synced.append(name_of(descriptor))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    put(cache, PARTS)
    study = cache.root / ARCHIVE / STUDY
    files = {str(study / SERIES / f"1.9.{number}.dcm") for number in (1, 2, 3)}
    assert set(synced) == files | {str(path) for path in (study / SERIES, study, study.parent, cache.root)}
    assert max(synced.index(name) for name in files) < synced.index(str(study / SERIES))


@needs_proc
def test_a_disk_that_fails_to_sync_keeps_its_files_out_of_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, real = DicomCache(tmp_path / "dicom"), os.fsync

    def failing(descriptor: int) -> None:
        if name_of(descriptor).endswith("1.9.2.dcm"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        put(cache, PARTS)
    assert cache.instances().num_rows == 0
    assert cache.study(ARCHIVE, STUDY).state == "missing"
    monkeypatch.undo()
    assert put(cache, PARTS).new == 3
    assert cache.instances().num_rows == 3
