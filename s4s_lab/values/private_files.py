"""Files that hold secrets: 0600 from their first byte, in a 0700 folder, replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from s4s_lab.errors import UsageError

_MAX_BYTES = 256 << 10
_OTHERS = 0o077


def require_private_folder(folder: Path) -> None:
    """Check that nobody else can look into or write to a folder.

    Parameters
    ----------
    folder : Path
        An existing folder.

    Raises
    ------
    UsageError
        If the folder's mode or owner lets others in.
    FileNotFoundError
        If there is no such folder.
    """
    found = folder.stat()
    if found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        raise UsageError(
            f"The folder {folder} is open to other users, so nothing secret is kept in it.",
            hint=f"Use a folder of its own, or close this one: chmod 700 {folder}",
        )


def read_private(path: Path, *, shared: bool = False) -> bytes:
    """Return the bytes of a regular file that only its owner can read.

    The opened file is checked, not its name, so that nobody can change it in between.

    Parameters
    ----------
    path : Path
        No symbolic link.
    shared : bool
        Whether a file of ours will do that others can read too: to end what is in it, not to use it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UsageError
        If it is something else than a small regular file of ours that nobody else can read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read as a file with secrets: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
            raise UsageError(f"{path} is no file with secrets: it is no regular file, or too large.")
        if (found.st_mode & _OTHERS and not shared) or found.st_uid != os.geteuid():
            raise UsageError(
                f"{path} can be read by other users, so what is in it is not used.",
                hint=f"If nobody has read it: chmod 600 {path}. Else have its secret renewed, or connect again.",
            )
        return file.read(_MAX_BYTES)


def replace_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 beside `path`, make it durable, and put it in place of what is there.

    Parameters
    ----------
    path : Path
        The caller holds the lock on it: one fixed name beside it is used.
    content : bytes
        All of the file.
    """
    beside = beside_of(path)
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync_folder(path.parent)


def remove_private(path: Path) -> None:
    """Delete a file, and what an interrupted write left beside it.

    Parameters
    ----------
    path : Path
        Need not exist.
    """
    path.unlink(missing_ok=True)
    beside_of(path).unlink(missing_ok=True)
    _sync_folder(path.parent)


def beside_of(path: Path) -> Path:
    """Return the name under which a new version of `path` is written first.

    Parameters
    ----------
    path : Path
        The file's final name.
    """
    return path.with_name(path.name + ".new")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
