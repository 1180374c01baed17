"""Files of the cache: private folders, a part while it arrives, and what makes it last."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from s4s_lab.dicom.elements import ends_early
from s4s_lab.dicom.headers import Header, read_header
from s4s_lab.errors import DatasetError

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
PART_SUFFIX: Final = ".part"
# In an archive's folder, beside its studies.
LOCKS: Final = ".locks"
QUARANTINE: Final = "quarantine"
TRASH: Final = ".evicted"
# Enough for the header of nearly every image; the rest is read from the file.
_HEAD_BYTES: Final = 16 << 10


def private_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, for this user alone.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    OSError
        If it cannot be made, or a file is in the way.
    """
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)


def leads_out(root: Path, path: Path) -> Path | None:
    """Return the symbolic link by which a path leads out of a cache, or the path that never was in it; else None.

    The cache's own folder may be a link: whoever made the dataset may have put it on another disk.

    Parameters
    ----------
    root : Path
        The cache's folder.
    path : Path
        A file or folder below it, which need not be there.
    """
    if not path.is_relative_to(root) or ".." in path.parts[len(root.parts) :]:
        return path
    place = root
    for step in path.relative_to(root).parts:
        place /= step
        if place.is_symlink():
            return place
    return None


def require_own(root: Path, path: Path) -> Path:
    """Return a path once it is clear that it lies in a cache, and that no symbolic link leads out of it.

    Parameters
    ----------
    root : Path
        The cache's folder.
    path : Path
        A file or folder below it, which need not be there.

    Raises
    ------
    DatasetError
        If it lies elsewhere, or a folder on the way to it, or it itself, is a link.
    """
    link = leads_out(root, path)
    if link is not None:
        hint = "It is a symbolic link: put back what it leads to, or remove the link and fetch again."
        raise DatasetError(f"{link} leads out of the image cache and is not followed.", hint=hint)
    return path


def own_folder(root: Path, path: Path) -> Path:
    """Return a folder of a cache, made for this user alone where it is missing.

    Parameters
    ----------
    root : Path
        The cache's folder.
    path : Path
        The folder below it.

    Raises
    ------
    DatasetError
        If a link would lead out of the cache.
    OSError
        If it cannot be made, or a file is in the way.
    """
    private_folder(require_own(root, path))
    return path


def entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Return everything in a folder and its folders, by name; links are named and not followed.

    Parameters
    ----------
    folder : Path
        The folder; nothing is in one that is not there.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from entries_below(Path(entry.path))


def require_own_study(root: Path, archive: str, study_uid: str) -> Path:
    """Return the folder of a study once it is clear that neither a link leads to it nor one lies in it.

    Parameters
    ----------
    root : Path
        The cache's folder.
    archive, study_uid : str
        The study's key.

    Raises
    ------
    DatasetError
        If there is one.
    """
    folder = require_own(root, root / archive / study_uid)
    for entry in entries_below(folder):
        if entry.is_symlink():
            require_own(root, Path(entry.path))
    return folder


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power cut.

    Parameters
    ----------
    path : Path
        The file or folder.

    Raises
    ------
    OSError
        If the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class IncomingFile:
    """A file while it arrives: written beside its place, its head kept in the same pass.

    Parameters
    ----------
    path : Path
        Where it is written to; the file must not be there yet.

    Raises
    ------
    FileExistsError
        If something is there, be it a link.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, FILE_MODE)
        self._head = bytearray()

    def write(self, data: memoryview) -> None:
        """Take the next bytes.

        Parameters
        ----------
        data : memoryview
            Any number of bytes.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        self.bytes += len(data)
        missing = _HEAD_BYTES - len(self._head)
        if missing > 0:
            self._head += data[:missing]
        while data:
            data = data[os.write(self._descriptor, data) :]

    def sync(self) -> None:
        """Wait until the file's content would survive a power cut; its name is the folder's to keep.

        Raises
        ------
        OSError
            If the disk failed.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file.

        Raises
        ------
        OSError
            If the disk failed.
        """
        os.close(self._descriptor)

    def discard(self) -> None:
        """Close the file and remove it."""
        # Some disks tell only now that they are full, of bytes that are not wanted any longer.
        with suppress(OSError):
            self.close()
        self.path.unlink(missing_ok=True)

    def header(self) -> Header:
        """Read the finished file's header: from its head, or from the whole file when that is too little.

        Raises
        ------
        OSError
            If the file cannot be read back.
        """
        header = read_header(bytes(self._head))
        if not header.cut or self.bytes <= len(self._head):
            return header
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return read_header(whole)

    def ends_early(self) -> bool:
        """Say whether the finished file lacks some of what its elements announce.

        Raises
        ------
        OSError
            If the file cannot be read back.
        """
        if self.bytes <= len(self._head):
            return ends_early(bytes(self._head))
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return ends_early(whole)
