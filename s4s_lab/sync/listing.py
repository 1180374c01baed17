"""Asking a server for one resource type of one participant: its pages, read into one listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from s4s_lab.errors import PatientMismatch, UnexpectedAnswer
from s4s_lab.fhir import (
    PATIENT_ELEMENTS,
    Entry,
    Gone,
    Page,
    endpoint_references,
    outcome_text,
    patient_reference_of,
    read,
    search,
)
from s4s_lab.lake import Stage
from s4s_lab.net import HttpClient
from s4s_lab.sync.compare import Received, received
from s4s_lab.sync.plan import PlanItem
from s4s_lab.sync.reports import Mode
from s4s_lab.sync.watermark import Seen, seen_until
from s4s_lab.values.instants import utc_now


@dataclass
class Tally:
    """What one type's pull cost so far, counted while it runs."""

    requests: int = 0
    pages: int = 0
    waited_s: float = 0.0
    query: str = ""
    mode: Mode | None = None
    last_check: datetime | None = None
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
    """Where and for whom is asked, and where what comes is laid down until all of it is there."""

    client: HttpClient
    fhir_url: str
    patient_id: str
    item: PlanItem
    tally: Tally
    new_stage: Callable[[], Stage]


@dataclass(frozen=True)
class Listing:
    """What the pages of one query brought.

    Parameters
    ----------
    brought : tuple of Received
        Resources of the type that was asked for, in the order of arrival.
    stage : Stage
        Where their JSON lies.
    seen : Seen
        The instant for which the listing stands.
    included : tuple of Entry
        Endpoints among the entries.
    endpoints : tuple of str
        References to Endpoints in studies, in the order of arrival, each once.
    total : int or None
        `Bundle.total` of the first page.
    self_url : str or None
        The first page's self link: what the server says it searched for.
    """

    brought: tuple[Received, ...]
    stage: Stage
    seen: Seen
    included: tuple[Entry, ...] = ()
    endpoints: tuple[str, ...] = ()
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
        A resource's elements, decoded.
    patient_id : str
        The patient that was asked for.
    """
    reference = patient_reference_of(resource)
    if not reference or reference.startswith(("#", "urn:")):
        return True
    return reference.split("/_history/", 1)[0].rsplit("/", 1)[-1] == patient_id


class _Brought:
    """What the pages of one query bring, entry by entry: JSON goes to the stage, the rest is small."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._kind = source.item.resource_type
        self.stage = source.new_stage()
        self.resources: list[Received] = []
        self.included: dict[tuple[str | None, bytes], Entry] = {}
        self.endpoints: dict[str, None] = {}

    def add(self, entry: Entry) -> None:
        """Take one entry."""
        if entry.mode == "outcome":
            self._source.tally.warn(f"the server remarks: {outcome_text(entry.resource)}")
        elif entry.mode == "match" and entry.resource_type == self._kind:
            if not belongs_to(entry.elements(*PATIENT_ELEMENTS), self._source.patient_id):
                raise PatientMismatch(
                    f"Among the {self._kind} resources asked for one patient, the server sent another patient's."
                )
            self.resources.append(staged(self.stage, entry))
            if self._kind == "ImagingStudy":
                self.endpoints.update(dict.fromkeys(_endpoints_of(entry)))
        elif entry.resource_type == "Endpoint":
            self.included.setdefault((entry.resource_id, entry.raw), entry)


def _endpoints_of(study: Entry) -> list[str]:
    series = bytes(study.members.get("series", b""))
    # Series are most of a study, and mostly without endpoints of their own; a name may be written in escapes.
    looked_at = ("endpoint", "series") if b"endpoint" in series or b"\\u" in series else ("endpoint",)
    return endpoint_references(study.elements(*looked_at))


def staged(stage: Stage, entry: Entry) -> Received:
    """Lay an entry's JSON down in a stage, and return what is to be known of it.

    Parameters
    ----------
    stage : Stage
        Where to.
    entry : Entry
        A match of a search, or what a read gave.
    """
    item = received(entry, len(stage))
    stage.add(item.resource_id, item.version_id, item.last_updated, item.content_hash, entry.raw)
    return item


def _ask(source: Source, parameters: Mapping[str, str]) -> Listing:
    brought = _Brought(source)
    first: Page | None = None
    seen: Seen | None = None
    for page in search(source.client, source.fhir_url, source.item.resource_type, parameters):
        source.tally.requests += 1
        source.tally.pages += 1
        if first is None or page.anew:
            # Of a chain that begins anew what came before may be gone by now; lastCheck keeps to the earlier start.
            brought = brought if first is None else _Brought(source)
            first, seen = page, seen or _seen(page.server_time, page.bundle_time, page.elapsed_s)
        for entry in page.entries:
            brought.add(entry)
    if first is None or seen is None:  # a search gives at least one page or raises
        raise UnexpectedAnswer(f"The search for {source.item.resource_type} brought no page.")
    return Listing(
        tuple(brought.resources),
        brought.stage,
        seen,
        included=tuple(brought.included.values()),
        endpoints=tuple(brought.endpoints),
        total=first.total,
        self_url=first.self_url,
    )


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
        return Listing((), source.new_stage(), _seen(None, None, 0.0))
    stage = source.new_stage()
    return Listing((staged(stage, entry),), stage, _seen(None, None, 0.0))
