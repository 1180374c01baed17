"""The cache against its index: every file hashed again, what is damaged set aside to be fetched again."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from s4s_lab.dicom.files import FILE_MODE, LOCKS, PART_SUFFIX, QUARANTINE, TRASH, private_folder, sync_to_disk
from s4s_lab.dicom.index import KnownFile, SetAside
from s4s_lab.dicom.upkeep import KeptIndex

Kind = Literal["damaged", "missing", "unknown", "damaged in quarantine"]


@dataclass(frozen=True)
class CacheFinding:
    """A file that is not as the index says.

    Parameters
    ----------
    kind : str
        `damaged` (its bytes changed), `missing`, `unknown` (the index does not have it), or `damaged in quarantine`.
    path : str
        Relative to the cache.
    archive, study_uid : str
        The study that it belongs to.
    repaired : bool
        Whether it was moved to quarantine, or its row dropped, so that a fetch brings it again.
    """

    kind: Kind
    path: str
    archive: str
    study_uid: str
    repaired: bool


@dataclass(frozen=True)
class CacheCheck:
    """What a check of the cache saw.

    Parameters
    ----------
    studies, files, bytes : int
        How many were checked, and their size [bytes].
    busy : int
        Studies that were being retrieved at that moment and were left out.
    findings : tuple of CacheFinding
        What is wrong.
    """

    studies: int
    files: int
    bytes: int
    busy: int
    findings: tuple[CacheFinding, ...]


@dataclass(frozen=True)
class Checker:
    """Checks one cache, study by study, each under its lock.

    Parameters
    ----------
    root : Path
        The cache's folder.
    index : KeptIndex
        Its index.
    repair : bool
        Whether to set aside what is damaged or unknown, and drop rows whose file is gone.
    """

    root: Path
    index: KeptIndex
    repair: bool

    def check(self) -> CacheCheck:
        """Check every study and everything in quarantine.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        self.index.require_whole()
        if self.repair:
            # An eviction that was killed had let go of it already.
            for trash in self.root.glob(f"*/{TRASH}"):
                shutil.rmtree(trash, ignore_errors=True)
        seen: Counter[str] = Counter()
        findings: list[CacheFinding] = []
        for archive, study_uid in self._studies():
            lock = FileLock(self._lock_path(archive, study_uid), mode=FILE_MODE)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                seen["busy"] += 1
                continue
            except OSError:
                # It may not be written to: it is looked at as it is, and nothing can be repaired.
                if self.repair:
                    raise
            try:
                findings += self._check_study(archive, study_uid, seen)
            finally:
                lock.release()
        findings += self._check_quarantine(seen)
        return CacheCheck(seen["studies"], seen["files"], seen["bytes"], seen["busy"], tuple(findings))

    def _studies(self) -> list[tuple[str, str]]:
        known = {(study.archive, study.study_uid) for study in self.index.studies()}
        there = {(path.parent.name, path.name) for path in self.root.glob("*/*") if path.is_dir()}
        return sorted(known | {place for place in there if place[1] not in (LOCKS, QUARANTINE, TRASH)})

    def _lock_path(self, archive: str, study_uid: str) -> Path:
        private_folder(self.root / archive / LOCKS)
        return self.root / archive / LOCKS / study_uid

    def _check_study(self, archive: str, study_uid: str, seen: Counter[str]) -> Iterator[CacheFinding]:
        seen["studies"] += 1
        known = self.index.files(archive, study_uid)
        gone: list[str] = []
        aside: list[SetAside] = []
        for uid, file in known.items():
            seen.update({"files": 1, "bytes": file.bytes})
            kind = _fault(self.root, file)
            if kind is not None:
                gone.append(uid)
                if kind == "damaged":
                    aside += self._set_aside(archive, file.path, "its bytes changed in the cache")
                yield CacheFinding(kind, file.path, archive, study_uid, self.repair)
        named = {file.path for file in known.values()}
        for path in sorted((self.root / archive / study_uid).rglob("*")):
            name = path.relative_to(self.root).as_posix()
            # A part that nobody is writing is removed by the study's next retrieval.
            if path.is_file() and name not in named and path.suffix != PART_SUFFIX:
                aside += self._set_aside(archive, name, "the index did not know it")
                yield CacheFinding("unknown", name, archive, study_uid, self.repair)
        if self.repair and (gone or aside):
            self.index.drop(archive, study_uid, gone, aside)

    def _set_aside(self, archive: str, name: str, reason: str) -> Iterator[SetAside]:
        if not self.repair:
            return
        path = self.root / name
        sha256, size = _sha256(path), path.stat().st_size
        place = self.root / archive / QUARANTINE / f"{sha256}.dcm"
        private_folder(place.parent)
        path.replace(place)
        for folder in (place.parent, path.parent):
            sync_to_disk(folder)
        yield SetAside(place.relative_to(self.root).as_posix(), size, sha256, reason)

    def _check_quarantine(self, seen: Counter[str]) -> Iterator[CacheFinding]:
        for archive, study_uid, file in self.index.set_aside():
            seen.update({"files": 1, "bytes": file.bytes})
            if _fault(self.root, KnownFile(file.path, file.bytes, file.sha256)) is not None:
                yield CacheFinding("damaged in quarantine", file.path, archive, study_uid, repaired=False)


def _fault(root: Path, file: KnownFile) -> Literal["damaged", "missing"] | None:
    path = root / file.path
    if not path.is_file():
        return "missing"
    return None if path.stat().st_size == file.bytes and _sha256(path) == file.sha256 else "damaged"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
