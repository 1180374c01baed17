"""What one retrieval of a fetch is doing, as its thread tells it, and how it is told to end."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from s4s_lab.errors import DatasetBusy

# Silence of this length is worth a word [s].
_SILENT_S: Final = 3.0
# Who waits for another process is told so several times a second.
_HELD_S: Final = 1.0


class Stopped(Exception):
    """The fetch ends, and with it every retrieval of it."""


@dataclass
class Watch:
    """Is told of every piece that comes, and while another process has the study (`on_bytes` of `retrieve_study`).

    Parameters
    ----------
    study_uid : str
        Bare.
    archive : str
        The origin that is asked.
    stopped : threading.Event
        Set when the whole fetch ends.
    max_wait_s : float
        How long to wait for another process that has the study [s].
    silence_s : float
        After how much silence the client gives a connection up [s].
    """

    study_uid: str
    archive: str
    stopped: threading.Event
    max_wait_s: float
    silence_s: float
    _heard_at: float = field(default_factory=time.monotonic)
    _held_at: float = -math.inf
    _held_since: float | None = None

    def __call__(self, count: int) -> None:
        """Take the size of a piece [bytes]; 0 when another process has the study.

        Parameters
        ----------
        count : int
            How many bytes came.

        Raises
        ------
        Stopped
            If the fetch ends.
        DatasetBusy
            If the other process takes longer than this fetch waits.
        """
        if self.stopped.is_set():
            raise Stopped
        now = time.monotonic()
        if count:
            self._heard_at, self._held_since = now, None
            return
        self._held_since = now if self._held_since is None else self._held_since
        self._held_at = now
        if now - self._held_since > self.max_wait_s:
            raise DatasetBusy("Another process is retrieving this study.", hint="Fetch again later.")

    def __str__(self) -> str:
        now = time.monotonic()
        if self._held_since is not None and now - self._held_at < _HELD_S:
            left_s = self.max_wait_s - (now - self._held_since)
            return f"another process retrieves {self.study_uid}; waiting for {max(left_s, 0):.0f} s more"
        silent_s = now - max(self._heard_at, self._held_at)
        if silent_s < _SILENT_S:
            return ""
        left_s = self.silence_s - silent_s
        return f"nothing has come from {self.archive} for {silent_s:.0f} s; given up in {max(left_s, 0):.0f} s"
