"""Files that survive a power cut, and that only their owner can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def write_durably(target: Path, content: bytes) -> None:
    """Replace a file by new content, whole or not at all.

    The content is written beside it with mode 0600, synced, moved over it, and the folder synced.

    Parameters
    ----------
    target : Path
        What to replace; its folder exists.
    content : bytes
        All of the new content.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have the kernel write a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep(files: Iterable[Path], *, below: Path) -> None:
    """Make files durable and private, then the folders that lead to them, deepest first.

    Parameters
    ----------
    files : iterable of Path
        Files below `below`.
    below : Path
        The folder up to which folders are synced and narrowed, itself included.
    """
    folders = {below}
    for file in files:
        file.chmod(PRIVATE_FILE)
        sync(file)
        folders.update(folder for folder in file.parents if folder.is_relative_to(below))
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        folder.chmod(PRIVATE_FOLDER)
        sync(folder)


def make_private_folder(folder: Path) -> None:
    """Make a folder of mode 0700, if it is missing, and its name in its parent durable."""
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    sync(folder.parent)
