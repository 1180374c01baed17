"""The Endpoints that imaging studies refer to: brought along by a pull, looked up again by a fetch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from s4s_lab.errors import NotReachable, S4SError, ServerError, UnexpectedAnswer, Waiting
from s4s_lab.fhir import Entry, Gone, read
from s4s_lab.fhir.decoding import decode_checked
from s4s_lab.lake import ConnectionRecord, Dataset
from s4s_lab.net import HttpClient
from s4s_lab.sync.compare import compare
from s4s_lab.sync.listing import Listing, Source, staged
from s4s_lab.sync.rewritten import rewritten
from s4s_lab.sync.settling import GONE, tombstones
from s4s_lab.values.instants import utc_now

# How long an address that was looked up is believed in one fetch [s]: those that are signed last for minutes.
KNOWN_S = 60.0


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


class Keeping(Protocol):
    """Where a pull keeps what it brings, and under which run."""

    @property
    def data(self) -> Dataset:
        """The dataset."""

    @property
    def record(self) -> ConnectionRecord:
        """The connection as the dataset knows it."""

    @property
    def run_id(self) -> str:
        """Names the run in log and ledger."""

    @property
    def fhir_version(self) -> str:
        """`stu3` or `r4`."""


@dataclass(frozen=True)
class _Answers:
    """What came of asking for Endpoints one by one: ids that are gone with the reason, ids that are still to come."""

    entries: list[Entry] = field(default_factory=list)
    gone: dict[str, str] = field(default_factory=dict)
    open_: list[str] = field(default_factory=list)


def keep_endpoints(run: Keeping, source: Source, listing: Listing, *, again: bool) -> bool:
    """Append the Endpoints that a listing's studies refer to: those included, and those read one by one.

    An Endpoint that is not there any more gets a tombstone. Contained ones stay in their studies: they have no id of
    their own, and a fetch finds them there.

    Parameters
    ----------
    run : Keeping
        Where they are kept, and under which run.
    source : Source
        Whom to ask for those that were not included.
    listing : Listing
        The studies.
    again : bool
        Whether Endpoints that the log already holds are asked for as well.

    Returns
    -------
    bool
        False when the server failed at an Endpoint that the log does not hold: a later pull has to ask again.
    """
    current = run.data.log.current(run.record, "Endpoint")
    have = {entry.resource_id for entry in listing.included}
    have |= set() if again else {key for key, version in current.items() if version.fell_out is None}
    wanted = _ids(listing.endpoints, source.fhir_url)
    answers = _read_each(source, [key for key in wanted if key not in have])
    stage = source.new_stage()
    brought = [staged(stage, entry) for entry in (*listing.included, *answers.entries)]
    same = rewritten(current, brought, stage, partial(run.data.log.each_raw, run.record, "Endpoint"))
    comparison = compare(current, brought, keep_newer=False, rewritten=same)
    fallen = {key: why for key, why in answers.gone.items() if key in current and current[key].fell_out is None}
    places = [item.place for item in comparison.to_append]
    gone = tombstones(fallen, current, "Endpoint", run.fhir_version)
    rows = stage.versions(places, "Endpoint", run.fhir_version, then=gone)
    if rows:
        run.data.log.commit(run.record, rows, run_id=run.run_id, received_at=utc_now())
    return all(key in current for key in answers.open_)


def _ids(references: Iterable[str], fhir_url: str) -> dict[str, None]:
    """Return the ids of the server's own Endpoints among references, in order, each once."""
    return dict.fromkeys(key for reference in references if (key := endpoint_id(reference, fhir_url)))


def _read_each(source: Source, keys: Sequence[str]) -> _Answers:
    answers = _Answers()
    for key in keys:
        source.tally.requests += 1
        try:
            answer = read(source.client, source.fhir_url, f"Endpoint/{key}")
        except NotReachable:
            raise
        except ServerError as error:
            source.tally.warn(f"an Endpoint could not be read: {error}")
            if _may_mend(error):
                answers.open_.append(key)
            continue
        if not isinstance(answer, Gone):
            answers.entries.append(answer)
            continue
        source.tally.warn(f"an Endpoint that studies refer to is not there (HTTP {answer.status})")
        if answer.status in GONE:
            answers.gone[key] = GONE[answer.status]
    return answers


def _may_mend(error: ServerError) -> bool:
    """Say whether the server failed at a question, and did not refuse it."""
    return isinstance(error, UnexpectedAnswer) and (error.status is None or error.status >= 500 or error.status == 408)


class EndpointLookup:
    """Looks Endpoints up by reference for one fetch: at the server, once a minute; where it gives none, in the log.

    The server comes first because addresses move and expire, also in the course of a long fetch. A reference to another
    server is followed only where the client may sign: `fhir.read` refuses the others.

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
        self._known: dict[str, tuple[float, dict[str, Any] | None]] = {}
        self.refusals: dict[str, S4SError] = {}

    def __call__(self, reference: str) -> dict[str, Any] | None:
        """Return the Endpoint of a reference that is not contained, None when there is none to be had."""
        asked_at, endpoint = self._known.get(reference, (-math.inf, None))
        if time.monotonic() - asked_at > KNOWN_S:
            endpoint = self._ask(reference)
            self._known[reference] = time.monotonic(), endpoint
        return endpoint

    def _ask(self, reference: str) -> dict[str, Any] | None:
        try:
            answer = read(self._client, self._fhir_url, reference)
        except (ServerError, Waiting) as error:
            self.refusals[reference] = error
        else:
            if not isinstance(answer, Gone):
                return answer.resource
        raw = self._kept.get(endpoint_id(reference, self._fhir_url) or "")
        return None if raw is None else decode_checked(raw.encode(), "The log")
