"""The launch panel: a link for the participant, what has become of it, and a box for a pasted answer."""

from __future__ import annotations

import threading
from html import escape
from pathlib import Path
from typing import Any, NoReturn

import ipywidgets

from s4s_lab.connection import Connection, PendingLaunch, prepare_launch
from s4s_lab.errors import GrantExpired, S4SError
from s4s_lab.smart import Capture, LaunchStatus, shown_server
from s4s_lab.values import Registration
from s4s_lab.values.origins import without_query

_REFRESH_S = 20.0
_LINK = (
    '<a href="{url}" target="_blank" rel="noopener noreferrer" class="jupyter-button widget-button mod-primary" '
    'style="text-decoration:none; width:auto; padding:0 1.2em;">Connect to {server}</a>'
)
_HOW_TO_PASTE = "After the consent page, copy the address that the browser ended on, and paste it here"
_STATUS_TEXT: dict[LaunchStatus, str] = {
    "waiting": "Waiting for the participant to approve in the browser.",
    "connecting": "Approved; fetching the access token.",
    "connected": "Connected.",
    "refused": "Not connected.",
}


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
        self._link = ipywidgets.HTML()
        self._status = ipywidgets.HTML()
        self._facts = ipywidgets.HTML()
        self._box = ipywidgets.Text(
            placeholder="http://…?code=…&state=…", continuous_update=False, layout=ipywidgets.Layout(width="38em")
        )
        self._paste = ipywidgets.Accordion([self._box], titles=("No automatic return? Paste the address",))
        self._paste.selected_index = None if pending.start_url else 0
        self._box.tooltip = _HOW_TO_PASTE
        self._box.observe(self._pasted, names="value")
        self._view = ipywidgets.VBox([self._link, self._status, self._facts, self._paste])
        self._show()
        pending.watch(self._ended)

    @property
    def authorize_url(self) -> str:
        """Where the participant's browser is to go."""
        return self._pending.authorize_url

    @property
    def start_url(self) -> str | None:
        """The panel's link, which leads there by way of this process; None where the browser cannot reach it."""
        return self._pending.start_url

    @property
    def status(self) -> LaunchStatus:
        """How far the launch has come: waiting, connecting, connected or refused."""
        return self._pending.status

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

    def close(self) -> None:
        """Stop listening, and take the panel off the page."""
        self._closed.set()
        self._pending.close()
        for widget in (*self._view.children, self._box, self._view):
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

    def _ended(self) -> None:
        self._show(self._pending.error)
        if self._pending.connection:
            threading.Thread(target=self._count_down, name="s4s panel", daemon=True).start()

    def _count_down(self) -> None:
        while not self._closed.wait(_REFRESH_S):
            self._show()

    def _show(self, error: S4SError | None = None) -> None:
        """Write all texts anew from the launch."""
        pending = self._pending
        ended = pending.status in ("connected", "refused")
        url = pending.start_url or pending.authorize_url
        # An ended launch has nothing to link to, and its address need not stay in the notebook.
        server = escape(without_query(pending.fhir_url))
        self._link.value = "" if ended else _LINK.format(url=escape(url), server=server)
        said = f"{_STATUS_TEXT[pending.status]} {error}" if error else _STATUS_TEXT[pending.status]
        self._status.value = escape(said)
        self._facts.value = _facts(pending.connection) if pending.connection else ""
        self._paste.layout.display = "none" if ended else ""

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self._view._repr_mimebundle_(**options) or {}
        # The view's own text would show every value, the random port in the link among them.
        return {**bundle, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"LaunchPanel(server={shown_server(self._pending.fhir_url)}, status={self.status})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A launch panel cannot leave this process.")


def _facts(connection: Connection) -> str:
    try:
        not_granted = connection.not_granted
    except GrantExpired as error:
        return escape(str(error))
    then = "then it ends" if "offline_access" in not_granted else "then renewed"
    rows = {
        "server": escape(without_query(connection.fhir_url)),
        "patient": escape(connection.patient_id),
        "granted": ", ".join(f"<code>{escape(scope)}</code>" for scope in connection.scope.split()),
        "not granted": ", ".join(f"<s><code>{escape(scope)}</code></s>" for scope in not_granted),
        "access": f"{connection.minutes_left} min left, {then}",
    }
    cells = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows.items() if value)
    return f'<table class="rendered_html">{cells}</table>'


def launch(
    fhir_url: str,
    registration: Registration | None = None,
    *,
    participant_id: str | None = None,
    redirect_uri: str | None = None,
    capture: Capture | None = None,
    grants_file: Path | None = None,
    allowed_origins: frozenset[str] = frozenset(),
) -> LaunchPanel:
    """Begin a standalone launch, and show it.

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
    allowed_origins : frozenset of str
        Origins that may be talked to, and get the access token, besides the server's own.

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
        allowed_origins=allowed_origins,
    )
    return LaunchPanel(pending)
