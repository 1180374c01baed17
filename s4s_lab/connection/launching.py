"""Launching: from a server's address to a connection, by way of a participant who consents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from s4s_lab.connection.connection import Connection, connection_of
from s4s_lab.errors import S4SError
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart import (
    LAUNCH_PATIENCE,
    Capture,
    FileGrants,
    Grant,
    GrantOrigin,
    LaunchInProgress,
    MemoryGrants,
    begin_launch,
    discover,
    listen_for,
    redirect_uri_here,
    register,
)
from s4s_lab.values import Registration
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of


class PendingLaunch(LaunchInProgress[Connection]):
    """One launch that waits for the participant, and makes a connection of the answer."""

    @property
    def connection(self) -> Connection | None:
        """What came of it, when it ended well."""
        return self.made


def prepare_launch(
    fhir_url: str,
    registration: Registration | None = None,
    *,
    participant_id: str | None = None,
    redirect_uri: str | None = None,
    capture: Capture | None = None,
    grants_file: Path | None = None,
    allowed_origins: frozenset[str] = frozenset(),
    patience: Patience = LAUNCH_PATIENCE,
) -> PendingLaunch:
    """Begin a standalone launch, and listen for its answer where the redirect URI leads to this machine.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL of the participant's server.
    registration : Registration, optional
        The client; when it is left out, one is registered with servers that offer that.
    participant_id : str, optional
        The study's own pseudonym.
    redirect_uri : str, optional
        Where the browser returns to, when a client is registered; a given registration has its own. Left out, it is
        `S4S_REDIRECT_URI`, an address of a JupyterHub's proxy, or `http://127.0.0.1:8723/callback`.
    capture : {"loopback", "proxy", "paste"}, optional
        How the redirect is caught; told by the redirect URI and by where this runs when it is left out.
    grants_file : Path, optional
        Where the grant is kept, in a folder of mode 0700; in memory when it is left out.
    allowed_origins : frozenset of str
        Origins that may be talked to, and get the access token, besides the server's own.
    patience : Patience
        How long to wait for a busy server while it is found out how to be authorized; a minute by default.

    Returns
    -------
    PendingLaunch
        To be shown to the participant, and closed in the end.

    Raises
    ------
    LaunchNotTried
        If there is no registration to be had, or the redirect URI's port is taken.
    UsageError
        If `grants_file` cannot be kept private.
    S4SError
        As `smart.discover`, with its warnings.
    """
    allowed = frozenset(map(origin_of, allowed_origins))
    if grants_file:
        FileGrants.prepare(grants_file)
    with HttpClient(patience=patience) as client:
        configuration = discover(client, fhir_url, allowed_origins=allowed)
        returns_to = registration.redirect_uri if registration else (redirect_uri or redirect_uri_here(capture))
        listener = listen_for(returns_to, capture)
        try:
            registered = registration or register(client, configuration, redirect_uri=returns_to)
        except S4SError:
            if listener:
                listener.close()
            raise
    endpoint = configuration.token_endpoint
    origin = GrantOrigin(configuration.fhir_url, endpoint, registered, participant_id, allowed_origins=allowed)

    def connect_with(grant: Grant) -> Connection:
        grants = FileGrants.keep(grants_file, origin, grant) if grants_file else MemoryGrants(grant)
        return replace(connection_of(configuration, origin, grants), granted_at=utc_now())

    return PendingLaunch(begin_launch(configuration, registered), connect_with, listener)


def connect(
    fhir_url: str,
    registration: Registration | None = None,
    *,
    show: Callable[[str], None],
    timeout_s: float = 300.0,
    participant_id: str | None = None,
    redirect_uri: str | None = None,
    capture: Capture | None = None,
    grants_file: Path | None = None,
    allowed_origins: frozenset[str] = frozenset(),
) -> Connection:
    """Launch, and wait until the participant has answered; may be interrupted.

    Parameters
    ----------
    fhir_url, registration, participant_id, redirect_uri, capture, grants_file, allowed_origins
        As for `prepare_launch`.
    show : callable
        Receives the authorize URL, for the participant to open.
    timeout_s : float
        How long to wait [s].

    Raises
    ------
    LaunchNotFinished
        If nobody answered in time.
    S4SError
        As `prepare_launch` and `PendingLaunch.wait`.
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
    with closing(pending):
        show(pending.authorize_url)
        return pending.wait(timeout_s)
