"""Asking a server for one resource type of one participant: its pages, read into one listing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from s4s_lab.errors import PatientMismatch, UnexpectedAnswer
from s4s_lab.fhir import Entry, Gone, Page, outcome_text, patient_reference_of, read, search
from s4s_lab.net import HttpClient
from s4s_lab.sync.compare import Received, received
from s4s_lab.sync.plan import PlanItem
from s4s_lab.sync.watermark import Seen, seen_until
from s4s_lab.values.instants import utc_now


@dataclass
class Tally:
    """What one type's pull cost so far, counted while it runs."""

    requests: int = 0
    pages: int = 0
    waited_s: float = 0.0
    query: str = ""
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
    listing = ask_twice_if_short(source, of_patient(source))
    return listing, not listing.short


def ask_twice_if_short(source: Source, parameters: Mapping[str, str]) -> Listing:
    """Ask a query, and once more when the server gives fewer resources than it counts.

    Parameters
    ----------
    source : Source
        Whom to ask.
    parameters : mapping of str to str
        The query.
    """
    listing = _ask(source, parameters)
    if listing.short:
        listing = _ask(source, parameters)
    if listing.short:
        source.tally.warn(f"the server counts {listing.total} resources and gave {len(listing.ids)}, twice")
    return listing


def of_patient(source: Source) -> dict[str, str]:
    """Return the search parameters that ask for one patient's resources.

    Parameters
    ----------
    source : Source
        For whom is asked.
    """
    return {source.item.parameter or "_id": source.patient_id}


def _only(source: Source) -> Listing:
    source.tally.requests += 1
    source.tally.pages += 1
    entry = read(source.client, source.fhir_url, f"{source.item.resource_type}/{source.patient_id}")
    if isinstance(entry, Gone):
        source.tally.warn(f"the server has no {source.item.resource_type} to read (HTTP {entry.status})")
        return Listing((), (), _seen(None, None, 0.0))
    return Listing((received(entry),), (), _seen(None, None, 0.0))
