"""A launch between its beginning and its end: the answer may come by redirect or by paste, and the first one counts."""

from __future__ import annotations

import threading
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Generic, Literal, TypeVar

from s4s_lab.errors import (
    AuthorizationError,
    LaunchNotFinished,
    LaunchRefused,
    S4SError,
    ScopeNarrowed,
    UsageError,
    Waiting,
)
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart.answers import names_no_launch, read_answer
from s4s_lab.smart.configuration import shown_server
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.launch import Launch
from s4s_lab.smart.listener import RedirectListener
from s4s_lab.smart.refusals import refusal, without_state
from s4s_lab.smart.tokens import narrowed
from s4s_lab.values import Secret

Made = TypeVar("Made")
LaunchStatus = Literal["waiting", "connecting", "connected", "refused", "closed"]
# A person is waiting: a server that needs longer than this to say who it is should be asked another time.
LAUNCH_PATIENCE = Patience(budget_s=60.0)
_STEP_S = 0.2


class LaunchInProgress(Generic[Made]):
    """One launch that waits for the participant.

    The answer comes to the listener, in a thread of its own, or is pasted to `answer`; the first one counts. After ten
    minutes, or when it is closed, no answer counts any more, and the port is free.

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
    stray : LaunchRefused or None
        What arrived last that named no launch: perhaps the participant's refusal, perhaps some page's mischief.
    """

    def __init__(self, launch: Launch, connect: Callable[[Grant], Made], listener: RedirectListener | None) -> None:
        self.authorize_url = launch.authorize_url
        self.start_url = listener.start_url if listener and listener.near else None
        self.fhir_url = launch.configuration.fhir_url
        self._launch = launch
        self._who = f"client id {launch.registration.client_id!r} and redirect URI {launch.registration.redirect_uri}"
        self._connect = connect
        self._listener = listener
        self._lock = threading.Lock()
        self._taken = False
        self._finished = threading.Event()
        self.made: Made | None = None
        self.error: S4SError | None = None
        self.stray: LaunchRefused | None = None
        self._to_warn: str | None = None
        self._watchers: list[Callable[[], None]] = []
        self._expiry = threading.Timer(launch.seconds_left, self._expire)
        self._expiry.name, self._expiry.daemon = "s4s launch", True
        self._expiry.start()
        if listener:
            listener.listen(launch, self.take)

    @property
    def status(self) -> LaunchStatus:
        """How far the launch has come."""
        if self.made is not None:
            return "connected"
        if self.error:
            return "refused" if self._taken else "closed"
        return "connecting" if self._taken else "waiting"

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called, in whatever thread, when an answer is taken and when the launch ends.

        Parameters
        ----------
        watcher : callable
            Takes nothing; called at once when the launch has ended already. What it raises is its own affair.
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
            If it is not to this launch, or an error that names none (the launch then goes on), or if the server or the
            participant said no.
        S4SError
            Whatever else ended the launch.
        """
        error = self.take(redirected_to)
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
            If nobody answered in time (the launch goes on), or the launch was closed, or its ten minutes are over.
        LaunchRefused
            If the server or the participant said no.
        S4SError
            Whatever else ended the launch.
        """
        ends = time.monotonic() + timeout_s
        # In steps: an interrupt that comes as a message, not as a signal, is only seen between two of them.
        while not self._finished.wait(max(0.0, min(_STEP_S, ends - time.monotonic()))):
            if time.monotonic() >= ends:
                raise LaunchNotFinished(self._unanswered(f"within {round(timeout_s, 2):g} s"))
        return self._outcome()

    def close(self) -> None:
        """Stop listening; a launch that nobody has answered ends."""
        self._end("This launch was closed before anybody answered.")

    def supersede(self) -> None:
        """End the launch, unless it was answered, because a newer one takes its place and its port."""
        self._end(
            "A newer launch of the same participant and server has taken the place of this one.",
            hint="Use the newer one's link. Launches with different participant_id may wait side by side.",
        )

    def _expire(self) -> None:
        self._end(self._unanswered("within ten minutes"))

    def _end(self, why: str, hint: str = "Launch again.") -> None:
        with self._lock:
            ending = not (self._taken or self.error)
            if ending:
                self.error = LaunchNotFinished(why, hint=hint)
        self._let_go()
        if ending:
            self._is_over()

    def _let_go(self) -> None:
        self._expiry.cancel()
        if self._listener:
            self._listener.close()

    def _unanswered(self, how_long: str) -> str:
        sentences = [
            f"Nobody has answered the consent page {how_long}.",
            f"If the server shows an error page of its own there, it does not know {self._who}: compare both, to the "
            "letter, with what is registered.",
            self.stray.args[0] if self.stray else "",
        ]
        return " ".join(filter(None, sentences))

    def take(self, redirected_to: str) -> S4SError | None:
        """Use an answer as `answer` does, but return what is to be said of it; None when it made a connection.

        Parameters
        ----------
        redirected_to : str
            As for `answer`.
        """
        given = Secret(redirected_to)
        del redirected_to
        try:
            answer = read_answer(given.reveal())
        except UsageError as error:
            return error
        if names_no_launch(answer):
            return self._told_of(without_state(answer["error"]))
        with self._lock:
            if self.status == "closed":
                return self.error
            if self._taken or not self._launch.owns(answer):
                return refusal("state_mismatch")
            self._taken = True
        try:
            self._tell()
            self._redeem(given)
        finally:
            self._let_go()
            self._is_over()
        return self.error

    def _is_over(self) -> None:
        with self._lock:
            self._finished.set()
        self._tell()

    def _told_of(self, stray: LaunchRefused) -> LaunchRefused:
        if self.status == "waiting":
            self.stray = stray
            self._tell()
        return stray

    def _tell(self) -> None:
        for watcher in list(self._watchers):
            try:
                watcher()
            except Exception:  # noqa: S112  who only looks on cannot stop a launch, and has nobody to tell here
                continue

    def _redeem(self, given: Secret) -> None:
        try:
            with HttpClient(patience=LAUNCH_PATIENCE) as client:
                grant = self._launch.redeem(client, given.reveal())
            self._to_warn = narrowed(grant, self._launch.scope)
            self.made = self._connect(grant)
        except S4SError as error:
            # The frames below held the code; some tracebacks show what their frames hold.
            self.error = error.with_traceback(None)
            if isinstance(error, Waiting):  # a code does not keep that long
                moment = error.not_before + timedelta(seconds=1)
                error.hint = f"Launch again after {moment:%Y-%m-%d %H:%M:%S} UTC: this approval is lost."
        except Exception as error:  # a keyring's back end may raise anything: a launch that never ends helps nobody
            self.error = _unforeseen(error)

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


def _unforeseen(error: Exception) -> AuthorizationError:
    """Say where something was raised; its own words may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return AuthorizationError(
        f"The approval arrived, but could not be used: {type(error).__name__} ({where}) was not foreseen.",
        hint="Launch again, with the grant kept elsewhere if a keyring or a file failed; and report this.",
    )
