"""Looking after a dataset's files: what no version names is removed, small files are joined; nobody waits for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import DatasetBusy
from s4s_lab.lake import delta, durable
from s4s_lab.lake.entries import log_folder, newest_version, read_entry
from s4s_lab.lake.locks import JOURNAL, Locks

DAY_S = 86_400.0
# So many small files in one partition are worth one commit that joins them.
MANY = 32
# Joined files are twice as large or less; larger ones are left, since joining them would write everything many times.
SMALL = 16 << 20
# What one round joins at most, so that whoever waits for it waits for seconds.
AT_ONCE = 128 << 20
_STATE = "tended.json"
_DATA = re.compile(r".*\.parquet(#\d+)?")
_LOG_TEMPORARY = re.compile(r".*\.tmp(#\d+)?|.*\.(json|parquet)#\d+")
# What a writer that was killed leaves outside of the tables.
_TEMPORARY = (
    ".part-*",
    "connections/.part-*",
    "grants/.part-*",
    "tables/.part-*",
    "views/.part-*",
    "*/_checksums/.part-*",
    "tables/*/_checksums/.part-*",
    ".locks/.part-*",
    ".locks/probe-*.lock",
    "dicom/.part-*",
    "dicom/index.sqlite.*",
)


@dataclass
class _State:
    """When files were last swept, and at which version each table was last looked at. Advice: it may be lost."""

    swept_at: float = 0.0
    versions: dict[str, int] = field(default_factory=dict)


def tend(root: Path, locks: Locks) -> bool:
    """Do what is due: once a day remove orphans, and join small files of tables that have grown by many commits.

    Nothing is done while anybody writes, or while a `forget` is half done.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    locks : Locks
        Its locks.

    Returns
    -------
    bool
        Whether the log has a new version.

    Raises
    ------
    DatasetError
        If a table is damaged, or the disk does not take what is written. Nothing is lost.
    """
    path = locks.folder / _STATE
    state, now = _read(path), time.time()
    # A clock that was ahead once does not put it off for ever.
    sweeping = not 0 <= now - state.swept_at < DAY_S
    grown = [table for table in _tables(root) if _has_grown(table, state.versions.get(_name(root, table), 0))]
    if not sweeping and not grown:
        return False
    try:
        if sweeping:
            remove_orphans(root, locks)
            state.swept_at = now
        joined = compact(root, locks, grown)
    except DatasetBusy:
        return False
    done = [table for table in grown if not _piles(delta.open_table(table))]
    state.versions |= {_name(root, table): newest_version(table) or 0 for table in done}
    durable.write_durably(path, json.dumps(vars(state)).encode())
    return any(commit.table == root / "resources" for commit in joined)


def remove_orphans(root: Path, locks: Locks, *, older_than_s: float = DAY_S) -> list[Path]:
    """Remove files that no version of any table names, and temporary files that a killed process left.

    They are looked for while others write; the lock is held only to remove those that still have no name then.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    locks : Locks
        Its locks.
    older_than_s : float
        Younger files are left [s].

    Returns
    -------
    list of Path
        What was removed.

    Raises
    ------
    DatasetBusy
        If somebody writes at this moment.
    """
    until = time.time() - older_than_s
    found = [search for table in _tables(root) if (search := _search(table, until)) is not None]
    left = [path for pattern in _TEMPORARY for path in root.glob(pattern) if _is_old(path, until)]
    left += [path for path in DicomCache(root / "dicom").unfinished() if _is_old(path, until)]
    if not left and not any(search.unnamed for search in found):
        return []
    with locks.maintaining(timeout_s=0.0):
        if (root / JOURNAL).exists():
            return []
        orphans = left + [path for search in found for path in search.still_unnamed()]
        for path in orphans:
            # A table that is on its way out is a folder.
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return orphans


def compact(root: Path, locks: Locks, tables: Iterable[Path] | None = None) -> list[delta.Commit]:
    """Join the small files of partitions that have many, each table in one commit that changes no row.

    The files that were joined stay: older versions name them.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    locks : Locks
        Its locks.
    tables : iterable of Path, optional
        Which tables; all when None.

    Returns
    -------
    list of Commit
        One for each table that had many.

    Raises
    ------
    DatasetBusy
        If somebody writes at this moment.
    DatasetError
        If a table is damaged, or the disk does not take what is written.
    """
    piled = [table for table in (_tables(root) if tables is None else tables) if _piles(delta.open_table(table))]
    if not piled:
        return []
    with locks.maintaining(timeout_s=0.0):
        if (root / JOURNAL).exists():
            return []
        commits = list(_joined(piled))
        delta.make_durable(commits)
    return commits


def _joined(tables: Iterable[Path]) -> Iterator[delta.Commit]:
    left = AT_ONCE
    for table in tables:
        buckets, size = _chosen(_piles(delta.open_table(table)), left)
        left -= size
        if buckets:
            yield delta.compact(table, [bucket for bucket in buckets if bucket is not None] or None, size=2 * SMALL)


@dataclass(frozen=True)
class _Pile:
    """The small files of one bucket: how many its fullest partition has, and what all of them weigh [bytes]."""

    bucket: int | None
    files: int
    bytes: int


def _piles(handle: DeltaTable) -> list[_Pile]:
    """Return the buckets that have a partition with many small files, the fullest first; without buckets, the table."""
    files: Any = pa.table(handle.get_add_actions(flatten=True))
    partitions = [f"partition.{name}" for name in handle.metadata().partition_columns]
    counts: dict[int | None, dict[tuple[Any, ...], int]] = {}
    sizes: dict[int | None, int] = {}
    for row in files.select([*partitions, "size_bytes"]).to_pylist():
        if row["size_bytes"] < SMALL:
            bucket = row.get("partition.bucket")
            of_bucket = counts.setdefault(bucket, {})
            place = tuple(row[name] for name in partitions)
            of_bucket[place] = of_bucket.get(place, 0) + 1
            sizes[bucket] = sizes.get(bucket, 0) + row["size_bytes"]
    piles = [_Pile(bucket, max(places.values()), sizes[bucket]) for bucket, places in counts.items()]
    return sorted((pile for pile in piles if pile.files >= MANY), key=lambda pile: -pile.files)


def _chosen(piles: Iterable[_Pile], left: int) -> tuple[list[int | None], int]:
    """Return buckets that together weigh no more than what is left, and what they weigh; the first may weigh more."""
    buckets: list[int | None] = []
    size = 0
    for pile in piles:
        if size + pile.bytes <= left or (left == AT_ONCE and not buckets):
            buckets.append(pile.bucket)
            size += pile.bytes
    return buckets, size


def _tables(root: Path) -> list[Path]:
    derived = root / "tables"
    places = [root / "resources", root / "pulls", *(sorted(derived.iterdir()) if derived.is_dir() else [])]
    return [path for path in places if not path.name.startswith(".") and log_folder(path).is_dir()]


def _name(root: Path, table: Path) -> str:
    return table.relative_to(root).as_posix()


def _has_grown(table: Path, since: int) -> bool:
    return not since <= (newest_version(table) or 0) < since + MANY


@dataclass(frozen=True)
class _Search:
    """Files of a table that no version up to `newest` names."""

    table: Path
    newest: int
    unnamed: frozenset[Path]

    def still_unnamed(self) -> list[Path]:
        """Return those that no newer version names either."""
        newest = newest_version(self.table)
        if newest is None or newest < self.newest:
            return []
        try:
            return sorted(self.unnamed - _named(self.table, self.newest + 1, newest))
        except (FileNotFoundError, ValueError):
            return []


def _search(table: Path, until: float) -> _Search | None:
    """Look for orphans; None when the log does not tell everything that was ever named."""
    newest = newest_version(table)
    if newest is None:
        return None
    old = {path for path in _files(table) if _is_old(path, until)}
    try:
        return _Search(table, newest, frozenset(old - _named(table, 0, newest))) if old else None
    except (FileNotFoundError, ValueError):
        return None


def _named(table: Path, first: int, last: int) -> set[Path]:
    return {table / file.path for version in range(first, last + 1) for file in read_entry(table, version).added}


def _files(table: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(table):
        in_log = Path(folder) == log_folder(table)
        # Other engines keep files of their own in folders that begin with an underscore.
        names[:] = [name for name in names if not name.startswith("_") or (name == "_delta_log" and not in_log)]
        pattern = _LOG_TEMPORARY if in_log else _DATA
        yield from (Path(folder, name) for name in files if pattern.fullmatch(name))


def _is_old(path: Path, until: float) -> bool:
    try:
        return path.lstat().st_mtime <= until
    except FileNotFoundError:
        return False


def _read(path: Path) -> _State:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _State(float(content["swept_at"]), {str(name): int(at) for name, at in content["versions"].items()})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return _State()
