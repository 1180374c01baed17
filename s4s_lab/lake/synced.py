"""Which versions of a table are on the disk for good, and what a power cut did to those that were not yet.

A version is marked when its files, its log entry and their folders are synced. The mark itself is not synced: one that
is there tells the truth, one that is lost or older costs a check.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from s4s_lab.lake.checksums import read_checksums, sha256_of
from s4s_lab.lake.entries import fault_of, newest_version, read_entry

# Other engines pass by what begins with an underscore.
_MARK = "_synced"
_DIGITS = 20


def synced(table: Path) -> int | None:
    """Return the newest version that is known to be on the disk, None when none is known.

    Parameters
    ----------
    table : Path
        The table's folder.
    """
    try:
        return int((table / _MARK).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def mark_synced(table: Path, version: int) -> None:
    """Remember that a version, and all before it, are on the disk.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.
    """
    # Written in place: so few bytes are in one sector, and a full disk has room for them.
    with suppress(OSError):
        descriptor = os.open(table / _MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{version:0{_DIGITS}}".encode())
        finally:
            os.close(descriptor)


def unsynced(table: Path) -> range:
    """Return the versions that may not be on the disk; the newest alone when nothing is known of any.

    Parameters
    ----------
    table : Path
        The table's folder.
    """
    newest = newest_version(table)
    if newest is None:
        return range(0)
    known = synced(table)
    return range(newest if known is None or known > newest else known + 1, newest + 1)


def first_fault(table: Path) -> tuple[int, str] | None:
    """Return the oldest version that is unfinished, and what is wrong with it; None when none is.

    Versions that are on the disk are taken as whole, but for a look at the newest. Others are read.

    Parameters
    ----------
    table : Path
        The table's folder.
    """
    versions = unsynced(table)
    newest = newest_version(table)
    if newest is not None and not versions:
        fault = fault_of(table, newest)
        return None if fault is None else (newest, fault)
    return next(_faults(table, versions), None)


def _faults(table: Path, versions: range) -> Iterator[tuple[int, str]]:
    for version in versions:
        try:
            fault = fault_of(table, version) or _damage(table, version)
        except FileNotFoundError:
            fault = "its log entry is missing"
        if fault:
            yield version, fault


def _damage(table: Path, version: int) -> str | None:
    """Say what is wrong with the content of the files of one version whose sizes are right."""
    try:
        sums = read_checksums(table, version) or {}
    except ValueError:
        sums = {}
    for file in read_entry(table, version).added:
        path = table / file.path
        expected = sums.get(file.path)
        if not _is_readable(path) or (expected is not None and expected != sha256_of(path)):
            return "a file that it adds is damaged"
    return None


def _is_readable(path: Path) -> bool:
    try:
        file = pq.ParquetFile(path)
        for _ in file.iter_batches():
            pass
    except (pa.ArrowException, OSError):
        return False
    return True
