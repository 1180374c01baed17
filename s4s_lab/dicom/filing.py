"""Each part of a study checked, filed under its UIDs or set aside, synced, then indexed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from s4s_lab.dicom.files import PART_SUFFIX, QUARANTINE, IncomingFile, leads_out, own_folder, sync_to_disk
from s4s_lab.dicom.headers import Header
from s4s_lab.dicom.index import Index, KnownFile, SetAside, StudyKey

# Two wait for the disk at once, so that one flush serves files of both; more of them keep waking each other.
SYNC_THREADS: Final = 2
_BATCH: Final = 64
# What a kill may cost on a slow line: files that came within this time [s] come once more.
_AT_RISK_S: Final = 0.1
_MAX_ISSUES: Final = 50
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)


class Filing:
    """Takes the parts of one study and files each as soon as it is whole.

    A file stays where it is when its instance is there already with the same bytes; with other bytes the newcomer goes
    to quarantine. Rows enter the index only after their files are on disk for good; that is waited for on other
    threads while the next parts come.

    Parameters
    ----------
    root : Path
        The cache's folder.
    index : Index
        Its index.
    study : StudyKey
        The study that was asked for; a part of another study goes to quarantine.
    executor : ThreadPoolExecutor
        Where waiting for the disk happens.
    """

    def __init__(self, root: Path, index: Index, study: StudyKey, executor: ThreadPoolExecutor) -> None:
        self._root = root
        self._index = index
        self._study = study
        self._executor = executor
        self._folder = root / study.archive / study.study_uid
        self._known = index.files(study.archive, study.study_uid)
        self._open: IncomingFile | None = None
        self._declared: str | None = None
        self._rows: list[dict[str, Any]] = []
        self._set_aside: list[SetAside] = []
        self._unsynced: list[IncomingFile] = []
        self._committing: Future[None] | None = None
        self._flush_at = time.monotonic() + _AT_RISK_S
        self._folders: set[Path] = set()
        self._issues: list[str] = []
        self._more_issues = 0
        self.seen: set[str] = set()
        self._parts = 0
        self.new = 0
        self.aside = 0
        own_folder(root, self._folder)
        # The study's lock is held: a part that lies here was left by a process that was killed.
        for left in self._folder.glob(f"*{PART_SUFFIX}"):
            left.unlink()

    @property
    def issues(self) -> tuple[str, ...]:
        """What was odd, one sentence each; beyond 50 only their number."""
        more = (f"and {self._more_issues} more like these",) if self._more_issues else ()
        return (*self._issues, *more)

    def _report(self, issue: str) -> None:
        """Keep one more oddity for the report."""
        if len(self._issues) < _MAX_ISSUES:
            self._issues.append(issue)
        else:
            self._more_issues += 1

    def begin_part(self, headers: Mapping[str, str]) -> None:
        """Open a file for a part that begins.

        Parameters
        ----------
        headers : mapping of str to str
            The part's; its Content-Length is compared with what comes.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        self._parts += 1
        self._declared = headers.get("content-length")
        self._open = IncomingFile(self._folder / f"{self._parts}{PART_SUFFIX}")

    def part_data(self, data: memoryview) -> None:
        """Write the next bytes of the open part.

        Parameters
        ----------
        data : memoryview
            Any number of bytes.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        if self._open is not None:
            self._open.write(data)

    def end_part(self, sha256: str) -> None:
        """File the open part under its UIDs, or set it aside.

        Parameters
        ----------
        sha256 : str
            Of its bytes as they were received.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        if self._open is None:
            return
        file = self._open
        header = file.header()
        reason = self._loss(file, header) or self._objection(sha256, header)
        if reason is not None:
            self._quarantine(file, sha256, reason)
        elif self._is_known(sha256, header):
            file.discard()
        else:
            self._keep(file, sha256, header)
        self._open = None
        if len(self._unsynced) >= _BATCH or time.monotonic() >= self._flush_at:
            self._flush()

    def _abandon_part(self) -> None:
        """Remove the open part, which will never be whole."""
        if self._open is not None:
            self._open.discard()
            self._open = None

    def _flush(self) -> None:
        """Begin to index the newest files, once they are on disk; waits for the batch before."""
        self._wait()
        if self._unsynced:
            shares = [self._unsynced[first::SYNC_THREADS] for first in range(SYNC_THREADS)]
            syncs = [self._executor.submit(_sync, share) for share in shares if share]
            # Those before it are in the queue already, so this one cannot keep them from running.
            self._committing = self._executor.submit(self._commit, syncs, self._rows, self._set_aside)
            self._unsynced, self._rows, self._set_aside = [], [], []
        self._flush_at = time.monotonic() + _AT_RISK_S

    def finish(self) -> None:
        """Wait until every whole part is on disk and indexed; the open one is removed.

        Raises
        ------
        OSError
            If the disk failed: files that may not be whole on it are not in the index.
        DatasetError
            If the index cannot be used.
        """
        self._abandon_part()
        self._flush()
        self._wait()
        # A study that brought no file leaves no folder.
        with suppress(OSError):
            self._folder.rmdir()

    def _wait(self) -> None:
        if self._committing is not None:
            committing, self._committing = self._committing, None
            committing.result()

    def _loss(self, file: IncomingFile, header: Header) -> str | None:
        declared = self._declared or ""
        if _LENGTH.fullmatch(declared) and int(declared) > file.bytes:
            return f"its Content-Length is {declared}, {file.bytes} bytes came"
        return "it ends before its data do" if header.refusal is None and file.ends_early() else None

    def _objection(self, sha256: str, header: Header) -> str | None:
        if header.refusal is not None:
            return header.refusal
        if header.study_uid != self._study.study_uid:
            return "it belongs to another study"
        known = self._known.get(header.instance_uid)
        if known is not None and known.sha256 != sha256 and self._is_intact(known):
            return f"instance {header.instance_uid} is there already with other bytes"
        if header.instance_uid in self.seen:
            self._report(f"part {self._parts} repeats instance {header.instance_uid}")
        return None

    def _is_intact(self, known: KnownFile) -> bool:
        path = self._root / known.path
        return leads_out(self._root, path) is None and path.is_file() and path.stat().st_size == known.bytes

    def _is_known(self, sha256: str, header: Header) -> bool:
        self.seen.add(header.instance_uid)
        known = self._known.get(header.instance_uid)
        return known is not None and known.sha256 == sha256 and self._is_intact(known)

    def _keep(self, file: IncomingFile, sha256: str, header: Header) -> None:
        # Every name in this path is a UID that was checked.
        path = self._move(file, self._folder / header.series_uid / f"{header.instance_uid}.dcm")
        issues = list(header.issues)
        if self._declared is not None and self._declared != str(file.bytes):
            issues.append(f"the part's Content-Length is {self._declared[:20]!r}, {file.bytes} bytes came")
        self._known[header.instance_uid] = KnownFile(path, file.bytes, sha256)
        stored = {"bytes": file.bytes, "sha256": sha256, "path": path, "parse_issues": issues}
        self._rows.append(header.values | stored)
        self.new += 1

    def _quarantine(self, file: IncomingFile, sha256: str, reason: str) -> None:
        self.aside += 1
        self._report(f"part {self._parts} is in quarantine: {reason}")
        path = self._move(file, self._root / self._study.archive / QUARANTINE / f"{sha256}.dcm")
        self._set_aside.append(SetAside(path, file.bytes, sha256, reason))

    def _move(self, file: IncomingFile, place: Path) -> str:
        """Move a whole file to its place, where it is synced soon, and return its path relative to the cache."""
        if place.parent not in self._folders:
            own_folder(self._root, place.parent)
            self._folders.add(place.parent)
        file.path.replace(place)
        self._unsynced.append(file)
        return place.relative_to(self._root).as_posix()

    def _commit(self, syncs: list[Future[None]], rows: list[dict[str, Any]], set_aside: list[SetAside]) -> None:
        for sync in syncs:
            sync.result()
        folders = {(self._root / row["path"]).parent for row in rows} | {
            (self._root / f.path).parent for f in set_aside
        }
        for folder in folders | {self._folder, self._folder.parent, self._root}:
            sync_to_disk(folder)
        self._index.add(self._study, rows, set_aside)


def _sync(files: Sequence[IncomingFile]) -> None:
    """Sync files one after the other, and close them all, also when the disk fails at one."""
    with ExitStack() as opened:
        for file in files:
            opened.callback(file.close)
        for file in files:
            file.sync()
