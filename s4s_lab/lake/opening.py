"""Making a dataset, and looking after one when it opens: modes, locks, and what a power cut left unfinished."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from s4s_lab.errors import DatasetError, NotADataset
from s4s_lab.lake import delta, durable
from s4s_lab.lake.entries import broken_checkpoints, entry_path, fault_of, log_folder, newest_version, read_entry
from s4s_lab.lake.forgetting import finish
from s4s_lab.lake.ledger import create_ledger, note_loss
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.log import create_log
from s4s_lab.lake.synced import first_fault, unsynced
from s4s_lab.lake.tables import SHOWN
from s4s_lab.lake.tables_folder import invalidate, prepare
from s4s_lab.values.instants import format_instant, utc_now

FORMAT = 1
BUCKETS = 64
_SETTINGS = "dataset.json"
_LOCKS = ".locks"
# What an interrupted creation may have left: a folder with these alone becomes a dataset.
_OURS = {_LOCKS, "resources", "pulls", "tables", "connections"}


@dataclass(frozen=True)
class Settings:
    """What dataset.json says.

    Parameters
    ----------
    dataset_id : str
        Random; what citations name.
    buckets : int
        Into how many parts patients are spread.
    """

    dataset_id: str
    buckets: int


def lock_folder(root: Path) -> Locks:
    """Return the locks of a dataset.

    Parameters
    ----------
    root : Path
        Its folder.
    """
    return Locks(root / _LOCKS)


def find_or_make(root: Path, *, create: bool) -> Settings:
    """Read a dataset's settings; make the dataset first where there is none.

    Parameters
    ----------
    root : Path
        Its folder.
    create : bool
        Whether to make one in a missing or empty folder.

    Raises
    ------
    NotADataset
        If the folder holds something else, or nothing and `create` is false.
    DatasetError
        If locks do not work there.
    """
    if (root / _SETTINGS).is_file():
        return _read(root)
    if root.exists() and not root.is_dir():
        raise NotADataset(f"{root} is no folder.", hint="Name a folder for the dataset.")
    there = root.iterdir() if root.is_dir() else ()
    if any(path.name not in _OURS and not path.name.startswith(durable.PART) for path in there):
        raise NotADataset(f"{root} holds other things and no dataset.", hint="Name a new or an empty folder.")
    if not create:
        raise NotADataset(f"There is no dataset in {root}.", hint="Check the path, or connect or pull first.")
    return _make(root)


def _make(root: Path) -> Settings:
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(mode=durable.PRIVATE_FOLDER, parents=True, exist_ok=True)
    root.chmod(durable.PRIVATE_FOLDER)
    for folder in missing:
        durable.sync(folder.parent)
    durable.make_private_folder(root / _LOCKS)
    locks = lock_folder(root)
    locks.probe()
    with locks.maintaining():
        if (root / _SETTINGS).is_file():
            return _read(root)
        durable.make_private_folder(root / "connections")
        prepare(root / "tables")
        create_log(root / "resources")
        create_ledger(root / "pulls")
        settings = {
            "format": FORMAT,
            "dataset_id": str(uuid4()),
            "buckets": BUCKETS,
            "created": format_instant(utc_now()),
        }
        # Last: a folder with this file is a whole dataset.
        durable.write_durably(root / _SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
    return _read(root)


def _read(root: Path) -> Settings:
    path = root / _SETTINGS
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        version, settings = content["format"], Settings(str(content["dataset_id"]), int(content["buckets"]))
    except (ValueError, KeyError, TypeError):
        raise NotADataset(f"{path} is not the settings file of a dataset.", hint="Check the path.") from None
    if version != FORMAT:
        raise NotADataset(
            f"The dataset in {root} has format {version}; this version of S4S Lab knows {FORMAT}.",
            hint="Use the version of S4S Lab that made it, or a newer one.",
        )
    return settings


def look_after(root: Path) -> list[str]:
    """Check an existing dataset's mode, locks and newest log entries; set aside what is unfinished.

    A dataset that cannot be written to is left as it is.

    Parameters
    ----------
    root : Path
        Its folder.

    Returns
    -------
    list of str
        What was found, as sentences to warn with.

    Raises
    ------
    DatasetError
        If locks do not work there, or the log is lost.
    DatasetBusy
        If something is unfinished and others write at this moment.
    """
    found: list[str] = []
    if os.access(root, os.W_OK):
        found += _close(root)
        for name in (_LOCKS, "connections"):
            durable.make_private_folder(root / name)
        prepare(root / "tables")
        lock_folder(root).probe()
        found += finish(root)
        tables = [root / "resources", root / "pulls", *_derived(root)]
        if any(map(_is_unfinished, tables)) or _shows_the_future(root):
            with lock_folder(root).maintaining():
                found += _mend(root, tables)
        _make_durable(tables)
    if not delta.exists(root / "resources") or not delta.exists(root / "pulls"):
        raise DatasetError(f"The dataset in {root} has lost its log.", hint="Restore it from a backup.")
    return found


def _make_durable(tables: list[Path]) -> None:
    """Sync what a process that was killed had committed and not synced: what is built on it must not outlive it."""
    for table in tables:
        # Gone meanwhile: whoever took it away looks after it.
        with suppress(FileNotFoundError):
            if versions := unsynced(table):
                delta.make_durable([delta.Commit(table, versions[0], versions[-1])])


def _close(root: Path) -> Iterator[str]:
    """Close the folder to other users: it guards everything in it."""
    if not stat.S_IMODE(root.stat().st_mode) & 0o077:
        return
    try:
        root.chmod(durable.PRIVATE_FOLDER)
    except PermissionError:
        yield f"The dataset {root} is open to other users, and only its owner can close it."
    else:
        yield f"The dataset {root} was open to other users; it is closed to them now."


def _derived(root: Path) -> Iterator[Path]:
    # A name that begins with a dot is that of a table on its way out.
    folders = (path for path in sorted((root / "tables").iterdir()) if not path.name.startswith("."))
    return (path for path in folders if log_folder(path).is_dir())


def _is_unfinished(table: Path) -> bool:
    newest = newest_version(table)
    return newest is not None and bool(first_fault(table) or broken_checkpoints(table, newest=newest))


def _shows_the_future(root: Path) -> bool:
    """Say whether a table shows a version of the log that the log does not have."""
    newest = newest_version(root / "resources")
    return any(_shown(table) > (-1 if newest is None else newest) for table in _derived(root))


def _shown(table: Path) -> int:
    """Return the version of the log that a table shows; a commit that only joined files says nothing of it."""
    version = newest_version(table)
    if version is None or fault_of(table, version):
        return -1
    while (entry := read_entry(table, version)).info.get("operation") == "OPTIMIZE":
        version -= 1
    return entry.transactions.get(SHOWN, -1)


def _mend(root: Path, tables: list[Path]) -> Iterator[str]:
    for table in tables:
        while found := first_fault(table):
            yield from _set_aside(root, table, *found)
        newest = newest_version(table)
        for path in broken_checkpoints(table, newest=-1 if newest is None else newest):
            _move_aside(root, table, path)
    if _shows_the_future(root):
        invalidate(root / "tables")
    create_log(root / "resources")
    create_ledger(root / "pulls")


def _set_aside(root: Path, table: Path, first: int, fault: str) -> Iterator[str]:
    """Set a version aside, and with it those that were made after it."""
    if table.name == "resources":
        # First: the numbers of the lost versions will be given again, to other rows.
        invalidate(root / "tables")
        note_loss(root)
    newest = newest_version(table)
    for version in range(first if newest is None else newest, first - 1, -1):
        if not entry_path(table, version).exists():
            continue
        aside = _move_aside(root, table, entry_path(table, version))
        why = fault if version == first else f"version {first} before it is not whole"
        yield (
            f"The last commit to {table.relative_to(root)} (version {version}) was never finished: {why}."
            f" It is set aside as {aside.relative_to(root)}; pull again to get its rows back."
        )


def _move_aside(root: Path, table: Path, path: Path) -> Path:
    folder = root / "set-aside"
    durable.make_private_folder(folder)
    aside = folder / f"{table.name}-{secrets.token_hex(4)}-{path.name}"
    path.replace(aside)
    durable.sync(path.parent)
    durable.sync(folder)
    return aside
