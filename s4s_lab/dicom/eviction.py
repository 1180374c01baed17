"""Making room in a cache: studies that were not used for longest go first, pinned ones never."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from s4s_lab.dicom.files import FILE_MODE, LOCKS, TRASH, own_folder, require_own, require_own_study, sync_to_disk
from s4s_lab.dicom.index import CachedStudy, StudyKey, count_change
from s4s_lab.dicom.upkeep import KeptIndex
from s4s_lab.errors import DatasetError, UsageError

_PINS: Final = "CREATE TABLE IF NOT EXISTS pins (study_uid TEXT PRIMARY KEY)"


@dataclass(frozen=True)
class Evicted:
    """What was removed to make room.

    Parameters
    ----------
    studies, files, bytes : int
        How much went, and its size [bytes].
    left_bytes : int
        Size of what is still there; more than was asked for where the rest is pinned or being retrieved [bytes].
    """

    studies: int
    files: int
    bytes: int
    left_bytes: int


def pin(index: KeptIndex, study_uid: str, *, pinned: bool) -> None:
    """Keep a study from being evicted, or no longer.

    Parameters
    ----------
    index : KeptIndex
        The cache's index.
    study_uid : str
        Study Instance UID, bare; the study may come later.
    pinned : bool
        Which of the two.

    Raises
    ------
    DatasetError
        If the index cannot be used.
    """
    with index.writing() as connection:
        connection.execute(_PINS)
        statement = "INSERT OR IGNORE INTO pins VALUES (?)" if pinned else "DELETE FROM pins WHERE study_uid = ?"
        connection.execute(statement, (study_uid,))


def pins(index: KeptIndex) -> frozenset[str]:
    """Return the studies that are pinned.

    Parameters
    ----------
    index : KeptIndex
        The cache's index.

    Raises
    ------
    DatasetError
        If the index cannot be used.
    """
    if not index.query("SELECT 1 FROM sqlite_master WHERE name = 'pins'"):
        return frozenset()
    return frozenset(uid for (uid,) in index.query("SELECT study_uid FROM pins"))


def note_use(file: Path) -> None:
    """Remember that a study is used now: its folder's time says when that was last.

    Parameters
    ----------
    file : Path
        One of its files.
    """
    # A cache that may only be read is never evicted from.
    with suppress(OSError):
        os.utime(file.parent.parent)


def evict(root: Path, index: KeptIndex, max_bytes: int) -> Evicted:
    """Remove the files of studies until no more than `max_bytes` of images are left.

    What is known of a study stays, so that a fetch brings it again. Quarantine is left alone.

    Parameters
    ----------
    root : Path
        The cache's folder.
    index : KeptIndex
        Its index.
    max_bytes : int
        How much may stay [bytes].

    Raises
    ------
    UsageError
        If that is no size.
    DatasetError
        If the index cannot be used, files cannot be removed, or a link leads out of the cache.
    """
    given: object = max_bytes
    if not isinstance(given, Real) or not float(given) >= 0:
        raise UsageError(f"{max_bytes!r} is no size.", hint="Give how many bytes may stay, 0 for none.")
    kept = pins(index)
    candidates = [(_used_at(root, study), study) for study in index.studies()]
    sizes = {study: index.study(study.archive, study.study_uid) for _, study in candidates}
    left = sum(one.bytes for one in sizes.values())
    for study in sizes:
        _clear_what_was_let_go(root, sizes[study], study)
    gone: list[StudyKey] = []
    for _, study in sorted(candidates, key=lambda one: (one[0], one[1].archive, one[1].study_uid)):
        if left <= max_bytes:
            break
        if not sizes[study].instances or study.study_uid in kept:
            continue
        with _alone(root, study) as alone:
            if alone:
                _remove(root, index, study)
                gone.append(study)
                left -= sizes[study].bytes
    return Evicted(len(gone), sum(sizes[one].instances for one in gone), sum(sizes[one].bytes for one in gone), left)


def _used_at(root: Path, study: StudyKey) -> int:
    try:
        return (root / study.archive / study.study_uid).stat().st_mtime_ns
    except OSError:
        return 0


@contextmanager
def _alone(root: Path, study: StudyKey) -> Iterator[bool]:
    """Hold a study's lock, unless it is being retrieved now."""
    lock = FileLock(own_folder(root, root / study.archive / LOCKS) / study.study_uid, mode=FILE_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _clear_what_was_let_go(root: Path, cached: CachedStudy, study: StudyKey) -> None:
    """Finish what an eviction began that was killed: its index knows nothing of these files any longer."""
    folder = root / study.archive / study.study_uid
    if cached.state != "missing" or not (folder.is_dir() or (folder.parent / TRASH).is_dir()):
        return
    with _alone(root, study) as alone:
        if alone:
            _clear(require_own_study(root, study.archive, study.study_uid), require_own(root, folder.parent / TRASH))


def _remove(root: Path, index: KeptIndex, study: StudyKey) -> None:
    key = (study.archive, study.study_uid)
    folder = require_own_study(root, *key)
    trash = require_own(root, root / study.archive / TRASH)
    # The index first: files that it does not know are written anew, files that it wrongly knows would be missed.
    with index.writing() as connection:
        connection.execute("DELETE FROM instances WHERE archive = ? AND study_uid = ?", key)
        connection.execute("UPDATE studies SET state = 'missing' WHERE archive = ? AND study_uid = ?", key)
        count_change(connection, 1)
    _clear(folder, trash)


def _clear(folder: Path, trash: Path) -> None:
    """Remove a study's folder, and what an eviction that was killed had moved aside."""
    shutil.rmtree(trash, ignore_errors=True)
    if not folder.is_dir():
        return
    try:
        # Moved at once and removed then: nobody reads half a series.
        folder.rename(trash)
        sync_to_disk(folder.parent)
    except OSError as error:
        raise DatasetError(f"Images cannot be removed: {error.strerror or 'input/output error'}.") from None
    shutil.rmtree(trash, ignore_errors=True)
