"""How long one try may take, how slow it may be, how much may come before the answer begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpcore2


@dataclass(frozen=True)
class Limits:
    """What one try at one request may take.

    Parameters
    ----------
    connect_s : float
        For one connection to one address, and for its TLS handshake, in [s].
    read_s : float
        For the next bytes to come, in [s].
    attempt_s : float
        In all, renewals of the grant and redirects included, in [s]; for streams, until the body begins.
    stream_s : float
        For the whole body of a stream, in [s].
    slow_s : float
        Time spent reading, in [s], over which a stream's pace is measured.
    slow_bytes_per_s : float
        The least pace of a stream, in [bytes/s].
    head_bytes : int
        What may come before the body begins, informational answers included, in [bytes].
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    attempt_s: float = 120.0
    stream_s: float = 86_400.0
    slow_s: float = 60.0
    slow_bytes_per_s: float = 1024.0
    head_bytes: int = 256 << 10


class Attempt:
    """One try at one request, watched from every read and write of its connection.

    Parameters
    ----------
    limits : Limits
        What it may take.
    clock : callable
        A monotonic clock, in [s].
    number : int
        Which try of its request it is, from 1.
    waited_s : float
        How long was waited before it, in [s]; of the first message it sends.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        number: int = 1,
        waited_s: float = 0.0,
    ) -> None:
        self.clock = clock
        self.number = number
        self.waited_s = waited_s
        self._limits = limits
        self._allowed_s = limits.attempt_s
        self._ends = clock() + limits.attempt_s
        self._started = clock()
        self._head_left: int | None = limits.head_bytes
        self._paced = False
        self._window_bytes = 0
        self._window_s = 0.0

    def elapsed_s(self) -> float:
        """Return the time since it began, in [s]."""
        return self.clock() - self._started

    @property
    def expired(self) -> bool:
        """Whether its time is used up."""
        return self.clock() >= self._ends

    def head_begins(self) -> None:
        """Start to count what comes before a body."""
        self._head_left = self._limits.head_bytes

    def body_begins(self) -> None:
        """Stop counting: what comes now is the body."""
        self._head_left = None

    def stream_begins(self) -> None:
        """Measure pace from now on, in place of the total time."""
        self._paced = True
        self._allowed_s = self._limits.stream_s
        self._ends = self.clock() + self._limits.stream_s

    def left(self, most: float) -> float:
        """Return what is left of the time, `most` at most, in [s].

        Parameters
        ----------
        most : float
            The most that one operation may take, in [s].

        Raises
        ------
        httpcore2.ReadTimeout
            If nothing is left.
        """
        left = self._ends - self.clock()
        if left <= 0:
            raise httpcore2.ReadTimeout(f"it took longer than {self._allowed_s:g} s")
        return min(left, most)

    def at_once(self, most: int) -> int:
        """Return how much may be read in one go, in [bytes]: the body that follows a head is not taken for head.

        Parameters
        ----------
        most : int
            The most that is wanted, in [bytes].
        """
        return most if self._head_left is None else max(1, min(most, self._head_left))

    def received(self, count: int, took: float) -> None:
        """Take note of bytes that came.

        Parameters
        ----------
        count : int
            How many, in [bytes].
        took : float
            The time spent waiting for them, in [s]; the reader's own time does not count.

        Raises
        ------
        httpcore2.RemoteProtocolError
            If too much came before the body.
        httpcore2.ReadTimeout
            If a stream's pace is too slow.
        """
        if self._head_left is not None:
            self._head_left -= count
            if self._head_left < 0:
                raise httpcore2.RemoteProtocolError(f"more than {self._limits.head_bytes} bytes came before the answer")
        if self._paced:
            self._watch_pace(count, took)

    def _watch_pace(self, count: int, took: float) -> None:
        self._window_bytes += count
        self._window_s += took
        if self._window_s < self._limits.slow_s:
            return
        if self._window_bytes < self._limits.slow_bytes_per_s * self._window_s:
            raise httpcore2.ReadTimeout(f"it came slower than {self._limits.slow_bytes_per_s:g} bytes a second")
        self._window_bytes, self._window_s = 0, 0.0

    def timeouts(self) -> dict[str, float | None]:
        """Return the `timeout` extension of a request that belongs to this attempt."""
        read = Allowance.of(self, self._limits.read_s)
        return {"connect": Allowance.of(self, self._limits.connect_s), "read": read, "write": read, "pool": None}


class Allowance(float):
    """A timeout that knows its attempt.

    httpcore2 reads a request's timeouts once and hands them unchanged to every read of its connection; so a plain
    number bounds each read alone, and a server that sends a byte now and then is never done. This number is asked anew
    each time.

    Attributes
    ----------
    attempt : Attempt
        What bounds all operations together.
    """

    attempt: Attempt

    @classmethod
    def of(cls, attempt: Attempt, seconds: float) -> Allowance:
        """Return `seconds` [s] as an allowance of `attempt`."""
        allowance = cls(seconds)
        allowance.attempt = attempt
        return allowance

    def now(self) -> float:
        """Return the time allowed for the operation that begins now, in [s]."""
        return self.attempt.left(float(self))
