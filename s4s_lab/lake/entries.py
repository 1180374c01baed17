"""Entries of a Delta log, read as the protocol defines them: JSON lines, one action a line.

References
----------
Delta transaction log protocol: delta log entries, add file, transaction identifiers, commit provenance, checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from s4s_lab.values.instants import from_millis

# How many transaction identifiers a commit of ours carries, kept in its commitInfo: an entry that was cut tells by it.
TRANSACTIONS = "transactions"
# Their digest, beside it: a watermark with a wrong digit tells by it.
MARK = "transactions_digest"
# How many files it adds, where deltalake did not count them.
FILES = "files_added"
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.(?:.*\.)?parquet")
_LAST_CHECKPOINT = "_last_checkpoint"


@dataclass(frozen=True)
class Added:
    """A data file that a commit added.

    Parameters
    ----------
    path : str
        Relative to the table's folder.
    size : int
        As written [bytes].
    partition : mapping
        Partition column to value.
    data_change : bool
        False where rows were only moved, as by compaction.
    stats : mapping
        What the writer said of its rows: `numRecords`, `minValues`, `maxValues`.
    """

    path: str
    size: int
    partition: Mapping[str, str]
    data_change: bool
    stats: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One committed version of a table.

    Parameters
    ----------
    version : int
        Counts from 0.
    committed_at : datetime or None
        By the writer's clock.
    added : tuple of Added
        Data files of this commit.
    removed : int
        How many data files it replaced.
    transactions : mapping of str to int
        Application id to number.
    info : mapping
        The commitInfo action.
    actions : frozenset of str
        Kinds of action in the entry.
    """

    version: int
    committed_at: datetime | None
    added: tuple[Added, ...]
    removed: int
    transactions: Mapping[str, int]
    info: Mapping[str, Any]
    actions: frozenset[str]


def log_folder(table: Path) -> Path:
    """Return the folder of a table's log.

    Parameters
    ----------
    table : Path
        The table's folder.
    """
    return table / "_delta_log"


def entry_path(table: Path, version: int) -> Path:
    """Return the file of one version's log entry.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.
    """
    return log_folder(table) / f"{version:020}.json"


def newest_version(table: Path) -> int | None:
    """Return the number of the newest log entry, None when there is no log.

    Parameters
    ----------
    table : Path
        The table's folder.
    """
    return max(_numbered(table, _ENTRY).values(), default=None)


def _numbered(table: Path, pattern: re.Pattern[str]) -> dict[Path, int]:
    folder = log_folder(table)
    if not folder.is_dir():
        return {}
    return {file: int(match[1]) for file in folder.iterdir() if (match := pattern.fullmatch(file.name))}


def read_entry(table: Path, version: int) -> Entry:
    """Read one version's log entry.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.

    Raises
    ------
    FileNotFoundError
        If there is no such entry.
    ValueError
        If it is no log entry.
    """
    lines = entry_path(table, version).read_text(encoding="utf-8").splitlines()
    bodies: dict[str, list[dict[str, Any]]] = {}
    try:
        for line in lines:
            for kind, body in json.loads(line).items():
                bodies.setdefault(kind, []).append(body)
        return _entry(version, bodies)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{entry_path(table, version)} is no log entry: {error!r}") from None


def _entry(version: int, bodies: Mapping[str, list[dict[str, Any]]]) -> Entry:
    info: dict[str, Any] = bodies.get("commitInfo", [{}])[0]
    return Entry(
        version=version,
        committed_at=from_millis(int(info["timestamp"])) if "timestamp" in info else None,
        added=tuple(_added(body) for body in bodies.get("add", [])),
        removed=len(bodies.get("remove", [])),
        transactions={body["appId"]: int(body["version"]) for body in bodies.get("txn", [])},
        info=info,
        actions=frozenset(bodies),
    )


def _added(body: Mapping[str, Any]) -> Added:
    # Paths are URL-encoded in the log and plain on the disk.
    stats = json.loads(body.get("stats") or "{}")
    return Added(unquote(body["path"]), int(body["size"]), body["partitionValues"], bool(body["dataChange"]), stats)


def mark_of(transactions: Mapping[str, int]) -> str:
    """Return the digest of a commit's transaction identifiers, as its commitInfo keeps it.

    Parameters
    ----------
    transactions : mapping of str to int
        Application id to number.
    """
    return hashlib.sha256(json.dumps(sorted(transactions.items())).encode()).hexdigest()[:16]


def fault_of(table: Path, version: int) -> str | None:
    """Say what is unfinished about one version: its entry, or the files that it adds; None when nothing is.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        A version whose files have not been replaced since, such as the newest.
    """
    try:
        entry = read_entry(table, version)
    except ValueError:
        return "its log entry is cut off"
    if not _is_whole(entry):
        return "its log entry is cut off"
    for file in entry.added:
        path = table / file.path
        if not path.is_file():
            return "a file that it adds is missing"
        if path.stat().st_size != file.size:
            return "a file that it adds is cut off"
    return None


def _is_whole(entry: Entry) -> bool:
    if "commitInfo" not in entry.actions:
        return False
    if entry.version == 0 and not {"protocol", "metaData"} <= entry.actions:
        return False
    counted = entry.info.get("operationMetrics", {})
    # A write counts its files by other names than an optimize does.
    return bool(
        _agree(counted, ("num_added_files", "numFilesAdded"), len(entry.added))
        and _agree(counted, ("num_removed_files", "numFilesRemoved"), entry.removed)
        and _agree(entry.info, (FILES,), len(entry.added))
        and entry.info.get(TRANSACTIONS, len(entry.transactions)) == len(entry.transactions)
        and entry.info.get(MARK, mark := mark_of(entry.transactions)) == mark
    )


def _agree(counted: Mapping[str, Any], names: tuple[str, ...], count: int) -> bool:
    return all(counted.get(name, count) == count for name in names)


def broken_checkpoints(table: Path, *, newest: int) -> list[Path]:
    """Return files of checkpoints that are newer than `newest`, or cannot be read, and hints that name such a one.

    A table opens without them: every entry of its log is kept.

    Parameters
    ----------
    table : Path
        The table's folder.
    newest : int
        The newest version that counts.
    """
    kept = _numbered(table, _CHECKPOINT)
    latest = max(kept.values(), default=-1)
    broken = [path for path, number in kept.items() if number > newest or (number == latest and not _is_parquet(path))]
    hint = log_folder(table) / _LAST_CHECKPOINT
    if hint.is_file() and not _names_one_of(hint, {n for path, n in kept.items() if path not in broken}):
        broken.append(hint)
    return broken


def checkpoint_files(table: Path, version: int) -> list[Path]:
    """Return the files that a checkpoint of one version made, with the hint that names the newest.

    Parameters
    ----------
    table : Path
        The table's folder.
    version : int
        Which version.
    """
    made = log_folder(table) / f"{version:020}.checkpoint.parquet"
    return [made, log_folder(table) / _LAST_CHECKPOINT] if made.is_file() else []


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def _names_one_of(hint: Path, versions: set[int]) -> bool:
    try:
        return json.loads(hint.read_text(encoding="utf-8"))["version"] in versions
    except (ValueError, KeyError, TypeError):
        return False
