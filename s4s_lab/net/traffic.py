"""How many requests of one client may be on their way to one origin, and when an origin is left alone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from s4s_lab.errors import UsageError, Waiting
from s4s_lab.net.redaction import shown
from s4s_lab.net.showable import kind_of
from s4s_lab.net.waiting import BUSY, Trouble, not_before
from s4s_lab.values.origins import origin_of

REQUESTS_AT_ONCE = 4
STREAMS_AT_ONCE = 2
FAILURES_IN_A_ROW = 5
LEFT_ALONE_S = 60.0
_FAILURES: frozenset[Trouble] = frozenset({500, 502, 504, 408, "lost", "slow"})
_LOOK_S = 1.0

_Lane = tuple[str, str | None]
"""An origin and what is asked of it, such as a resource type; None for all of the origin."""


class Traffic:
    """What a client has on its way, origin by origin; safe to share between threads.

    Parameters
    ----------
    clock : callable
        A monotonic clock, in [s].
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._going: dict[str, set[Passage]] = {}
        self._holds: dict[Passage, tuple[_Lane, datetime]] = {}
        self._failures: Counter[_Lane] = Counter()
        self._open_until: dict[_Lane, float] = {}

    @contextmanager
    def passage(self, url: str, *, stream: bool = False) -> Iterator[Passage]:
        """Give one request its passage: all its tries go through it.

        Parameters
        ----------
        url : str
            What is asked for.
        stream : bool
            Whether it is one of the large answers, of which fewer go at once.

        Yields
        ------
        Passage
            Whatever it holds up goes on when the block ends.
        """
        passage = Passage(self, url, stream=stream)
        try:
            yield passage
        finally:
            with self._changed:
                self._holds.pop(passage, None)
                self._changed.notify_all()

    @contextmanager
    def going(self, passage: Passage) -> Iterator[None]:
        """Wait until one try may go, and count it as on its way inside the block.

        Parameters
        ----------
        passage : Passage
            Whose try.

        Yields
        ------
        None

        Raises
        ------
        Waiting
            If the origin is left alone for a while, since it failed too often.
        UsageError
            If only this thread could make room, by ending a stream that it has open.
        """
        going = self._going.setdefault(passage.origin, set())
        try:
            with self._changed:
                while not self._may_go(passage, going):
                    self._changed.wait(_LOOK_S)
                going.add(passage)
            yield
        finally:
            with self._changed:
                going.discard(passage)
                self._changed.notify_all()

    def _may_go(self, passage: Passage, going: set[Passage]) -> bool:
        self._refuse_if_open(passage)
        if self._is_held_up(passage):
            return False
        streams = [other for other in going if other.stream]
        if passage.stream and len(streams) >= STREAMS_AT_ONCE:
            if all(other.thread == passage.thread for other in streams):
                raise UsageError(f"{len(streams)} streams of {passage.origin} are open.", hint="End one of them first.")
            return False
        return len(going) < REQUESTS_AT_ONCE

    def _is_held_up(self, passage: Passage) -> bool:
        if passage in self._holds:
            return False
        untils = [until for lane, until in self._holds.values() if lane in passage.lanes]
        if untils and passage.stream:
            raise Waiting(f"{passage.origin} asks for time.", not_before=max(untils))
        return bool(untils)

    def _refuse_if_open(self, passage: Passage) -> None:
        for lane in passage.lanes:
            left = self._open_until.get(lane, 0.0) - self._clock()
            if left > 0:
                raise Waiting(
                    f"{passage.shown} is not asked now: {FAILURES_IN_A_ROW} requests in a row failed there, so it is "
                    f"left alone for {LEFT_ALONE_S:.0f} s.",
                    not_before=not_before(left),
                )

    def hold(self, passage: Passage, trouble: Trouble, seconds: float) -> None:
        """Hold up others while one request sits out what a busy server asked for.

        429 speaks of the client, so it holds up all of the origin. 503 and 413 speak of what was asked for: an archive
        that prepares its images says nothing of claims, so only requests of the same kind are held up.

        Parameters
        ----------
        passage : Passage
            The request that waits; it is not held up itself.
        trouble : int, "lost" or "slow"
            What it waits for.
        seconds : float
            How long, in [s].
        """
        if trouble not in BUSY:
            return
        lane: _Lane = (passage.origin, None if trouble == 429 else passage.kind)
        with self._changed:
            self._holds[passage] = (lane, not_before(seconds))

    def ended(self, passage: Passage, trouble: Trouble) -> None:
        """Take note of how a request ended, after its last try.

        Lost connections speak of the origin; statuses speak of what was asked for.

        Parameters
        ----------
        passage : Passage
            The request.
        trouble : int, "lost" or "slow"
            Its last status, or what went wrong.
        """
        with self._changed:
            if trouble not in _FAILURES:
                if trouble not in BUSY:
                    for lane in passage.lanes:
                        self._failures.pop(lane, None)
                return
            lane = (passage.origin, passage.kind if isinstance(trouble, int) else None)
            self._failures[lane] += 1
            if self._failures[lane] >= FAILURES_IN_A_ROW:
                self._open_until[lane] = self._clock() + LEFT_ALONE_S
                # The next one that fails, after that time, shuts it again at once.
                self._failures[lane] = FAILURES_IN_A_ROW - 1


class Passage:
    """One request on its way through the traffic of its client.

    Parameters
    ----------
    traffic : Traffic
        Of its client.
    url : str
        What is asked for.
    stream : bool
        Whether it is a stream.
    """

    def __init__(self, traffic: Traffic, url: str, *, stream: bool) -> None:
        self._traffic = traffic
        self.stream = stream
        self.thread = threading.get_ident()
        self.shown = shown(url)
        self.origin = origin_of(url)
        self.kind = kind_of(url)
        self.lanes: tuple[_Lane, _Lane] = ((self.origin, None), (self.origin, self.kind))
