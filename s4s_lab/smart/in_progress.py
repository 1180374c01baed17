"""A launch between its beginning and its end: the answer may come by redirect or by paste, and the first one counts."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from s4s_lab.errors import LaunchNotFinished, S4SError, ScopeNarrowed, UsageError
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart.configuration import shown_server
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.launch import Launch
from s4s_lab.smart.listener import RedirectListener
from s4s_lab.smart.refusals import refusal
from s4s_lab.smart.tokens import narrowed

Made = TypeVar("Made")
LaunchStatus = Literal["waiting", "connecting", "connected", "refused"]
# A person is waiting: a server that needs longer than this to say who it is should be asked another time.
LAUNCH_PATIENCE = Patience(budget_s=60.0)
_STEP_S = 0.2


class LaunchInProgress(Generic[Made]):
    """One launch that waits for the participant.

    The answer comes to the listener, in a thread of its own, or is pasted to `answer`; the first one counts.

    Parameters
    ----------
    launch : Launch
        What was begun.
    connect : callable
        Keeps a grant, and makes of it what the launch is for.
    listener : RedirectListener or None
        None where the browser cannot reach this process.

    Attributes
    ----------
    made, error
        What came of it: one of the two, None until then.
    """

    def __init__(self, launch: Launch, connect: Callable[[Grant], Made], listener: RedirectListener | None) -> None:
        self.authorize_url = launch.authorize_url
        self.start_url = listener.start_url if listener and listener.near else None
        self.fhir_url = launch.configuration.fhir_url
        self._launch = launch
        self._connect = connect
        self._listener = listener
        self._lock = threading.Lock()
        self._taken = False
        self._finished = threading.Event()
        self.made: Made | None = None
        self.error: S4SError | None = None
        self._to_warn: str | None = None
        self._watchers: list[Callable[[], None]] = []
        if listener:
            listener.listen(launch, self._take)

    @property
    def status(self) -> LaunchStatus:
        """How far the launch has come."""
        if self.made is not None:
            return "connected"
        if self.error:
            return "refused"
        return "connecting" if self._taken else "waiting"

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called, in whatever thread, when an answer is taken and when the launch ends.

        Parameters
        ----------
        watcher : callable
            Takes nothing; called at once when the launch has ended already.
        """
        with self._lock:
            if not self._finished.is_set():
                self._watchers.append(watcher)
                return
        watcher()

    def answer(self, redirected_to: str) -> Made:
        """Finish the launch with the address that the browser ended on.

        Parameters
        ----------
        redirected_to : str
            The whole address, its query from `?` on, or bare `code=…&state=…`.

        Raises
        ------
        UsageError
            If there is no answer in it; the launch goes on.
        LaunchRefused
            If it is not to this launch (which then goes on), or if the server or the participant said no.
        S4SError
            Whatever else ended the launch.
        """
        error = self._take(redirected_to)
        del redirected_to  # some tracebacks show what their frames hold
        if error:
            raise error
        return self._outcome()

    def wait(self, timeout_s: float) -> Made:
        """Wait until the participant has answered; may be interrupted, and called again.

        Parameters
        ----------
        timeout_s : float
            How long [s].

        Raises
        ------
        LaunchNotFinished
            If nobody answered in time; the launch goes on.
        LaunchRefused
            If the server or the participant said no.
        S4SError
            Whatever else ended the launch.
        """
        ends = time.monotonic() + timeout_s
        # In steps: an interrupt that comes as a message, not as a signal, is only seen between two of them.
        while not self._finished.wait(max(0.0, min(_STEP_S, ends - time.monotonic()))):
            if time.monotonic() >= ends:
                raise LaunchNotFinished(f"Nobody has answered the consent page within {timeout_s:g} s.")
        return self._outcome()

    def close(self) -> None:
        """Stop listening; an answer can still be pasted."""
        if self._listener:
            self._listener.close()

    def _take(self, redirected_to: str) -> S4SError | None:
        """Use an answer; return what is to be said of it, None when it made a connection."""
        try:
            ours = self._launch.owns(redirected_to)
        except UsageError as error:
            return error
        with self._lock:
            if self._taken or not ours:
                return refusal("state_mismatch")
            self._taken = True
        try:
            self._tell()
            self._redeem(redirected_to)
        finally:
            with self._lock:
                self._finished.set()
            self._tell()
            self.close()
        return self.error

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _redeem(self, redirected_to: str) -> None:
        try:
            with HttpClient(patience=LAUNCH_PATIENCE) as client:
                grant = self._launch.redeem(client, redirected_to)
            self._to_warn = narrowed(grant, self._launch.scope)
            self.made = self._connect(grant)
        except S4SError as error:
            # The frames below held the code; some tracebacks show what their frames hold.
            self.error = error.with_traceback(None)

    def _outcome(self) -> Made:
        if self.error:
            raise self.error.with_traceback(None)
        said, self._to_warn = self._to_warn, None
        if said:
            warnings.warn(ScopeNarrowed(said), stacklevel=3)
        if self.made is None:
            raise LaunchNotFinished("The exchange of the answer was interrupted.", hint="Launch again.")
        return self.made

    def __repr__(self) -> str:
        return f"{type(self).__name__}(server={shown_server(self.fhir_url)}, status={self.status})"
