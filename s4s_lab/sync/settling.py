"""Deciding what a listing means for the log: what to append, what fell out, where pulls disagree."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from s4s_lab.errors import NotReachable, ServerError, UnexpectedAnswer, Waiting
from s4s_lab.fhir import PATIENT_ELEMENTS, Gone, read
from s4s_lab.fhir.decoding import decode_checked
from s4s_lab.lake import CurrentVersion, ResourceVersion, StagedVersions
from s4s_lab.sync.compare import Comparison, absent_from, compare, is_mass_vanishing
from s4s_lab.sync.listing import Listing, Source, belongs_to
from s4s_lab.sync.reports import Difference
from s4s_lab.sync.watermark import OVERLAP

# What is left over is held, and probed first by the next run.
MAX_PROBES = 200
HELD_FOR = timedelta(days=1)
GONE = {404: "not found", 410: "deleted"}
_REASONS = GONE | {403: "withdrawn"}

# The reason for a resource without an id of its own: it cannot be read, only missed.
UNASKED = "absent from a broad pull"

_READABLE = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)
# Answers that refuse the question itself: the server has no reads, so a record can only be missed.
_NO_READS = (405, 501)

Probe = Callable[[Sequence[str]], Mapping[str, str | None]]


@dataclass(frozen=True)
class Settled:
    """What a listing means.

    Parameters
    ----------
    comparison : Comparison
        New, changed, unchanged and returned resources.
    fallen : mapping of str to str
        Ids that fell out of the record, with the reason.
    late : mapping of str to timedelta
        Ids that a broad pull found and the updates before it should have brought, with how long before the instant
        that those covered they are stamped.
    held : tuple of str
        Ids that vanished with too many others to be believed.
    unasked : tuple of str
        Ids that are absent and for which there was no time to ask, ours or the server's.
    """

    comparison: Comparison
    fallen: Mapping[str, str]
    late: Mapping[str, timedelta] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()

    def differences(self, resource_type: str) -> tuple[Difference, ...]:
        """Return the records in which the broad pull and the updates before it disagree.

        Parameters
        ----------
        resource_type : str
            The type of the records.
        """
        found = [Difference(resource_type, key, "late", "updates never brought it") for key in self.late]
        found += [Difference(resource_type, key, "fallen out", reason) for key, reason in self.fallen.items()]
        found += [Difference(resource_type, key, "returned") for key in self.comparison.returned]
        found += [Difference(resource_type, key, "held", "too many vanished at once") for key in self.held]
        found += [Difference(resource_type, key, "held", "asked for by the next pull") for key in self.unasked]
        return tuple(found)


def settle(
    current: Mapping[str, CurrentVersion],
    listing: Listing,
    *,
    whole: bool,
    updated_until: datetime | None,
    held_before: frozenset[str] = frozenset(),
    probe: Probe,
    rewritten: Container[int] = (),
) -> Settled:
    """Compare a listing with the log.

    Parameters
    ----------
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    listing : Listing
        What the query brought.
    whole : bool
        Whether the listing is the whole record: only then may anything be taken as fallen out.
    updated_until : datetime or None
        The instant up to which earlier updates should have brought everything; None: there were none.
    held_before : frozenset of str
        Ids that the last broad pull held: when they are absent again, two pulls agree. They are asked for first.
    probe : callable
        Asks the server for absent ids: for each that it came to, a reason why it is gone, or None when it is still
        there.
    rewritten : container of int
        Places of received versions that say what the log's say, written otherwise.

    References
    ----------
    S4S imaging page: broad queries are repeated "to discover any data that may have fallen out of the record".
    """
    if not whole:
        return Settled(compare(current, listing.brought, keep_newer=True, rewritten=rewritten), {})
    lag = (listing.seen.instant - OVERLAP, listing.seen.instant + OVERLAP)
    comparison = compare(current, listing.brought, keep_newer=True, lag=lag, rewritten=rewritten)
    absent = absent_from(current, listing.ids)
    active = sum(version.fell_out is None for version in current.values())
    late = _late(comparison, updated_until)
    agreed = held_before.issuperset(absent)
    if is_mass_vanishing(len(absent), active) and not agreed:
        return Settled(comparison, {}, late, held=tuple(absent))
    absent.sort(key=lambda key: key not in held_before)
    answers = probe(absent[:MAX_PROBES])
    unasked = tuple(key for key in absent if key not in answers)
    # Nothing is left: an empty answer, of a server that may have no reads or lost the right to them, is too little to
    # believe that, however few there were. Only 410 is believed at once: it speaks of that very record.
    doubtful = {reason for reason in answers.values() if reason} - {GONE[410]}
    if doubtful and len(absent) == active and not agreed:
        return Settled(comparison, {}, late, held=tuple(absent))
    fallen = {key: reason for key, reason in answers.items() if reason}
    return Settled(comparison, fallen, late, unasked=unasked)


def _late(comparison: Comparison, updated_until: datetime | None) -> dict[str, timedelta]:
    if updated_until is None:
        return {}
    fresh = {*comparison.new, *comparison.changed}
    return {
        item.resource_id: updated_until - item.last_updated
        for item in comparison.to_append
        if item.resource_id in fresh and item.last_updated is not None and item.last_updated <= updated_until
    }


def prober(source: Source, raws: Callable[[Sequence[str]], Mapping[str, str]]) -> Probe:
    """Return a probe that reads resources by the ids that the server gave them.

    Parameters
    ----------
    source : Source
        Whom to ask.
    raws : callable
        Gives the raw JSON of ids out of the log: a resource without an id of its own cannot be read, so its absence
        alone has to do.
    """

    def probe(keys: Sequence[str]) -> dict[str, str | None]:
        kept = raws(keys)
        answers: dict[str, str | None] = {}
        try:
            for key in keys:
                readable = _can_be_read(key, kept.get(key, "{}"))
                answers[key] = _asked_for(source, key) if readable else UNASKED
        except Waiting as wait:
            # What the listing brought is whole without the answers: it is not thrown away for them.
            source.tally.warn(f"the server put off what was asked of missing records: {wait}")
        return answers

    return probe


def _can_be_read(key: str, raw: str) -> bool:
    return _READABLE.fullmatch(key) is not None and decode_checked(raw.encode(), "The log").get("id") == key


def _asked_for(source: Source, key: str) -> str | None:
    """Read one absent resource: why it is gone, or None when it is there or the server does not say."""
    source.tally.requests += 1
    try:
        answer = read(source.client, source.fhir_url, f"{source.item.resource_type}/{key}")
    except NotReachable:
        raise
    except ServerError as error:
        if isinstance(error, UnexpectedAnswer) and error.status in _NO_READS:
            return UNASKED
        source.tally.warn(f"a missing record could not be asked for and is kept: {error}")
        return None
    if isinstance(answer, Gone):
        return _REASONS.get(answer.status, f"HTTP {answer.status}")
    if not belongs_to(answer.elements(*PATIENT_ELEMENTS), source.patient_id):
        return "belongs to another patient"
    source.tally.warn("a search leaves out a resource that can still be read; it is kept")
    return None


def versions_to_append(
    settled: Settled, listing: Listing, current: Mapping[str, CurrentVersion], resource_type: str, fhir_version: str
) -> StagedVersions:
    """Return the log rows of a settled listing: received versions, then one tombstone for each record that fell out.

    Parameters
    ----------
    settled : Settled
        What the listing means.
    listing : Listing
        Where the JSON lies.
    current : mapping of str to CurrentVersion
        The log's newest versions by id: a tombstone names the content that fell out.
    resource_type, fhir_version : str
        Written into each row.
    """
    places = [item.place for item in settled.comparison.to_append]
    fallen = tombstones(settled.fallen, current, resource_type, fhir_version)
    return listing.stage.versions(places, resource_type, fhir_version, then=fallen)


def tombstones(
    fallen: Mapping[str, str], current: Mapping[str, CurrentVersion], resource_type: str, fhir_version: str
) -> list[ResourceVersion]:
    """Return one log row for each record that fell out; it names the content that did.

    Parameters
    ----------
    fallen : mapping of str to str
        Ids with the reason.
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    resource_type, fhir_version : str
        Written into each row.
    """
    return [
        ResourceVersion(
            resource_type=resource_type,
            resource_id=key,
            version_id=None,
            last_updated=current[key].last_updated,
            content_hash=current[key].content_hash,
            raw=None,
            fhir_version=fhir_version,
            fell_out=reason,
        )
        for key, reason in fallen.items()
    ]
