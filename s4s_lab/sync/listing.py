"""Asking a server for one resource type of one participant: the broad query, the update, and how its filter behaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from s4s_lab.errors import PatientMismatch, UnexpectedAnswer
from s4s_lab.fhir import Entry, Gone, Page, outcome_text, patient_reference_of, read, search
from s4s_lab.net import HttpClient
from s4s_lab.sync.compare import Received, received
from s4s_lab.sync.plan import PlanItem
from s4s_lab.sync.reports import Filter
from s4s_lab.sync.watermark import PRECISIONS, Seen, seen_until, since
from s4s_lab.values.instants import utc_now

_EVER = "gt1970-01-01T00:00:00.000Z"
_NEVER = "gt2200-01-01T00:00:00.000Z"


@dataclass
class Tally:
    """What one type's pull cost so far, counted while it runs."""

    requests: int = 0
    pages: int = 0
    waited_s: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Note something once.

        Parameters
        ----------
        text : str
            A sentence without a full stop.
        """
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass(frozen=True)
class Source:
    """Where and for whom is asked."""

    client: HttpClient
    fhir_url: str
    patient_id: str
    item: PlanItem
    tally: Tally


@dataclass(frozen=True)
class Listing:
    """What the pages of one query brought.

    Parameters
    ----------
    brought : tuple of Received
        Resources of the type that was asked for, in the order of arrival.
    included : tuple of Entry
        Other resources among the entries, such as Endpoints.
    seen : Seen
        The instant for which the listing stands.
    total : int or None
        `Bundle.total` of the first page.
    self_url : str or None
        The first page's self link: what the server says it searched for.
    """

    brought: tuple[Received, ...]
    included: tuple[Entry, ...]
    seen: Seen
    total: int | None = None
    self_url: str | None = None

    @property
    def ids(self) -> set[str]:
        """Distinct ids of the resources that were brought."""
        return {item.resource_id for item in self.brought}

    @property
    def short(self) -> bool:
        """Whether the server counts more resources than it gave."""
        return self.total is not None and len(self.ids) < self.total


def belongs_to(resource: Mapping[str, Any], patient_id: str) -> bool:
    """Say whether a resource's patient reference, where it can be read, is the patient that was asked for.

    Parameters
    ----------
    resource : mapping
        A decoded resource.
    patient_id : str
        The patient that was asked for.
    """
    reference = patient_reference_of(dict(resource))
    if not reference or reference.startswith(("#", "urn:")):
        return True
    return reference.split("/_history/", 1)[0].rsplit("/", 1)[-1] == patient_id


def _own(source: Source, entry: Entry) -> Received:
    if not belongs_to(entry.resource, source.patient_id):
        kind = source.item.resource_type
        raise PatientMismatch(f"Among the {kind} resources asked for one patient, the server sent another patient's.")
    return received(entry)


def _ask(source: Source, parameters: Mapping[str, str]) -> Listing:
    brought: list[Received] = []
    included: list[Entry] = []
    first: Page | None = None
    seen: Seen | None = None
    for page in search(source.client, source.fhir_url, source.item.resource_type, parameters):
        source.tally.requests += 1
        source.tally.pages += 1
        if first is None:
            first, seen = page, _seen(page.server_time, page.bundle_time, page.elapsed_s)
        for entry in page.entries:
            if entry.mode == "outcome":
                source.tally.warn(f"the server remarks: {outcome_text(entry.resource)}")
            elif entry.mode == "include" or entry.resource_type != source.item.resource_type:
                included.append(entry)
            else:
                brought.append(_own(source, entry))
    if first is None or seen is None:  # a search gives at least one page or raises
        raise UnexpectedAnswer(f"The search for {source.item.resource_type} brought no page.")
    return Listing(tuple(brought), tuple(included), seen, first.total, first.self_url)


def _seen(date: datetime | None, bundle_time: datetime | None, elapsed_s: float) -> Seen:
    return seen_until(date=date, bundle_time=bundle_time, elapsed_s=elapsed_s, now=utc_now())


def everything(source: Source) -> tuple[Listing, bool]:
    """Ask the broad query; the second value says whether the listing can be taken as the whole record.

    A server that gives fewer resources than its `Bundle.total` is asked once more; when the two still disagree what
    came is kept, and nothing is concluded from what did not.

    Parameters
    ----------
    source : Source
        Whom to ask.

    Raises
    ------
    PatientMismatch
        If a resource of another patient is among the entries.

    References
    ----------
    S4S imaging page, "On first-connection", and its note on repeating the broad queries.
    """
    if source.item.parameter is None:
        return _only(source), True
    listing = _ask_again_if_short(source, _of_patient(source))
    return listing, not listing.short


def _ask_again_if_short(source: Source, parameters: Mapping[str, str]) -> Listing:
    listing = _ask(source, parameters)
    if listing.short:
        listing = _ask(source, parameters)
    if listing.short:
        source.tally.warn(f"the server counts {listing.total} resources and gave {len(listing.ids)}, twice")
    return listing


def _of_patient(source: Source) -> dict[str, str]:
    return {source.item.parameter or "_id": source.patient_id}


def _only(source: Source) -> Listing:
    source.tally.requests += 1
    source.tally.pages += 1
    entry = read(source.client, source.fhir_url, f"{source.item.resource_type}/{source.patient_id}")
    if isinstance(entry, Gone):
        source.tally.warn(f"the server has no {source.item.resource_type} to read (HTTP {entry.status})")
        return Listing((), (), _seen(None, None, 0.0))
    return Listing((received(entry),), (), _seen(None, None, 0.0))


def updates(source: Source, last_check: datetime, overlap: timedelta) -> tuple[Listing | None, Filter]:
    """Ask for what changed since `last_check`, less the overlap; None when the server cannot be asked that.

    Milliseconds first; a server that answers 400 is asked again in seconds, then in days. The self link shows whether
    the server used the filter at all.

    Parameters
    ----------
    source : Source
        Whom to ask.
    last_check : datetime
        Up to when everything is known, aware.
    overlap : timedelta
        How far before it to ask.

    References
    ----------
    S4S imaging page, "On periodic-update". FHIR STU3, "Search": self link, lenient handling.
    """
    for precision in PRECISIONS:
        parameters = _of_patient(source) | {"_lastUpdated": since(last_check, overlap, precision)}
        try:
            listing = _ask_again_if_short(source, parameters)
        except UnexpectedAnswer as error:
            source.tally.requests += 1
            if error.status != 400:
                raise
            source.tally.warn(f"the server refuses _lastUpdated in {precision} precision")
            continue
        ignored = listing.self_url is not None and "?" in listing.self_url and "_lastUpdated" not in listing.self_url
        return listing, "ignored" if ignored else "unknown"
    return None, "broken"


def filter_behaviour(source: Source) -> Filter:
    """Find out by two counting queries whether `_lastUpdated` does what it says; asked when records are known.

    Parameters
    ----------
    source : Source
        Whom to ask.

    Returns
    -------
    str
        `empty`: asked since 1970, the server finds none of the records it has. `ignored`: asked since the year 2200, it
        still finds some. `unknown`: it refuses the question, perhaps for its precision. Else `honoured`.
    """
    try:
        if not _count(source, _EVER):
            return "empty"
        return "ignored" if _count(source, _NEVER) else "honoured"
    except UnexpectedAnswer as error:
        if error.status != 400:
            raise
        return "unknown"


def _count(source: Source, last_updated: str) -> int:
    parameters = _of_patient(source) | {"_lastUpdated": last_updated, "_summary": "count"}
    source.tally.requests += 1
    page = next(search(source.client, source.fhir_url, source.item.resource_type, parameters))
    return page.total if page.total is not None else sum(entry.mode == "match" for entry in page.entries)
