"""What a launch gives: one participant at one server, and a client that may read there."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn

from s4s_lab.errors import GrantExpired, OriginRefused, S4SError
from s4s_lab.fhir import Capability
from s4s_lab.net import HttpClient, Patience, Trace
from s4s_lab.smart import (
    LAUNCH_PATIENCE,
    Capture,
    FileGrants,
    Grant,
    GrantOrigin,
    GrantStore,
    LaunchInProgress,
    MemoryGrants,
    SmartAuth,
    SmartConfiguration,
    begin_launch,
    discover,
    lacking,
    listen_for,
    redirect_uri_here,
    refresh_grant,
    register,
    shown_server,
)
from s4s_lab.values import Registration
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of, without_query

_PATIENCE = Patience()


@dataclass(frozen=True, repr=False)
class Connection:
    """One participant's record at one server, for as long as the grant lasts.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL without trailing slash.
    patient_id : str
        FHIR id of the patient whose record was shared.
    scope : str
        What was granted.
    capability : Capability
        What the server declares.
    configuration : SmartConfiguration
        Its authorization endpoints.
    registration : Registration
        The client that the grant is bound to.
    grants : GrantStore
        Where the grant is kept and renewed.
    participant_id : str or None
        The study's own pseudonym.
    allowed_origins : frozenset of str
        Origins that may receive the access token besides the server's own and its associated ones.
    granted_at : datetime or None
        When the participant consented, by our clock; None: before it was opened again, nobody knows how long.
    """

    fhir_url: str
    patient_id: str
    scope: str
    capability: Capability
    configuration: SmartConfiguration
    registration: Registration
    grants: GrantStore
    participant_id: str | None = None
    allowed_origins: frozenset[str] = frozenset()
    granted_at: datetime | None = None

    @property
    def fhir_version(self) -> Literal["stu3", "r4"]:
        """The server's FHIR version; STU3, that of the S4S use case, when it does not say."""
        return self.capability.fhir_version or "stu3"

    @property
    def not_granted(self) -> list[str]:
        """The scopes that were asked for and not granted.

        Raises
        ------
        GrantExpired
            If the grant was dropped.
        """
        return lacking(self.grants.read(), self.registration.scope)

    @property
    def minutes_left(self) -> int:
        """How long the access token is still good [min], rounded up; 0 when there is none any more."""
        try:
            return math.ceil(self.grants.read().seconds_left(utc_now()) / 60)
        except GrantExpired:
            return 0

    def client(self, patience: Patience = _PATIENCE, *, trace: Trace | None = None) -> HttpClient:
        """Return a client that may read this participant's record.

        Parameters
        ----------
        patience : Patience
            How long it waits for a busy server, and whom it tells.
        trace : Trace, optional
            Records every exchange, renewals of the grant included; it never shows this patient's id.

        Returns
        -------
        HttpClient
            It signs requests to the FHIR server, its associated origins and the allowed ones, and to no others.
        """
        origins = {
            origin_of(self.fhir_url),
            *map(origin_of, self.allowed_origins),
            *self.configuration.associated_origins,
        }
        if trace is not None:
            trace.hide(self.patient_id)
        auth = SmartAuth(self.grants, partial(self._renewed, trace=trace))
        return HttpClient(auth=auth, auth_origins=frozenset(origins), patience=patience, trace=trace)

    def kept_at(self, grants_file: Path) -> Connection:
        """Keep the grant in a file from now on, so that `reopen` finds it, and return the connection that uses it.

        A grant that was kept in memory ends there: two places would renew it against each other.

        Parameters
        ----------
        grants_file : Path
            In a folder of mode 0700, made when it is missing; an older grant there is replaced.

        Raises
        ------
        GrantExpired
            If the grant was dropped.
        UsageError
            If the folder is open to others.
        """
        origin = GrantOrigin(
            self.fhir_url,
            self.configuration.token_endpoint,
            self.registration,
            self.participant_id,
            allowed_origins=self.allowed_origins,
        )
        kept = FileGrants.keep(grants_file, origin, self.grants.read())
        if isinstance(self.grants, MemoryGrants):
            self.grants.forget()
        return replace(self, grants=kept)

    def _renewed(self, grant: Grant, trace: Trace | None = None) -> Grant:
        with HttpClient(trace=trace) as client:
            return refresh_grant(client, self.configuration.token_endpoint, self.registration, grant)

    def __repr__(self) -> str:
        return (
            f"Connection(server={shown_server(self.fhir_url)}, patient={self.patient_id}, scopes={self.scope!r}, "
            f"{self.minutes_left} min left)"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("A connection cannot be pickled or copied: pass its grants file and reopen it there.")


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
        return replace(_connection(configuration, origin, grants), granted_at=utc_now())

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


def reopen(grants_file: Path, *, patience: Patience = _PATIENCE) -> Connection:
    """Open a connection again from its grants file, without a person.

    Parameters
    ----------
    grants_file : Path
        As given to `prepare_launch` or `connect`.
    patience : Patience
        How long to wait for a busy server.

    Returns
    -------
    Connection
        Its grant is renewed when it is first used.

    Raises
    ------
    GrantExpired
        If there is no grant in the file.
    UsageError
        If others can read the file.
    OriginRefused
        If the server now names a token endpoint of another origin than the one that gave the grant.
    NotReachable, NotSmart, UnexpectedAnswer, Waiting
        As `smart.discover`.
    """
    grants = FileGrants(grants_file)
    origin = grants.origin
    with HttpClient(patience=patience) as client:
        configuration = discover(client, origin.fhir_url, allowed_origins=origin.allowed_origins)
    named = origin_of(configuration.token_endpoint)
    if named != origin_of(origin.token_endpoint) and named not in origin.allowed_origins:
        raise OriginRefused(
            f"{without_query(origin.fhir_url)} now has its token endpoint at {named}, which did not give this grant.",
            hint="If that is right, connect again and allow the origin.",
        )
    return _connection(configuration, origin, grants)


def _connection(configuration: SmartConfiguration, origin: GrantOrigin, grants: GrantStore) -> Connection:
    grant = grants.read()
    return Connection(
        fhir_url=configuration.fhir_url,
        patient_id=grant.patient_id,
        scope=grant.scope,
        capability=Capability.from_json(dict(configuration.capability_statement)),
        configuration=configuration,
        registration=origin.registration,
        grants=grants,
        participant_id=origin.participant_id,
        allowed_origins=origin.allowed_origins,
    )
