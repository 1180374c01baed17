"""One retrieval's way into the cache: parts are hashed as they come, and filed on a thread of their own."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from s4s_lab.dicom.filing import SYNC_THREADS, Filing
from s4s_lab.dicom.index import Index, StudyKey

# Pieces that may wait to be written, 1 MiB each at most: a slow disk then slows the archive, and fills no memory.
_AHEAD: Final = 4


class Deposit:
    """Takes the parts of one study (a `PartSink`): hashes them, and hands them on to be filed meanwhile.

    Hashing and writing release the interpreter's lock, so that the next bytes are received while the last ones are
    written.

    Parameters
    ----------
    filing : Filing
        What becomes of the parts.
    executor : ThreadPoolExecutor
        One thread, on which that happens.
    """

    def __init__(self, filing: Filing, executor: ThreadPoolExecutor) -> None:
        self._filing = filing
        self._executor = executor
        self._sha256 = hashlib.sha256()
        self._tasks: list[Callable[[], None]] = []
        self._passed: deque[Future[None]] = deque()
        self.parts = 0

    @property
    def issues(self) -> tuple[str, ...]:
        """What was odd, one sentence each; known when the deposit has ended."""
        return self._filing.issues

    @property
    def seen(self) -> set[str]:
        """SOP Instance UIDs of the parts, those that were here before included; known when the deposit has ended."""
        return self._filing.seen

    @property
    def new(self) -> int:
        """How many files were added; known when the deposit has ended."""
        return self._filing.new

    @property
    def aside(self) -> int:
        """How many parts went to quarantine; known when the deposit has ended."""
        return self._filing.aside

    def begin_part(self, headers: Mapping[str, str]) -> None:
        """Take the headers of a part that begins.

        Parameters
        ----------
        headers : mapping of str to str
            The part's; its Content-Length is compared with what comes.
        """
        self.parts += 1
        self._sha256 = hashlib.sha256()
        self._tasks.append(partial(self._filing.begin_part, headers))

    def part_data(self, data: memoryview) -> None:
        """Take the next bytes of the open part.

        Parameters
        ----------
        data : memoryview
            Any number of bytes, which nobody changes afterwards.
        """
        self._sha256.update(data)
        self._tasks.append(partial(self._filing.part_data, data))

    def end_part(self) -> None:
        """Learn that the open part is whole."""
        self._tasks.append(partial(self._filing.end_part, self._sha256.hexdigest()))

    def pass_on(self) -> None:
        """Hand on what came since the last time; waits while too much is still to be written.

        Raises
        ------
        OSError
            If the disk did not take what came before.
        """
        if not self._tasks:
            return
        if len(self._passed) == _AHEAD:
            self._passed.popleft().result()
        before = self._passed[-1] if self._passed else None
        self._passed.append(self._executor.submit(_done_after, before, self._tasks))
        self._tasks = []

    def settle(self) -> None:
        """Wait until everything that came is filed.

        Raises
        ------
        OSError
            If the disk did not take it.
        """
        self.pass_on()
        if self._passed:
            self._passed[-1].result()


def _done_after(before: Future[None] | None, tasks: Sequence[Callable[[], None]]) -> None:
    """Do tasks in order; none after a failure, since a file would lack what failed."""
    if before is not None:
        before.result()
    for task in tasks:
        task()


@contextmanager
def deposit(root: Path, index: Index, study: StudyKey) -> Iterator[Deposit]:
    """Open a deposit for one study; however the block ends, whole parts are kept and the open one is removed.

    Parameters
    ----------
    root, index, study
        As for `Filing`.

    Yields
    ------
    Deposit
        Hand it to a `MultipartParser`.

    Raises
    ------
    OSError
        If the disk failed.
    DatasetError
        If the index cannot be used.
    """
    with ThreadPoolExecutor(max_workers=SYNC_THREADS, thread_name_prefix="s4s-sync") as syncing:
        filing = Filing(root, index, study, syncing)
        try:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="s4s-file") as executor:
                incoming = Deposit(filing, executor)
                try:
                    yield incoming
                finally:
                    incoming.settle()
        finally:
            filing.finish()
