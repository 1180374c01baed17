"""Locks between processes and threads: advisory, on files, freed by the kernel when their holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from s4s_lab.errors import DatasetBusy, DatasetError
from s4s_lab.lake import durable

_POLL_S = 0.02
# A `forget` that is not finished: nobody writes until it is.
JOURNAL = "forgetting.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Locks:
    """The locks of one dataset, each a file of its own.

    Parameters
    ----------
    folder : Path
        Where the lock files lie.
    """

    folder: Path

    @contextmanager
    def writing(self, *, timeout_s: float = 60.0) -> Iterator[None]:
        """Hold the dataset's lock as one of any number of writers.

        Parameters
        ----------
        timeout_s : float
            How long to wait for maintenance to end [s].

        Raises
        ------
        DatasetBusy
            If maintenance goes on for longer, or was interrupted.
        """
        with self._held("dataset", fcntl.LOCK_SH, timeout_s, "The dataset is under maintenance by another process."):
            if (self.folder.parent / JOURNAL).exists():
                problem = "A participant was being forgotten when a process was killed."
                raise DatasetBusy(problem, hint="Open the dataset again: that finishes it.")
            yield

    @contextmanager
    def maintaining(self, *, timeout_s: float = 60.0) -> Iterator[None]:
        """Hold the dataset's lock alone: nobody writes meanwhile.

        Parameters
        ----------
        timeout_s : float
            How long to wait for the writers to end [s].

        Raises
        ------
        DatasetBusy
            If somebody writes for longer.
        """
        with self._held("dataset", fcntl.LOCK_EX, timeout_s, "Another process is writing to the dataset."):
            yield

    @contextmanager
    def alone(self, name: str, *, timeout_s: float = 0.0, busy: str) -> Iterator[None]:
        """Hold a named lock alone.

        Parameters
        ----------
        name : str
            Which lock.
        timeout_s : float
            How long to wait for its holder [s].
        busy : str
            What to say when it cannot be had, as a sentence.

        Raises
        ------
        DatasetBusy
            If somebody else holds it for longer.
        """
        with self._held(name, fcntl.LOCK_EX, timeout_s, busy):
            yield

    @contextmanager
    def together(self, name: str, *, timeout_s: float = 0.0, busy: str) -> Iterator[None]:
        """Hold a named lock as one of any number of holders.

        Parameters
        ----------
        name : str
            Which lock.
        timeout_s : float
            How long to wait for whoever holds it alone [s].
        busy : str
            What to say when it cannot be had, as a sentence.

        Raises
        ------
        DatasetBusy
            If somebody holds it alone for longer.
        """
        with self._held(name, fcntl.LOCK_SH, timeout_s, busy):
            yield

    def probe(self) -> None:
        """Check that locks work here: of two openings of a file only one may hold it.

        Raises
        ------
        DatasetError
            If both can, or the file system has no locks.
        """
        hint = "Put the dataset on a local disk, or on a shared file system with working locks."
        name = f"probe-{os.getpid()}-{time.monotonic_ns()}"
        try:
            with self._held(name, fcntl.LOCK_EX, 0.0, "The lock is taken."):
                second = self._open(name)
                try:
                    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                finally:
                    os.close(second)
                raise DatasetError(f"File locks do not work in {self.folder}: one was given out twice.", hint=hint)
        except OSError as error:
            if error.errno in _FULL:
                text = f"{self.folder} could not be written: {error.strerror}."
                raise DatasetError(text, hint=durable.HINT) from None
            raise DatasetError(f"File locks do not work in {self.folder}: {error.strerror}.", hint=hint) from error
        finally:
            # One that stays is removed with other temporary files.
            with suppress(OSError):
                (self.folder / f"{name}.lock").unlink(missing_ok=True)

    def _open(self, name: str) -> int:
        return os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextmanager
    def _held(self, name: str, kind: int, timeout_s: float, busy: str) -> Iterator[None]:
        try:
            descriptor = self._open(name)
        except OSError as error:
            hint = None if error.errno in _REFUSED else durable.HINT
            text = f"The dataset {self.folder.parent} cannot be written to: {error.strerror}."
            raise DatasetError(text, hint=hint) from None
        try:
            _acquire(descriptor, kind, timeout_s, busy)
            yield
        finally:
            os.close(descriptor)


def _acquire(descriptor: int, kind: int, timeout_s: float, busy: str) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DatasetBusy(busy) from None
            time.sleep(_POLL_S)
        else:
            return
