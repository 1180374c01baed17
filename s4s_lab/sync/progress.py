"""Progress bars with the countdown of a wait in them; `S4S_PROGRESS=0` turns them off."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from s4s_lab.values.instants import utc_now

if TYPE_CHECKING:
    from s4s_lab.net import Wait
    from s4s_lab.sync.listing import Tally

# A wait that is shorter is over before anybody could have started anew.
_WORTH_KEEPING_S = 5.0


class Progress:
    """One bar: steps taken, and what is waited for.

    Parameters
    ----------
    bar : tqdm
        The bar that is drawn.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._tally: Tally | None = None
        self._keep: Callable[[datetime], None] | None = None
        self._reason = ""
        self.waited_s = 0.0

    def step(self, name: str, *, done: bool = False) -> None:
        """Name what is worked on; `done` moves the bar.

        Parameters
        ----------
        name : str
            What is worked on.
        done : bool
            Whether a step ends with it.
        """
        self._bar.set_description_str(name, refresh=True)
        if done:
            self._bar.update(1)

    def say(self, text: str) -> None:
        """Write a line above the bar, where one is drawn.

        Parameters
        ----------
        text : str
            One sentence.
        """
        if wanted():
            tqdm.write(text, file=sys.stderr)

    def show(self, text: str) -> None:
        """Show a few words beside the bar, in place of those before.

        Parameters
        ----------
        text : str
            What is waited for; empty for nothing.
        """
        self._bar.set_postfix_str(text, refresh=True)

    def waiting(self, wait: Wait) -> None:
        """Show a wait and count it.

        Parameters
        ----------
        wait : Wait
            What the client is about to wait for.
        """
        self.waited_s += wait.seconds
        if self._tally is not None:
            self._tally.waited_s += wait.seconds
        if self._keep is not None and wait.seconds >= _WORTH_KEEPING_S:
            self._keep(utc_now() + timedelta(seconds=wait.seconds))
        self._reason = wait.reason
        self._count_down(wait.seconds)

    def sleep(self, seconds: float) -> None:
        """Pass the time of the wait that was shown last, counting down second by second; can be interrupted.

        Parameters
        ----------
        seconds : float
            How long [s].
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._count_down(left)
            time.sleep(min(left, 1.0))
        self._bar.set_postfix_str("", refresh=True)

    def _count_down(self, left: float) -> None:
        self._bar.set_postfix_str(f"{self._reason}; asking again in {left:.0f} s", refresh=True)

    @contextmanager
    def counting(self, tally: Tally, keep: Callable[[datetime], None]) -> Iterator[None]:
        """Count waits for `tally` inside the block, and move the bar at its end.

        Parameters
        ----------
        tally : Tally
            Whose waits they are.
        keep : callable
            Told, before a wait of some length begins, when it ends: whoever is stopped meanwhile shall know it later.

        Yields
        ------
        None
        """
        self._tally, self._keep = tally, keep
        try:
            yield
        finally:
            self._tally = self._keep = None
            self._bar.set_postfix_str("", refresh=False)
            self._bar.update(1)


def wanted() -> bool:
    """Say whether progress is to be drawn: not when `S4S_PROGRESS=0`, and on the command line only to a terminal."""
    if os.environ.get("S4S_PROGRESS") == "0":
        return False
    return "ipykernel" in sys.modules or sys.stderr.isatty()


@contextmanager
def progress(*, total: int, unit: str) -> Iterator[Progress]:
    """Open a bar over `total` steps.

    Parameters
    ----------
    total : int
        How many steps there are.
    unit : str
        What one step is.

    Yields
    ------
    Progress
    """
    with tqdm(total=total, unit=unit, disable=not wanted(), leave=False) as bar:
        yield Progress(bar)
