"""The cache against its index: every file hashed again, what is damaged set aside to be fetched again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from s4s_lab.dicom.files import (
    FILE_MODE,
    LOCKS,
    PART_SUFFIX,
    QUARANTINE,
    TRASH,
    entries_below,
    leads_out,
    own_folder,
    sync_to_disk,
)
from s4s_lab.dicom.index import KnownFile, SetAside
from s4s_lab.dicom.upkeep import KeptIndex

Kind = Literal["damaged", "missing", "unknown", "damaged in quarantine", "link"]


@dataclass(frozen=True)
class CacheFinding:
    """A file that is not as the index says.

    Parameters
    ----------
    kind : str
        `damaged` (its bytes changed), `missing`, `unknown` (the index does not have it), `damaged in quarantine`, or
        `link` (a symbolic link; what lies behind it is not looked at).
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
            for folder in self._archives():
                shutil.rmtree(folder / TRASH, ignore_errors=True)
        seen: Counter[str] = Counter()
        findings: list[CacheFinding] = []
        for archive, study_uid in self._studies():
            link = self._link(archive, study_uid) or self._link(archive, LOCKS)
            if link is not None:
                findings.append(CacheFinding("link", link, archive, study_uid, repaired=False))
                continue
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
        there = {(path.parent.name, path.name) for archive in self._archives() for path in archive.iterdir()}
        beside = {place for place in there if (self.root / "/".join(place)).is_dir()}
        return sorted(known | {place for place in beside if place[1] not in (LOCKS, QUARANTINE, TRASH)})

    def _archives(self) -> list[Path]:
        return [path for path in self.root.glob("*") if path.is_dir() and not path.is_symlink()]

    def _link(self, *steps: str) -> str | None:
        """Return the link by which a path leads out of the cache, relative to it, where it does."""
        link = leads_out(self.root, self.root.joinpath(*steps))
        return None if link is None else os.path.relpath(link, self.root)

    def _lock_path(self, archive: str, study_uid: str) -> Path:
        return own_folder(self.root, self.root / archive / LOCKS) / study_uid

    def _check_study(self, archive: str, study_uid: str, seen: Counter[str]) -> Iterator[CacheFinding]:
        seen["studies"] += 1
        known = self.index.files(archive, study_uid)
        gone: list[str] = []
        aside: list[SetAside] = []
        for uid, file in known.items():
            seen.update({"files": 1, "bytes": file.bytes})
            kind = self._fault(file)
            if kind == "link":
                # What is behind it is nobody's to drop or to set aside.
                continue
            if kind is not None:
                gone.append(uid)
                if kind == "damaged":
                    aside += self._set_aside(archive, file.path, "its bytes changed in the cache")
                yield CacheFinding(kind, file.path, archive, study_uid, self.repair)
        for name in self._beside(archive, study_uid, {file.path for file in known.values()}):
            aside += self._set_aside(archive, name, "the index did not know it")
            yield CacheFinding("unknown", name, archive, study_uid, self.repair)
        for link in self._links(archive, study_uid, known.values()):
            yield CacheFinding("link", link, archive, study_uid, repaired=False)
        if self.repair and (gone or aside):
            self.index.drop(archive, study_uid, gone, aside)

    def _beside(self, archive: str, study_uid: str, named: Collection[str]) -> list[str]:
        """Return the files in a study's folder that have no such name."""
        # A part that nobody is writing is removed by the study's next retrieval.
        paths = [
            Path(entry.path)
            for entry in entries_below(self.root / archive / study_uid)
            if entry.is_file(follow_symlinks=False)
        ]
        names = [path.relative_to(self.root).as_posix() for path in paths if path.suffix != PART_SUFFIX]
        return [name for name in names if name not in named]

    def _links(self, archive: str, study_uid: str, known: Iterable[KnownFile]) -> list[str]:
        """Return the links in a study's folder, and those by which its rows would lead out of the cache."""
        there = (Path(entry.path) for entry in entries_below(self.root / archive / study_uid) if entry.is_symlink())
        named = {link for file in known if (link := self._link(file.path)) is not None}
        return sorted(named | {path.relative_to(self.root).as_posix() for path in there})

    def _set_aside(self, archive: str, name: str, reason: str) -> Iterator[SetAside]:
        if not self.repair:
            return
        path = self.root / name
        sha256, size = _sha256(path), path.stat().st_size
        place = own_folder(self.root, self.root / archive / QUARANTINE) / f"{sha256}.dcm"
        path.replace(place)
        for folder in (place.parent, path.parent):
            sync_to_disk(folder)
        yield SetAside(place.relative_to(self.root).as_posix(), size, sha256, reason)

    def _check_quarantine(self, seen: Counter[str]) -> Iterator[CacheFinding]:
        for archive, study_uid, file in self.index.set_aside():
            seen.update({"files": 1, "bytes": file.bytes})
            if (link := self._link(file.path)) is not None:
                yield CacheFinding("link", link, archive, study_uid, repaired=False)
            elif self._fault(KnownFile(file.path, file.bytes, file.sha256)) is not None:
                yield CacheFinding("damaged in quarantine", file.path, archive, study_uid, repaired=False)

    def _fault(self, file: KnownFile) -> Literal["link", "missing", "damaged"] | None:
        path = self.root / file.path
        if self._link(file.path) is not None:
            return "link"
        if not path.is_file():
            return "missing"
        return None if path.stat().st_size == file.bytes and _sha256(path) == file.sha256 else "damaged"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
