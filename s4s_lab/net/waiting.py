"""When to ask again: what servers say in `Retry-After`, and how long to hold back when they say nothing."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import SystemRandom
from typing import Final, Literal

from s4s_lab.errors import Waiting
from s4s_lab.values.instants import parse_http_date

_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_LONGEST_S = 999_999_999.0
LONGEST_WAIT_S: Final = 3600.0
"""No single wait is sat out for longer, whatever the budget: who is asked to come back later still comes back later."""
_spread = SystemRandom().random

Trouble = int | Literal["lost", "slow"]
"""What went wrong with one try: an HTTP status, a lost connection, or a try that ran out of time."""

BUSY: Final = (503, 429, 413)
"""The statuses by which a server asks for time (RFC 9110, section 10.2.3; RFC 6585, section 4)."""


@dataclass(frozen=True)
class Wait:
    """One wait that is about to begin.

    Parameters
    ----------
    seconds : float
        How long, in [s].
    reason : str
        Why, in words.
    url : str
        What was asked for, without query and patient id.
    """

    seconds: float
    reason: str
    url: str


def _unseen(wait: Wait) -> None:
    """Show nothing."""


def _nobody(trouble: Trouble, seconds: float) -> None:
    """Hold up nobody."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a busy server, and how.

    Parameters
    ----------
    budget_s : float
        The most that one client waits, over all its requests and threads, in [s]; waits at the same time count once.
    on_wait : callable
        Told of each wait before it begins; progress displays draw it.
    sleep : callable
        Passes the time; any exception it raises ends the request.
    """

    budget_s: float = 1800.0
    on_wait: Callable[[Wait], None] = _unseen
    sleep: Callable[[float], None] = time.sleep


def retry_after(value: str | None, *, date: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` header; never raises.

    Parameters
    ----------
    value : str or None
        The header's value: seconds or an HTTP date. A decimal number is rounded up.
    date : str or None
        The same answer's `Date` header: a date is measured from the server's own clock.
    now : datetime
        Our clock, aware, for servers that send no `Date`.

    Returns
    -------
    float or None
        Seconds to wait, 0 or more, in [s]; None when there is no header or it cannot be read.

    References
    ----------
    RFC 9110, section 10.2.3. S4S imaging page, "Note on 503 response status and Retry-After hints".
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(math.ceil(float(text)))
    moment = parse_http_date(text) if text else None
    if moment is None:
        return None
    start = parse_http_date(date) if date else None
    return min(max((moment - (start or now)).total_seconds(), 0.0), _LONGEST_S)


@dataclass(frozen=True)
class _Schedule:
    first_s: float
    longest_s: float
    tries: float = math.inf
    only_when_asked: bool = False


_SCHEDULES: dict[Trouble, _Schedule] = {
    503: _Schedule(5, 60),
    429: _Schedule(2, 60),
    413: _Schedule(5, 60, only_when_asked=True),
    500: _Schedule(1, 1, tries=2),  # some record systems answer 500 to what will never work
    502: _Schedule(1, 16, tries=5),
    504: _Schedule(1, 16, tries=5),
    408: _Schedule(1, 16, tries=5),
    "lost": _Schedule(1, 16, tries=5),
    "slow": _Schedule(1, 16, tries=5),
}


def pause_before_repeating(trouble: Trouble, asked: float | None, *, earlier: int, spread: float) -> float | None:
    """Decide how long to wait before a GET is repeated.

    Parameters
    ----------
    trouble : int, "lost" or "slow"
        What went wrong.
    asked : float or None
        What `Retry-After` said, in [s].
    earlier : int
        How many earlier tries of the same request had the same trouble.
    spread : float
        A random number from 0 to 1: many clients of one server shall not come back at the same moment.

    Returns
    -------
    float or None
        Seconds, never less than asked, in [s]; None when the trouble is final.
    """
    schedule = _SCHEDULES.get(trouble)
    if schedule is None or earlier + 1 >= schedule.tries or (schedule.only_when_asked and asked is None):
        return None
    if asked is not None:
        least = max(asked, 1.0)
        return least + spread * min(0.1 * least, 30.0)
    full = min(schedule.first_s * 2.0 ** min(earlier, 10), schedule.longest_s)
    return full * (1.0 + spread) / 2.0


def not_before(seconds: float) -> datetime:
    """Return the moment that lies `seconds` [s] ahead on this machine's clock, aware, UTC.

    Parameters
    ----------
    seconds : float
        How long from now, in [s].
    """
    return datetime.now(UTC) + timedelta(seconds=min(seconds, _LONGEST_S))


def reason_to_wait(trouble: Trouble, asked: float | None) -> str:
    """Say in words why to wait, for a trouble and what `Retry-After` said, in [s].

    Parameters
    ----------
    trouble : int, "lost" or "slow"
        What went wrong.
    asked : float or None
        What `Retry-After` said, in [s].
    """
    if not isinstance(trouble, int):
        return "the connection broke off" if trouble == "lost" else "the answer took too long"
    if asked is not None:
        return f"the server asks to come back in {asked:.0f} s (HTTP {trouble})"
    return f"the server is busy and does not say for how long (HTTP {trouble})"


class Budget:
    """The patience of one client, shared by its requests and threads.

    Parameters
    ----------
    patience : Patience
        What the caller allows.
    clock : callable
        A monotonic clock, in [s].
    """

    def __init__(self, patience: Patience, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._left_s = patience.budget_s
        self._ends: Counter[float] = Counter()
        self._lock = threading.Lock()

    def allows(self, seconds: float) -> bool:
        """Say whether a wait of `seconds` [s] that begins now still fits.

        Parameters
        ----------
        seconds : float
            How long, in [s].
        """
        with self._lock:
            return seconds <= LONGEST_WAIT_S and self._cost(self._clock(), seconds) <= self._left_s

    def wait(self, wait: Wait) -> bool:
        """Sit out a wait, and say whether it fitted; one that does not fit does not begin.

        Parameters
        ----------
        wait : Wait
            How long and why.
        """
        if wait.seconds > LONGEST_WAIT_S:
            return False
        with self._lock:
            now = self._clock()
            cost = self._cost(now, wait.seconds)
            if cost > self._left_s:
                return False
            self._left_s -= cost
            end = now + wait.seconds
            self._ends[end] += 1
        try:
            self._patience.on_wait(wait)
            self._patience.sleep(wait.seconds)
        finally:
            with self._lock:
                self._ends[end] -= 1
                self._ends += Counter()  # drops what is zero
        return True

    def _cost(self, now: float, seconds: float) -> float:
        """Return how much of a wait lies beyond the waits of other threads that go on now, in [s]."""
        return max(0.0, now + seconds - max(now, *self._ends)) if self._ends else seconds


class Waits:
    """The waits of one request: how often each trouble came.

    Parameters
    ----------
    budget : Budget
        What its client may still wait.
    url : str
        What is asked for, fit for a message.
    hold : callable
        Told before each wait what it waits for, and how long in [s]: other requests may have to wait along.
    """

    def __init__(self, budget: Budget, url: str, hold: Callable[[Trouble, float], None] = _nobody) -> None:
        self._budget = budget
        self._url = url
        self._hold = hold
        self._earlier: Counter[Trouble] = Counter()
        self.last_s = 0.0

    @property
    def tries(self) -> int:
        """How many tries went wrong."""
        return self._earlier.total()

    def passed(self, trouble: Trouble, asked: float | None) -> bool:
        """Wait as the trouble asks, and say whether to ask again.

        Parameters
        ----------
        trouble : int, "lost" or "slow"
            What went wrong.
        asked : float or None
            What `Retry-After` said, in [s].

        Returns
        -------
        bool
            False when the trouble is final.

        Raises
        ------
        Waiting
            If the server is busy for longer than the patience lasts.
        """
        seconds = pause_before_repeating(trouble, asked, earlier=self._earlier[trouble], spread=_spread())
        self._earlier[trouble] += 1
        if seconds is None:
            return False
        reason = reason_to_wait(trouble, asked)
        if self._budget.allows(seconds):
            self._hold(trouble, seconds)
            self.last_s = seconds
            if self._budget.wait(Wait(seconds, reason, self._url)):
                return True
        if trouble in BUSY:
            raise Waiting(f"{self._url}: {reason}.", not_before=not_before(seconds))
        return False
