"""Opening a connection again from its grants file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from s4s_lab.connection.connection import Connection, connection_of
from s4s_lab.errors import OriginRefused, UsageError
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart import FileGrants, discover
from s4s_lab.values import Registration
from s4s_lab.values.origins import origin_of, without_query

_PATIENCE = Patience()


def reopen(
    grants_file: Path,
    *,
    registration: Registration | None = None,
    patience: Patience = _PATIENCE,
    to_disconnect: bool = False,
) -> Connection:
    """Open a connection again from its grants file, without a person.

    Parameters
    ----------
    grants_file : Path
        As given to `prepare_launch` or `connect`.
    registration : Registration, optional
        The same client with a new secret or key: it is kept in place of the old one, and nobody has to approve again.
    patience : Patience
        How long to wait for a busy server.
    to_disconnect : bool
        Whether the connection is opened to be ended: then its file is read although others can read it too.

    Returns
    -------
    Connection
        Its grant is renewed when it is first used.

    Raises
    ------
    GrantExpired
        If there is no grant in the file.
    UsageError
        If others can read the file, or `registration` is another client, or has neither secret nor key.
    OriginRefused
        If the server now names a token endpoint of another origin than the one that gave the grant.
    NotReachable, NotSmart, UnexpectedAnswer, Waiting
        As `smart.discover`.
    """
    grants = FileGrants(grants_file, to_end=to_disconnect)
    origin = grants.origin
    client = _renewed(origin.registration, registration) if registration else origin.registration
    with HttpClient(patience=patience) as http:
        configuration = discover(http, origin.fhir_url, allowed_origins=origin.allowed_origins)
    named = origin_of(configuration.token_endpoint)
    if named != origin_of(origin.token_endpoint):
        raise OriginRefused(
            f"{without_query(origin.fhir_url)} now has its token endpoint at {named}, which did not give this grant.",
            hint="Nothing was sent there. If that is right, connect again: the participant has to approve once more.",
        )
    if client != origin.registration:
        grants.reregister(client)
    return connection_of(configuration, replace(origin, registration=client), grants)


def _renewed(kept: Registration, given: Registration) -> Registration:
    """Return the client of a grant with the secret or key of another registration of the same client."""
    if given.client_id != kept.client_id:
        raise UsageError(
            f"The grant is bound to client {kept.client_id!r}, not to {given.client_id!r}.",
            hint="Give a registration of that client; for another one the participant has to approve again.",
        )
    if kept.confidential and not given.confidential:
        raise UsageError(
            f"The registration given for client {kept.client_id!r} has neither secret nor key.",
            hint="Give it with its new secret or key.",
        )
    return replace(kept, client_secret=given.client_secret, private_key=given.private_key)
