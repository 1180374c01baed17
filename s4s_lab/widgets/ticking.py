"""One thread for all that has to be looked at now and then; it ends when nothing is left to look at."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ticker:
    """Calls what was added, every so often, for as long as each of them wants.

    Parameters
    ----------
    every_s : float
        How often [s].
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._ticks: list[Callable[[], bool]] = []
        self._thread: threading.Thread | None = None
        self._early = threading.Event()

    def add(self, tick: Callable[[], bool]) -> None:
        """Call `tick` from now on, until it returns False.

        Parameters
        ----------
        tick : callable
            Says whether it wants to be called again; raises nothing.
        """
        with self._lock:
            self._ticks.append(tick)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="s4s panel", daemon=True)
                self._thread.start()

    def remove(self, tick: Callable[[], bool]) -> None:
        """Call `tick` no more.

        Parameters
        ----------
        tick : callable
            As it was added.
        """
        with self._lock:
            self._ticks = [one for one in self._ticks if one != tick]
            if not self._ticks:
                self._early.set()

    def _run(self) -> None:
        while self._goes_on():
            self._early.wait(self._every_s)
            for tick in list(self._ticks):
                if not tick():
                    self._drop(tick)

    def _drop(self, tick: Callable[[], bool]) -> None:
        with self._lock:
            if tick in self._ticks:
                self._ticks.remove(tick)  # once: it may have been added again meanwhile

    def _goes_on(self) -> bool:
        with self._lock:
            self._early.clear()
            if not self._ticks:
                self._thread = None
            return bool(self._ticks)
