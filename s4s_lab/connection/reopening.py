"""Opening a connection again from its grants file."""

from __future__ import annotations

from pathlib import Path

from s4s_lab.connection.connection import Connection, connection_of
from s4s_lab.errors import OriginRefused
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart import FileGrants, discover
from s4s_lab.values.origins import origin_of, without_query

_PATIENCE = Patience()


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
    return connection_of(configuration, origin, grants)
