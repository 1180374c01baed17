"""The Endpoints that imaging studies refer to: brought along by a pull, looked up again by a fetch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from s4s_lab.errors import S4SError, ServerError, Waiting
from s4s_lab.fhir import Entry, Gone, endpoint_references, read
from s4s_lab.lake import ConnectionRecord, Dataset
from s4s_lab.net import HttpClient
from s4s_lab.sync.compare import compare, received
from s4s_lab.sync.listing import Listing, Source
from s4s_lab.sync.settling import as_version
from s4s_lab.values.instants import utc_now


def endpoint_id(reference: str, fhir_url: str) -> str | None:
    """Return the id of an Endpoint at the server itself; None for contained and foreign ones, and URLs of other things.

    Parameters
    ----------
    reference : str
        Relative, or absolute below the base URL; a version in it is left out.
    fhir_url : str
        The FHIR base URL.
    """
    local = reference.removeprefix(f"{fhir_url}/").split("/_history/", 1)[0]
    kind, _, key = local.partition("/")
    return key if kind == "Endpoint" and key and "/" not in key else None


def keep_endpoints(
    data: Dataset, record: ConnectionRecord, run_id: str, source: Source, listing: Listing, fhir_version: str
) -> None:
    """Append the Endpoints that a listing's studies refer to: those included, and those read one by one.

    Parameters
    ----------
    data, record, run_id
        Where they are kept, and under which run.
    source : Source
        Whom to ask for those that were not included.
    listing : Listing
        The studies. An Endpoint already in the log is asked for again only with a listing that names it anew.
    fhir_version : str
        `stu3` or `r4`.
    """
    included = [entry for entry in listing.included if entry.resource_type == "Endpoint"]
    have = {entry.resource_id for entry in included}
    wanted = dict.fromkeys(_referenced((item.resource for item in listing.brought), source.fhir_url))
    missing = [key for key in wanted if key not in have]
    entries = included + [entry for key in missing if (entry := _read(source, key)) is not None]
    comparison = compare(data.log.current(record, "Endpoint"), map(received, entries), keep_newer=False)
    rows = [as_version(item, "Endpoint", fhir_version) for item in comparison.to_append]
    if rows:
        data.log.commit(record, rows, run_id=run_id, received_at=utc_now())


def _referenced(studies: Iterable[dict[str, Any]], fhir_url: str) -> list[str]:
    references = (reference for study in studies for reference in endpoint_references(study))
    return [key for reference in references if (key := endpoint_id(reference, fhir_url))]


def _read(source: Source, key: str) -> Entry | None:
    source.tally.requests += 1
    try:
        answer = read(source.client, source.fhir_url, f"Endpoint/{key}")
    except ServerError as error:
        source.tally.warn(f"an Endpoint could not be read: {error}")
        return None
    if isinstance(answer, Gone):
        source.tally.warn(f"an Endpoint that studies refer to is not there (HTTP {answer.status})")
        return None
    return answer


class EndpointLookup:
    """Looks Endpoints up by reference for one fetch: at the server, each once; where it gives none, in the log.

    The server comes first because addresses move and expire. A reference to another server is followed only where the
    client may sign: `fhir.read` refuses the others.

    Parameters
    ----------
    data, record
        Whose Endpoints the log holds.
    client, fhir_url
        Whom to ask.

    Attributes
    ----------
    refusals : dict of str to S4SError
        Why a reference gave nothing, by reference.
    """

    def __init__(self, data: Dataset, record: ConnectionRecord, client: HttpClient, fhir_url: str) -> None:
        self._kept = data.log.raw(record, "Endpoint")
        self._client = client
        self._fhir_url = fhir_url
        self._known: dict[str, dict[str, Any] | None] = {}
        self.refusals: dict[str, S4SError] = {}

    def __call__(self, reference: str) -> dict[str, Any] | None:
        """Return the Endpoint of a reference that is not contained, None when there is none to be had."""
        if reference not in self._known:
            self._known[reference] = self._ask(reference)
        return self._known[reference]

    def _ask(self, reference: str) -> dict[str, Any] | None:
        try:
            answer = read(self._client, self._fhir_url, reference)
        except (ServerError, Waiting) as error:
            self.refusals[reference] = error
        else:
            if not isinstance(answer, Gone):
                return answer.resource
        raw = self._kept.get(endpoint_id(reference, self._fhir_url) or "")
        return None if raw is None else json.loads(raw)
