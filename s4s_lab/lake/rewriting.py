"""Taking rows out of every version of a Delta table: the one thing that a transaction log is not made for.

Data files that hold none of the rows stay as they are, byte for byte, under the numbers of their versions. Files that
hold some are written anew by deltalake, without them; files that hold nothing else are removed. The log's entries are
copied beside the log with those files exchanged, and the whole log is swapped in by two renames.

References
----------
Delta transaction log protocol: delta log entries, add file and remove file, transaction identifiers, commit provenance.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from s4s_lab.errors import DatasetError
from s4s_lab.lake import delta, durable
from s4s_lab.lake.checksums import CHECKSUMS, checksum_path, has_checksums, write_checksums
from s4s_lab.lake.entries import FILES, MARK, TRANSACTIONS, entry_path, log_folder, mark_of, newest_version

_NEW, _OLD, _SCRATCH = "_delta_log.forget", "_delta_log.old", "_forget"
_CHECKPOINT_FROM = 100
_DAMAGED = "Run s4s verify --repair first; a file of the log comes back from a backup only."
Action = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Which rows to take out.

    Parameters
    ----------
    values : mapping of str to str
        What a row has in which columns.
    bucket : int or None
        The partition that they are in; None where the table has no buckets.
    transactions : frozenset of str
        Transaction identifiers that go with them.
    words : frozenset of str
        A commit's predicate that holds one of these goes with them.
    losable : bool
        Whether a damaged file that may hold some of them is removed; else it is an error.
    """

    values: Mapping[str, str]
    bucket: int | None
    transactions: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    losable: bool = False

    def of(self, rows: pa.Table) -> pa.ChunkedArray:
        """Say of every row whether it is to be taken out."""
        found = pa.chunked_array([pa.repeat(pa.scalar(True), rows.num_rows)])
        for name, value in self.values.items():
            found = pc.and_(found, pc.fill_null(pc.equal(rows[name], value), False))
        return found

    def may_be_in(self, add: Action) -> bool:
        """Say whether a file may hold some of them, by its partition and statistics."""
        if self.bucket is not None and add["partitionValues"].get("bucket") != str(self.bucket):
            return False
        least, greatest = _range(add)
        return all(least.get(name, value) <= value <= greatest.get(name, value) for name, value in self.values.items())

    def are_all_of(self, add: Action) -> bool:
        """Say whether a file holds nothing else, by its statistics."""
        least, greatest = _range(add)
        # A text that was shortened is no upper bound as it stands: what is both bounds is whole.
        return all(least.get(name) == value == greatest.get(name) for name, value in self.values.items())


def _range(add: Action) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    stats = json.loads(add.get("stats") or "{}")
    return stats.get("minValues", {}), stats.get("maxValues", {})


@dataclass
class _Change:
    """What becomes of the table's files: by path as in the log, the actions that take a file's place."""

    files: dict[str, list[Action]] = field(default_factory=dict)
    orphans: list[Path] = field(default_factory=list)
    rows: int = 0


def leave_out(table: Path, rows: Rows) -> int:
    """Take rows out of every version of a table; the versions keep their numbers.

    Whatever an interrupted call left is put right first, so that it can be called again after a kill at any point. The
    caller holds the dataset's lock alone.

    Parameters
    ----------
    table : Path
        Its folder.
    rows : Rows
        Which rows.

    Returns
    -------
    int
        How many rows were taken out, those of all its files counted.

    Raises
    ------
    DatasetError
        If a file that may hold some of them is damaged. Nothing has been changed then.
    """
    settle(table)
    # A table whose first commit was killed has files and no version.
    found = newest_version(table)
    newest = -1 if found is None else found
    change = _planned(table, newest, rows)
    altered = [version for version in range(newest + 1) if _filtered(_lines(table, version), rows, change.files)]
    if altered:
        _swap(table, newest, rows, change.files, set(altered))
    for path in [*(table / unquote(path) for path in change.files), *change.orphans]:
        path.unlink(missing_ok=True)
    _clean(table)
    if altered and newest >= _CHECKPOINT_FROM:
        delta.open_table(table).create_checkpoint()
    if found is not None:
        _sign(table, newest)
    return change.rows


def require_readable(table: Path, rows: Rows) -> None:
    """Check that `leave_out` can be done.

    Parameters
    ----------
    table : Path
        Its folder.
    rows : Rows
        Which rows.

    Raises
    ------
    DatasetError
        If the log is damaged, or a file that may hold some of them.
    """
    newest = newest_version(table)
    for version in range(-1 if newest is None else newest + 1):
        for add in (action["add"] for action in _lines(table, version) if "add" in action):
            path = table / unquote(add["path"])
            if rows.may_be_in(add) and path.is_file() and _matching(path, rows) is None:
                _require_expendable(path, add, rows)


def _require_expendable(path: Path, add: Action, rows: Rows) -> None:
    if not rows.losable and not rows.are_all_of(add):
        raise DatasetError(f"{path} is damaged, so it cannot be told whose rows it holds.", hint=_DAMAGED)


def settle(table: Path) -> None:
    """Bring a table whose log was being swapped to one side: the new log when it was whole, else the old one.

    Parameters
    ----------
    table : Path
        Its folder.
    """
    log, new, old = log_folder(table), table / _NEW, table / _OLD
    if old.is_dir() and not log.is_dir():
        (new if new.is_dir() else old).replace(log)
        durable.sync(table)
    _clean(table)


def _clean(table: Path) -> None:
    for name in (_NEW, _SCRATCH, _OLD):
        shutil.rmtree(table / name, ignore_errors=True)
    # Entries that a killed writer had not put in place.
    for path in log_folder(table).glob("*.tmp*"):
        path.unlink()


def _lines(table: Path, version: int) -> list[Action]:
    try:
        text = entry_path(table, version).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line]
    except (FileNotFoundError, ValueError):
        problem = f"The log of the table in {table} is damaged at version {version}."
        raise DatasetError(problem, hint=_DAMAGED) from None


def _planned(table: Path, newest: int, rows: Rows) -> _Change:
    """Read every file that may hold some of the rows, and write those anew that hold others too."""
    change, named = _Change(), set()
    for version in range(newest + 1):
        for action in _lines(table, version):
            add = action.get("add")
            if add is None or add["path"] in named:
                continue
            named.add(add["path"])
            if rows.may_be_in(add):
                _look_into(table, add, rows, change)
    change.orphans.extend(_orphans(table, {unquote(path) for path in named}, rows))
    return change


def _look_into(table: Path, add: Action, rows: Rows, change: _Change) -> None:
    path = table / unquote(add["path"])
    if not path.is_file():
        # What it held is gone; what the log says of it goes too.
        change.files[add["path"]] = [] if rows.are_all_of(add) else [{**add, "stats": None}]
        return
    found = _matching(path, rows)
    if found is None:
        _require_expendable(path, add, rows)
    if found is None or found:
        change.rows += _records(add) if found is None else found
        whole = found is None or found == pq.read_metadata(path).num_rows
        change.files[add["path"]] = [] if whole else list(_without(table, path, add, rows))


def _matching(path: Path, rows: Rows) -> int | None:
    """Count the rows of a file that are to be taken out; None when it cannot be read."""
    try:
        columns = pq.ParquetFile(path).read(list(rows.values))
        return int(pc.sum(rows.of(columns)).as_py() or 0)
    except (pa.ArrowException, OSError, KeyError):
        return None


def _records(add: Action) -> int:
    return int(json.loads(add.get("stats") or "{}").get("numRecords", 0))


def _without(table: Path, path: Path, add: Action, rows: Rows) -> Iterator[Action]:
    """Have deltalake write a file's other rows, in a table of their own, and take its files over."""
    try:
        content = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError):
        raise DatasetError(f"{path} is damaged.", hint=_DAMAGED) from None
    parts = add["partitionValues"]
    content = content.filter(pc.invert(rows.of(content)))
    schema = pa.schema([_partition(name) for name in parts] + list(content.schema))
    for name, value in parts.items():
        column = pa.repeat(pa.scalar(value).cast(_partition(name).type), content.num_rows)
        content = content.append_column(_partition(name), column)
    scratch = table / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    settings = DeltaTable(table).metadata().configuration
    columns = {name: value for name, value in settings.items() if name == "delta.dataSkippingStatsColumns"}
    delta.create(scratch, schema, partition_by=tuple(parts), settings=columns)
    delta.append(scratch, content.select(schema.names), transactions={})
    for made in (action["add"] for action in _lines(scratch, 1) if "add" in action):
        target = table / unquote(made["path"])
        target.parent.mkdir(mode=durable.PRIVATE_FOLDER, exist_ok=True, parents=True)
        (scratch / unquote(made["path"])).replace(target)
        durable.sync(target.parent)
        yield {**made, "modificationTime": add["modificationTime"]}


def _partition(name: str) -> pa.Field:
    return pa.field(name, pa.int32() if name == "bucket" else pa.string(), nullable=False)


def _orphans(table: Path, named: set[str], rows: Rows) -> Iterator[Path]:
    """Yield files that no version names and that hold some of the rows, or cannot be read: nobody is writing now."""
    for folder, names, files in os.walk(table):
        names[:] = [name for name in names if not name.startswith("_")]
        if rows.bucket is not None and Path(folder).name != f"bucket={rows.bucket}":
            continue
        for path in (Path(folder, name) for name in files if ".parquet" in name):
            if path.relative_to(table).as_posix() not in named and _matching(path, rows) != 0:
                yield path


def _filtered(actions: list[Action], rows: Rows, files: Mapping[str, list[Action]]) -> list[Action] | None:
    """Return an entry's actions without the rows, None when it has nothing to do with them."""
    kept: list[Action] = []
    for action in actions:
        ((kind, body),) = action.items()
        if kind in ("add", "remove") and body["path"] in files:
            kept += [_in_place(kind, body, add) for add in files[body["path"]]]
        elif not (kind == "txn" and body["appId"] in rows.transactions):
            kept.append(action)
    said = [_without_words(action, rows.words) for action in kept]
    return None if said == actions else _counted(said)


def _in_place(kind: str, body: Action, add: Action) -> Action:
    if kind == "add":
        return {"add": {**add, "dataChange": body["dataChange"]}}
    same = {"path": add["path"], "size": add["size"], "partitionValues": add["partitionValues"]}
    return {"remove": {**body, **{name: value for name, value in same.items() if name in body}}}


def _without_words(action: Action, words: Iterable[str]) -> Action:
    if "commitInfo" not in action:
        return action
    info = action["commitInfo"]
    said = info.get("operationParameters", {})
    kept = {name: value for name, value in said.items() if not any(word in str(value) for word in words)}
    return action if kept == said else {"commitInfo": {**info, "operationParameters": kept}}


def _counted(actions: list[Action]) -> list[Action]:
    """Make what the commit says of itself true again: an entry that was cut is known by it."""
    adds = [action["add"] for action in actions if "add" in action]
    removed = sum("remove" in action for action in actions)
    marks = {action["txn"]["appId"]: int(action["txn"]["version"]) for action in actions if "txn" in action}
    counts = {
        **dict.fromkeys(("num_added_files", "numFilesAdded"), len(adds)),
        **dict.fromkeys(("num_removed_files", "numFilesRemoved"), removed),
        "num_added_rows": sum(map(_records, adds)),
    }

    def true(action: Action) -> Action:
        if "commitInfo" not in action:
            return action
        info = dict(action["commitInfo"])
        metrics = info.get("operationMetrics", {})
        info["operationMetrics"] = metrics | {n: type(metrics[n])(count) for n, count in counts.items() if n in metrics}
        own = {TRANSACTIONS: len(marks), MARK: mark_of(marks), FILES: len(adds)}
        return {"commitInfo": info | {name: value for name, value in own.items() if name in info}}

    return [true(action) for action in actions]


def _swap(table: Path, newest: int, rows: Rows, files: Mapping[str, list[Action]], altered: set[int]) -> None:
    """Write the whole log beside, and put it in the log's place. Checkpoints are left away: they hold everything."""
    new = table / _NEW
    new.mkdir(mode=durable.PRIVATE_FOLDER)
    for version in range(newest + 1):
        target = new / entry_path(table, version).name
        if version in altered:
            actions = _filtered(_lines(table, version), rows, files) or []
            target.write_text("".join(json.dumps(action) + "\n" for action in actions), encoding="utf-8")
        else:
            _linked(entry_path(table, version), target)
    written = {new / entry_path(table, version).name for version in altered}
    data = {table / unquote(add["path"]) for adds in files.values() for add in adds}
    durable.keep(written | {path for path in data if path.is_file()}, {new})
    for version in altered:
        checksum_path(table, version).unlink(missing_ok=True)
    log_folder(table).replace(table / _OLD)
    new.replace(log_folder(table))
    durable.sync(table)


def _linked(path: Path, target: Path) -> None:
    link: Callable[[Path, Path], object] = os.link
    try:
        link(path, target)
    except OSError:
        # A file system without hard links.
        shutil.copy2(path, target)


def _sign(table: Path, newest: int) -> None:
    """Take checksums of what was written anew, and sync them and whatever else is new."""
    versions = [version for version in range(newest + 1) if not has_checksums(table, version)]
    files = {write_checksums(table, version) for version in versions}
    delta.make_durable([delta.Commit(table, newest, newest)])
    durable.keep(files, {table / CHECKSUMS} if files else set())
