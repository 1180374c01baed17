"""Checksums of a Delta table's files, taken when they are written: what changes by itself later is found by them.

They lie in `<table>/_checksums/`, one small file a version, which other engines pass by. They are advice: a version
without them is checked by its content alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from s4s_lab.lake import durable
from s4s_lab.lake.entries import entry_path, log_folder, read_entry

CHECKSUMS = "_checksums"
_COMMITTED, _SUMS, _OWN, _TIMESTAMP = "committed", "sha256", "own", "timestamp"


def checksum_path(table: Path, version: int) -> Path:
    """Return the file with the checksums of what one version wrote.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.
    """
    return table / CHECKSUMS / f"{version:020}.json"


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits.

    Parameters
    ----------
    path : Path
        The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(table: Path, version: int) -> Path:
    """Write the checksums of one version's files as they are now: its log entry, its checkpoint, the files it added.

    The file is put in place whole and not synced: that is for the caller, together with the files themselves.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.

    Raises
    ------
    FileNotFoundError
        If there is no such version.
    ValueError
        If its log entry is damaged.
    """
    entry = read_entry(table, version)
    checkpoint = log_folder(table) / f"{version:020}.checkpoint.parquet"
    paths = [entry_path(table, version), checkpoint, *(table / file.path for file in entry.added)]
    sums = {path.relative_to(table).as_posix(): sha256_of(path) for path in paths if path.is_file()}
    target = checksum_path(table, version)
    target.parent.mkdir(mode=durable.PRIVATE_FOLDER, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=durable.PART)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({_COMMITTED: entry.info.get(_TIMESTAMP), _SUMS: sums, _OWN: _own(sums)}, file, indent=1)
    Path(name).replace(target)
    return target


def has_checksums(table: Path, version: int) -> bool:
    """Say whether there are checksums of one version's files.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.
    """
    try:
        return read_checksums(table, version) is not None
    except ValueError:
        return True


def read_checksums(table: Path, version: int) -> Mapping[str, str] | None:
    """Return the checksums of one version's files by path, None when there are none.

    Those of a version that a power cut took away, and whose number was given again, count as none.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.

    Raises
    ------
    ValueError
        If the file with them is damaged.
    """
    path = checksum_path(table, version)
    try:
        content = json.loads(path.read_bytes())
        committed, sums = content[_COMMITTED], dict(content[_SUMS])
        whole = content[_OWN] == _own(sums)
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{path} holds no checksums")
    return None if _is_of_another(table, version, committed) else sums


def _own(sums: Mapping[str, str]) -> str:
    """Return the checksum of checksums: a damaged one accuses no file."""
    return hashlib.sha256(json.dumps(sorted(sums.items())).encode()).hexdigest()


def _is_of_another(table: Path, version: int, committed: object) -> bool:
    """Say whether checksums were made for an earlier commit of the same number."""
    entry = entry_path(table, version)
    try:
        moment = read_entry(table, version).info.get(_TIMESTAMP)
    except (FileNotFoundError, ValueError):
        return False
    # A digit of the moment that changed by itself leaves the file's time as it was.
    return bool(moment != committed and entry.stat().st_mtime_ns > checksum_path(table, version).stat().st_mtime_ns)
