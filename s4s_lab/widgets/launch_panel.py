"""The launch panel: a link for the participant, what has become of it, and a box for a pasted answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import ipywidgets

from s4s_lab.connection import Connection, PendingLaunch, prepare_launch
from s4s_lab.errors import LaunchNotFinished, S4SError
from s4s_lab.smart import Capture, shown_server
from s4s_lab.values import Registration, Secret
from s4s_lab.widgets import launch_card as card

_REFRESH_S = 20.0
_PASTE = "No automatic return? Paste the address that the browser ended on"
_HOW_TO_PASTE = "That page may fail to load: its address is what counts. Copy it whole, paste it here, press Enter."
_TO_DISCONNECT, _REALLY = "Disconnect", "Really disconnect?"
_LEAVING = "Takes the access back at the server, where it offers that, and forgets it here"
_TAKEN_BACK = "Disconnected: the server has taken the access back, and it is forgotten here."
_FORGOTTEN = "Disconnected here. The server offers no way to take the access back, or did not answer."


class LaunchPanel:
    """What a notebook shows of one launch.

    Parameters
    ----------
    pending : PendingLaunch
        The launch; all that the panel does is its doing.
    """

    def __init__(self, pending: PendingLaunch) -> None:
        self._pending = pending
        self._closed = threading.Event()
        self._parting: str = ""
        self._head = ipywidgets.HTML()
        self._link = ipywidgets.HTML()
        self._facts = ipywidgets.HTML()
        self._box = ipywidgets.Text(placeholder="http://…?code=…&state=…", continuous_update=False)
        self._box.observe(self._pasted, names="value")
        how = ipywidgets.HTML(_HOW_TO_PASTE)
        self._paste = ipywidgets.Accordion([ipywidgets.VBox([how, self._box])], titles=(_PASTE,))
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

        One of waiting, connecting, connected, expiring, refresh failed, ended, and refused.
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
        return self._pending.answer(redirected_to)

    def wait(self, timeout_s: float = 300.0) -> Connection:
        """Wait until the participant has answered; may be interrupted, and called again.

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
        return self._pending.wait(timeout_s)

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
        self._parting = _TAKEN_BACK if taken_back else _FORGOTTEN
        self._show()
        return taken_back

    def close(self) -> None:
        """Stop listening, and take the panel off the page."""
        self._closed.set()
        self._pending.close()
        for widget in list(_within(self._view)):
            widget.close()

    def _pasted(self, change: dict[str, Any]) -> None:
        text = change["new"]
        if not text:
            return
        # A notebook saves what its widgets hold: the code must be gone before anything else happens.
        self._box.value = ""
        try:
            self._pending.answer(text)
        except S4SError as error:
            self._show(error)

    def _asked_to_disconnect(self, button: ipywidgets.Button) -> None:
        # Another approval costs a person's time, so one click does not do it.
        if button.description == _TO_DISCONNECT:
            button.description, button.button_style = _REALLY, "danger"
            return
        self.disconnect()

    def _moved(self) -> None:
        self._show(self._pending.error)
        if self._pending.connection:
            threading.Thread(target=self._count_down, name="s4s panel", daemon=True).start()

    def _count_down(self) -> None:
        while not self._closed.wait(_REFRESH_S):
            self._show()

    def _show(self, error: S4SError | None = None) -> None:
        """Write all texts anew from the launch."""
        pending, status = self._pending, self.status
        connection = pending.connection
        ended = connection is not None or pending.status == "refused"
        said = error or (connection.renewal_error if connection else None)
        self._head.value = card.heading(status, pending.fhir_url, str(said or self._parting))
        # An ended launch has nothing to link to, and its address need not stay in the notebook.
        url = pending.start_url or pending.authorize_url
        self._link.value = "" if ended else card.warned(pending.lacks) + card.link(url)
        self._facts.value = card.facts(connection) if connection and status != "ended" else ""
        self._leave.description, self._leave.button_style = _TO_DISCONNECT, ""
        for widget, shown in (
            (self._link, not ended),
            (self._facts, bool(self._facts.value)),
            (self._paste, not ended),
            (self._leave, bool(self._facts.value)),
        ):
            widget.layout.display = "" if shown else "none"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self._view._repr_mimebundle_(**options) or {}
        # The view's own text would show every value, the random port in the link among them.
        return {**bundle, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"LaunchPanel(server={shown_server(self._pending.fhir_url)}, status={self.status})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A launch panel cannot leave this process.")


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
