"""One participant at one server, and a client that may read there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn

from s4s_lab.errors import GrantExpired, LaunchRefused, PatientMismatch, S4SError, UsageError
from s4s_lab.fhir import Capability
from s4s_lab.net import HttpClient, Limits, Patience, Trace
from s4s_lab.smart import (
    FileGrants,
    Grant,
    GrantOrigin,
    GrantStore,
    Introspection,
    MemoryGrants,
    SmartAuth,
    SmartConfiguration,
    introspect,
    lacking,
    not_declared,
    refresh_grant,
    revoke,
    shown_server,
)
from s4s_lab.values import Registration
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of

ConnectionState = Literal["connected", "expiring", "refresh failed", "ended"]
_PATIENCE = Patience()
# Two of either, each with half a minute of waits, have to fit into the time that others wait for the lock.
_RENEWAL, _REVOCATION = Limits(attempt_s=30.0), Limits(attempt_s=15.0)


@dataclass(frozen=True, repr=False)
class Connection:
    """One participant's record at one server, for as long as the grant lasts.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL without trailing slash.
    patient_id : str
        FHIR id of the patient whose record was shared.
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
    def scope(self) -> str:
        """What is granted now, which a renewal may have narrowed; empty when there is no grant any more."""
        grant = self._usable()
        return grant.scope if grant else ""

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
    def lacks(self) -> tuple[str, ...]:
        """What S4S needs and the server does not declare, in words; empty for one that declares nothing of itself."""
        return lacks_of(self.configuration, self.registration, self.capability)

    def base_of(self, resource_type: str) -> str | None:
        """Return the FHIR base URL at which a type is asked for; None where the server does not offer it.

        Parameters
        ----------
        resource_type : str
            Such as `ImagingStudy`: a server without it may name another one, of its imaging department, that takes the
            same access token.

        References
        ----------
        SMART App Launch 2.2, "associated_endpoints". SMART Imaging Access, capability `smart-imaging-access`.
        """
        if self.capability.offers(resource_type):
            return self.fhir_url
        return next(iter(self.configuration.imaging_endpoints), None) if resource_type == "ImagingStudy" else None

    def signs(self, wado_base: str, demanded: bool | None) -> bool:
        """Say whether an archive gets the access token with what it is asked.

        At the FHIR server's own origin it always does. Elsewhere it takes two: the server's configuration names the
        origin, and the Endpoint demands the token. The user's own word needs no demand; an Endpoint that says no is
        believed.

        Parameters
        ----------
        wado_base : str
            The archive's address.
        demanded : bool or None
            What its Endpoint says (`requires-access-token`); None where it says nothing.

        References
        ----------
        SMART Imaging Access, "Endpoint": `requires-access-token`. S4S imaging page, where it is not known.
        """
        origin = origin_of(wado_base)
        if origin == origin_of(self.fhir_url):
            return True
        if origin in map(origin_of, self.allowed_origins):
            return demanded is not False
        return demanded is True and origin in self.configuration.associated_origins

    @property
    def fhir_user(self) -> str | None:
        """Who signed in, as the address of a FHIR resource; None where `openid fhirUser` was not granted.

        Raises
        ------
        GrantExpired
            If the grant was dropped.
        """
        return self.grants.read().fhir_user

    @property
    def minutes_left(self) -> int:
        """How long the access token is still good [min], rounded up; 0 when there is none, or it is refused."""
        grant = self._usable()
        return math.ceil(grant.seconds_left(utc_now()) / 60) if grant and self.state != "ended" else 0

    @property
    def refreshable(self) -> bool:
        """Whether the access can be renewed when it ends, without the participant."""
        grant = self._usable()
        return grant is not None and grant.refresh_token is not None

    @property
    def renewal_error(self) -> S4SError | None:
        """Why the last renewal that this process tried has failed; None when it did not."""
        return self.grants.failure

    @property
    def state(self) -> ConnectionState:
        """How the access stands by what is known here; no server is asked.

        `refresh failed`: the token at hand goes on being used, for `minutes_left`; `renewal_error` says why.
        """
        grant = self._usable()
        if grant is None:
            return "ended"
        failure, now = self.grants.failure, utc_now()
        good = grant.seconds_left(now) > 0 and not self.grants.refused
        # Of another patient the server has spoken already: the journal lets nobody ask again.
        over = isinstance(failure, PatientMismatch) or (isinstance(failure, GrantExpired) and not good)
        if over or (grant.refresh_token is None and not grant.seconds_left(now)):
            return "ended"
        if failure is not None:
            return "refresh failed"
        return "expiring" if grant.ends_soon(now) else "connected"

    def _usable(self) -> Grant | None:
        """Return the grant; None when there is none, or others can read it, so that it is not used."""
        try:
            return self.grants.read()
        except (GrantExpired, UsageError):
            return None

    def introspect(self) -> Introspection:
        """Ask the server what the access token is good for.

        Raises
        ------
        NotSmart
            If the server offers no introspection.
        GrantExpired
            If the grant was dropped.
        S4SError
            As `smart.introspect`.
        """
        token = self.grants.read().access_token
        with HttpClient() as client:
            return introspect(
                client, self.configuration, self.registration, token, allowed_origins=self.allowed_origins
            )

    def disconnect(self) -> bool:
        """Have the grant revoked where the server offers that, and forget it here in any case.

        Returns
        -------
        bool
            Whether the server took the grant back; else it ends there by itself, or by the participant's word.
        """
        try:
            return self.grants.end(self._revoked)
        except GrantExpired:
            return False

    def _revoked(self, grant: Grant) -> bool:
        try:
            with HttpClient(limits=_REVOCATION) as client:
                tell = partial(
                    revoke, client, self.configuration, self.registration, allowed_origins=self.allowed_origins
                )
                if grant.refresh_token is None:
                    tell(grant.access_token, kind="access_token")
                else:
                    tell(grant.refresh_token, kind="refresh_token")
                    _too(partial(tell, grant.access_token, kind="access_token"))
        except S4SError:
            return False
        return True

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
        auth = SmartAuth(self.grants, partial(self._renewed, trace=trace), home=origin_of(self.fhir_url))
        return HttpClient(auth=auth, auth_origins=frozenset(origins), patience=patience, trace=trace)

    def kept_at(self, grants_file: Path, *, keyring: bool = False) -> Connection:
        """Keep the grant in a file from now on, so that `reopen` finds it, and return the connection that uses it.

        A grant that was kept in memory ends there: two places would renew it against each other.

        Parameters
        ----------
        grants_file : Path
            In a folder of mode 0700, made when it is missing; an older grant there is replaced.
        keyring : bool
            Whether to put the grant into the system's keyring, and into the file only where there.

        Raises
        ------
        GrantExpired
            If the grant was dropped.
        UsageError
            If the folder is open to others, or there is no keyring.
        """
        origin = GrantOrigin(
            self.fhir_url,
            self.configuration.token_endpoint,
            self.registration,
            self.participant_id,
            allowed_origins=self.allowed_origins,
        )
        keep = partial(FileGrants.keep, grants_file, origin, keyring=keyring)
        # Under the lock of the grant in memory: a renewal in between would be lost.
        memory = self.grants if isinstance(self.grants, MemoryGrants) else None
        return replace(self, grants=memory.move(keep) if memory else keep(self.grants.read()))

    def _renewed(self, grant: Grant, trace: Trace | None = None) -> Grant:
        with HttpClient(trace=trace, limits=_RENEWAL) as client:
            return refresh_grant(client, self.configuration.token_endpoint, self.registration, grant)

    def __repr__(self) -> str:
        return (
            f"Connection(server={shown_server(self.fhir_url)}, patient={self.patient_id}, scopes={self.scope!r}, "
            f"{self.minutes_left} min left)"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A connection cannot be pickled or copied: keep it in a file (link.kept_at(path)), pass the path, and open "
            "it there: s4s_lab.connection.reopen(path)."
        )


def _too(tell: Callable[[], None]) -> None:
    """Tell a server of the access token too; one that cannot end those ends it with its refresh token, or soon.

    References
    ----------
    RFC 7009, sections 2.1 and 2.2.1.
    """
    try:
        tell()
    except LaunchRefused as error:
        if error.error != "unsupported_token_type":
            raise


def lacks_of(
    configuration: SmartConfiguration, registration: Registration, capability: Capability, *, from_ehr: bool = False
) -> tuple[str, ...]:
    """List what S4S needs and a server does not declare, in words.

    Parameters
    ----------
    configuration : SmartConfiguration
        Of the server.
    registration : Registration
        The client, and what it asks for.
    capability : Capability
        Of the server.
    from_ehr : bool
        Whether the launch begins in the EHR.
    """
    elsewhere = "ImagingStudy" if configuration.imaging_endpoints and not capability.offers("ImagingStudy") else None
    of_s4s = [lack for lack in capability.lacks if lack != elsewhere]
    return (*not_declared(configuration, registration, from_ehr=from_ehr), *of_s4s)


def connection_of(configuration: SmartConfiguration, origin: GrantOrigin, grants: GrantStore) -> Connection:
    """Return the connection that a kept grant is for.

    Parameters
    ----------
    configuration : SmartConfiguration
        Of the server.
    origin : GrantOrigin
        Where the grant comes from.
    grants : GrantStore
        Where it is kept.
    """
    grant = grants.read()
    return Connection(
        fhir_url=configuration.fhir_url,
        patient_id=grant.patient_id,
        capability=Capability.from_json(dict(configuration.capability_statement)),
        configuration=configuration,
        registration=origin.registration,
        grants=grants,
        participant_id=origin.participant_id,
        allowed_origins=origin.allowed_origins,
    )
