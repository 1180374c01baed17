"""The launch panel: a link for the participant, what has become of it, and a box for a pasted answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import ipywidgets

from s4s_lab.connection import Connection, PendingLaunch, prepare_launch
from s4s_lab.errors import GrantExpired, LaunchNotFinished, S4SError
from s4s_lab.smart import Capture, shown_server
from s4s_lab.values import Registration, Secret
from s4s_lab.widgets import launch_card as card
from s4s_lab.widgets.ticking import Ticker

_LOOK_S = 1.0
_MEANT_S = 20.0
_SHOWN_S = 120.0
_PASTE = "No automatic return? Paste the address that the browser ended on"
_TWO_STEPS = "Open the link, then paste the address that the browser ended on"
_HOW_TO_PASTE = "The last page may fail to load: its address is what counts. Copy it whole, paste it here, press Enter."
_HOW_TO_OPEN = (
    "Does the link not open, as this kernel is on another machine? While no cell runs, go straight to the server:"
)
_STRAIGHT, _LEAD_THERE = "Show the link", "Open the server's consent page"
_TIP = "It is shown for two minutes: a notebook that is saved then would keep it"
_TO_DISCONNECT, _REALLY = "Disconnect", "Really disconnect?"
_LEAVING = "Takes the access back at the server, where it offers that, and forgets it here"
_TAKEN_BACK = "Disconnected: the server has taken the access back, and it is forgotten here."
_FORGOTTEN = "Disconnected here. The server offers no way to take the access back, or did not answer."


# One thread for all panels that are connected: it sees what time, requests and other threads make of the access.
_looking = Ticker(_LOOK_S)


class LaunchPanel:
    """What a notebook shows of one launch.

    Parameters
    ----------
    pending : PendingLaunch
        The launch; all that the panel does is its doing.
    """

    def __init__(self, pending: PendingLaunch) -> None:
        self._pending = pending
        self._closed = False
        self._parting: str = ""
        self._unused: S4SError | str | None = None  # what was wrong with the last paste
        self._really_until = self._straight_until = 0.0
        self._lock = threading.RLock()
        self._head = ipywidgets.HTML()
        self._link = ipywidgets.HTML()
        self._facts = ipywidgets.HTML()
        self._box = ipywidgets.Text(placeholder="http://…?code=…&state=…", continuous_update=False)
        self._box.observe(self._pasted, names="value")
        how_to_open = ipywidgets.HTML(_HOW_TO_OPEN if pending.start_url else "")
        self._show_straight = ipywidgets.Button(description=_STRAIGHT, tooltip=_TIP)
        self._show_straight.button_style = "" if pending.start_url else "primary"
        self._show_straight.on_click(self._asked_for_straight)
        self._straight = ipywidgets.HTML()
        steps = [how_to_open, self._show_straight, self._straight, ipywidgets.HTML(_HOW_TO_PASTE), self._box]
        self._paste = ipywidgets.Accordion(
            [ipywidgets.VBox(steps)], titles=(_PASTE if pending.start_url else _TWO_STEPS,)
        )
        self._paste.selected_index = None if pending.start_url else 0
        self._leave = ipywidgets.Button(description=_TO_DISCONNECT, tooltip=_LEAVING)
        self._leave.on_click(self._asked_to_disconnect)
        style = ipywidgets.HTML(card.STYLE, layout=ipywidgets.Layout(display="none"))
        self._view = ipywidgets.VBox([style, self._head, self._link, self._facts, self._paste, self._leave])
        self._view.add_class("s4s-panel")
        self._show()
        pending.watch(self._moved)

    @property
    def authorize_url(self) -> str:
        """Where the participant's browser is to go."""
        return self._pending.authorize_url

    @property
    def start_url(self) -> str | None:
        """The panel's link, which leads there by way of this process; None where the browser cannot reach it."""
        return self._pending.start_url

    @property
    def status(self) -> card.PanelStatus:
        """How far the launch has come, and then how the access stands.

        One of waiting, connecting, connected, expiring, refresh failed, ended, refused, and closed.
        """
        connection = self._pending.connection
        return connection.state if connection else self._pending.status

    def answer(self, redirected_to: str) -> Connection:
        """Finish the launch with the address that the browser ended on.

        Parameters
        ----------
        redirected_to : str
            The whole address, its query, or bare `code=…&state=…`.

        Raises
        ------
        S4SError
            As `PendingLaunch.answer`.
        """
        error = self._pending.take(redirected_to)
        del redirected_to  # some tracebacks show what their frames hold
        if error:
            raise error
        return self._pending.wait(0)

    def wait(self, timeout_s: float = 300.0) -> Connection:
        """Wait until the participant has answered; may be interrupted, and called again.

        Where the browser cannot come back here, the link is shown meanwhile, and the address is asked for.

        Parameters
        ----------
        timeout_s : float
            How long [s].

        Raises
        ------
        LaunchNotFinished
            If nobody answered in time.
        S4SError
            As `PendingLaunch.wait`.
        """
        ends = time.monotonic() + timeout_s
        if self._pending.start_url is None:
            # A kernel that waits hears nothing of the paste box, nor of the button above it.
            self._show_link_for(timeout_s)
            self._pending.ask(timeout_s, show=self._not_used)
            self._show_link_for(0.0)
        return self._pending.wait(max(0.0, ends - time.monotonic()))

    def disconnect(self) -> bool:
        """Have the access taken back where the server offers that, and forget it here in any case.

        Returns
        -------
        bool
            Whether the server took it back.

        Raises
        ------
        LaunchNotFinished
            If nobody is connected yet.
        """
        connection = self._pending.connection
        if connection is None:
            raise LaunchNotFinished("There is nothing to disconnect: nobody has approved yet.")
        taken_back = connection.disconnect()
        self._parting = self._parting or (_TAKEN_BACK if taken_back else _FORGOTTEN)
        self._show()
        return taken_back

    def close(self) -> None:
        """Stop listening, and take the panel off the page."""
        self._pending.close()
        _looking.remove(self._look)
        with self._lock:
            self._closed = True
        for widget in list(_within(self._view)):
            widget.close()

    def _pasted(self, change: dict[str, Any]) -> None:
        text = change["new"]
        if not text:
            return
        # A notebook saves what its widgets hold: the code must be gone before anything else happens.
        self._box.value = ""
        self._unused = self._pending.take(text)
        self._show()

    def _asked_to_disconnect(self, _button: ipywidgets.Button) -> None:
        # Another approval costs a person's time, so one click does not do it.
        if time.monotonic() >= self._really_until:
            self._really_until = time.monotonic() + _MEANT_S
            self._show()
            return
        self.disconnect()

    def _not_used(self, why: str) -> None:
        self._unused = why
        self._show()

    def _asked_for_straight(self, _button: ipywidgets.Button) -> None:
        self._show_link_for(_SHOWN_S)

    def _show_link_for(self, seconds: float) -> None:
        self._straight_until = time.monotonic() + seconds
        self._show()
        _looking.add(self._look)  # to take it away again

    def _moved(self) -> None:
        self._show()
        if self._pending.connection:
            _looking.add(self._look)

    def _look(self) -> bool:
        """Show how it stands now; say whether that can still change by itself."""
        try:
            self._show()
        except S4SError:  # a grants file that cannot be read just now
            return not self._closed
        if self._pending.connection:
            return not self._closed and self.status != "ended"
        return not self._closed and bool(self._straight.value)

    def _show(self) -> None:
        """Write all texts anew from the launch."""
        with self._lock:
            if not self._closed:
                self._write()

    def _write(self) -> None:
        pending, status = self._pending, self.status
        connection = pending.connection
        waiting = connection is None and pending.status in ("waiting", "connecting")
        now = time.monotonic()
        self._head.value = self._heading(status)
        # An ended launch has nothing to link to, and its address need not stay in the notebook.
        start = card.link(pending.start_url) if pending.start_url else ""
        self._link.value = card.warned(pending.lacks) + start if waiting else ""
        # The server's own address holds the state, and what an EHR said: it is not there to be saved by the way.
        straight = waiting and now < self._straight_until
        self._straight.value = card.link(pending.authorize_url, _LEAD_THERE, second=bool(start)) if straight else ""
        self._facts.value = card.facts(connection) if connection and status != "ended" else ""
        really = now < self._really_until
        self._leave.description = _REALLY if really else _TO_DISCONNECT
        self._leave.button_style = "danger" if really else ""
        for widget, shown in (
            (self._link, bool(self._link.value)),
            (self._facts, bool(self._facts.value)),
            (self._paste, waiting),
            (self._show_straight, not straight),
            (self._straight, straight),
            (self._leave, bool(self._facts.value)),
        ):
            widget.layout.display = "" if shown else "none"

    def _heading(self, status: card.PanelStatus) -> str:
        pending = self._pending
        of_launch = pending.error or self._unused or pending.stray
        said = self._parting or (_words_of(pending.connection) if pending.connection else of_launch)
        return card.heading(status, pending.fhir_url, str(said or ""))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        if self._closed:  # its widgets are gone
            heading = card.alone(self.status, self._pending.fhir_url, str(self._pending.error or self._parting))
            return {"text/plain": repr(self), "text/html": heading}
        self._show()
        bundle: dict[str, Any] = self._view._repr_mimebundle_(**options) or {}
        # The view's own text would show every value, the random port in the link among them.
        return {**bundle, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"LaunchPanel(server={shown_server(self._pending.fhir_url)}, status={self.status})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A launch panel cannot leave this process.")


def _words_of(connection: Connection) -> S4SError | str | None:
    """Return why an access is not as it should be, where that is known."""
    try:
        connection.grants.read()
    except GrantExpired as error:
        return error.args[0]  # type: ignore[no-any-return]  # it is the sentence
    failure = connection.renewal_error
    if failure is None or isinstance(failure, GrantExpired):
        return failure
    return f"{failure} The next request tries again."


def _within(view: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield view
    for child in getattr(view, "children", ()):
        yield from _within(child)


def launch(
    fhir_url: str,
    registration: Registration | None = None,
    *,
    participant_id: str | None = None,
    redirect_uri: str | None = None,
    capture: Capture | None = None,
    grants_file: Path | None = None,
    keyring: bool = False,
    allowed_origins: frozenset[str] = frozenset(),
    launch_token: Secret | str | None = None,
) -> LaunchPanel:
    """Begin a launch, and show it.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL of the participant's server.
    registration : Registration, optional
        The client; when it is left out, one is registered with servers that offer that.
    participant_id : str, optional
        The study's own pseudonym.
    redirect_uri : str, optional
        Where the browser returns to, when a client is registered; a given registration has its own.
    capture : {"loopback", "proxy", "paste"}, optional
        How the redirect is caught; told by the redirect URI and by where the kernel runs when it is left out.
    grants_file : Path, optional
        Where the grant is kept; in memory when it is left out.
    keyring : bool
        Whether to put the grant into the system's keyring, and into `grants_file` only where there.
    allowed_origins : frozenset of str
        Origins that may be talked to, and get the access token, besides the server's own.
    launch_token : Secret or str, optional
        What an EHR that opened the notebook said as `launch`; left out, the launch is a standalone one.

    Returns
    -------
    LaunchPanel
        Display it, then call its `wait`.

    Raises
    ------
    S4SError
        As `connection.prepare_launch`.
    """
    pending = prepare_launch(
        fhir_url,
        registration,
        participant_id=participant_id,
        redirect_uri=redirect_uri,
        capture=capture,
        grants_file=grants_file,
        keyring=keyring,
        allowed_origins=allowed_origins,
        launch_token=launch_token,
    )
    return LaunchPanel(pending)
