"""One resource type of one pull: which mode, what came, what is committed, when a broad pull is due again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from s4s_lab.connection import Connection
from s4s_lab.lake import ConnectionRecord, CurrentVersion, Dataset
from s4s_lab.net import HttpClient
from s4s_lab.sync.advice import Advice
from s4s_lab.sync.endpoints import keep_endpoints
from s4s_lab.sync.filtering import (
    Behaviour,
    filter_behaviour,
    means_started,
    newest_ids,
    query_text,
    stamps_of,
    updates,
)
from s4s_lab.sync.listing import Listing, Source, everything
from s4s_lab.sync.plan import PlanItem
from s4s_lab.sync.reports import Filter, Mode, TypePull
from s4s_lab.sync.settling import HELD_FOR, Settled, prober, settle, versions_to_append
from s4s_lab.sync.watermark import LADDER, STARTED_LIKE_CEILING, is_ahead, next_interval, widened, with_jitter
from s4s_lab.values.instants import utc_now

_SECOND = timedelta(seconds=1)
_AHEAD = "lastCheck lay ahead of the server's clock and was dropped"


@dataclass(frozen=True)
class Run:
    """What stays the same over the types of one pull.

    Parameters
    ----------
    link : Connection
        Whom to ask, by which right.
    data : Dataset
        Where to keep it.
    record : ConnectionRecord
        The connection as the dataset knows it.
    client : HttpClient
        Open while the pull runs.
    run_id : str
        Names the run in log and ledger.
    mode : str
        As the caller wants it: `auto`, `first`, `update` or `broad`.
    ledger : tuple of mapping
        The ledger's rows of this connection before the run.
    """

    link: Connection
    data: Dataset
    record: ConnectionRecord
    client: HttpClient
    run_id: str
    mode: str
    ledger: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Asked:
    """How a type was asked for: an update's listing, or None where everything is to be asked for."""

    mode: Mode
    filter: Filter
    last_check: datetime | None
    update: Listing | None = None


def pull_type(run: Run, source: Source, advice: Advice) -> TypePull:
    """Ask for one type, compare, commit, and tell what came.

    Parameters
    ----------
    run : Run
        The pull that this is part of.
    source : Source
        Where and for whom to ask.
    advice : Advice
        What the ledger remembers.
    """
    kind = source.item.resource_type
    current = run.data.log.current(run.record, kind)
    asks = fingerprint(run.link, source.item)
    cursor = run.data.cursor(run.record, kind, asks)
    asked = _ask(run, source, advice, run.data.log.last_check(cursor), current)
    source.tally.query = source.tally.query if asked.update else query_text(source)
    listing, complete = (asked.update, False) if asked.update else everything(source)
    asked = _believed(source, asked, listing, advice)
    settled = settle(
        current,
        listing,
        whole=complete,
        updated_until=None if asked.last_check is None else asked.last_check - advice.overlap,
        held_before=advice.held,
        probe=prober(source, lambda keys: run.data.log.raw(run.record, kind, list(keys))),
    )
    # Endpoints first: when the server asks for time with them, nothing of the studies is committed unseen.
    if kind == "ImagingStudy":
        keep_endpoints(run.data, run.record, run.run_id, source, listing, run.link.fhir_version)
    last_check = _commit(run, source, asked, listing, settled, current, cursor)
    told = _told(asked, advice, source, settled, last_check, complete)
    if source.item.parameter is None:
        return replace(told, fingerprint=asks)
    due = _next_broad(asked, advice, settled, certain=complete and listing.seen.by_server, cursor=cursor)
    return replace(told, fingerprint=asks, next_broad=due if complete or asked.mode == "update" else utc_now())


def _ask(
    run: Run, source: Source, advice: Advice, last_check: datetime | None, current: Mapping[str, CurrentVersion]
) -> Asked:
    """Decide the mode, and ask already when it is an update."""
    if source.item.parameter is None:
        return Asked("update" if current else "first", "unknown", None)
    if last_check is None:
        return Asked("first", "unknown", None)
    due = run.mode == "auto" and advice.broad_is_due(utc_now())
    if run.mode in ("first", "broad") or (due and not advice.misled):
        return Asked("broad", advice.filter, last_check)
    behaviour = _behaviour(run, source, advice, current)
    if behaviour.filter == "empty":
        return _broad_instead(source, "the server's _lastUpdated hides everything", "empty", last_check)
    if due and behaviour.filter in ("ignored", "broken"):
        source.tally.warn("the server cannot be asked for updates: every pull brings the whole record")
        return Asked("broad", behaviour.filter, last_check)
    return _ask_update(source, advice, last_check, behaviour)


def _behaviour(run: Run, source: Source, advice: Advice, current: Mapping[str, CurrentVersion]) -> Behaviour:
    """Find out how the server treats `_lastUpdated`, after each broad pull and while it is not known to filter."""
    known = Behaviour(advice.filter, advice.precision)
    there = any(version.fell_out is None for version in current.values())
    if not there or (advice.last_mode == "update" and advice.filter in ("honoured", "started-like")):
        return known
    found = filter_behaviour(source)
    if found.filter == "unknown":
        return known if advice.misled else replace(known, filter="unknown")
    if found.filter == "honoured" and source.item.resource_type == "ImagingStudy":
        stamps = stamps_of(run.data.log.raw(run.record, "ImagingStudy", newest_ids(current)), current)
        return replace(found, filter="started-like") if means_started(source, stamps, found.precision) else found
    return found


def _ask_update(source: Source, advice: Advice, last_check: datetime, behaviour: Behaviour) -> Asked:
    """Ask for an update, and see from the answer whether the server can be asked so."""
    listing, seen = updates(source, last_check, advice.overlap, behaviour.precision)
    if listing is None:
        return _broad_instead(source, "the server takes no _lastUpdated", seen, last_check)
    if is_ahead(last_check, listing.seen, advice.overlap, utc_now()):
        return _broad_instead(source, _AHEAD, behaviour.filter, None)
    if "ignored" in (seen, behaviour.filter):
        source.tally.warn("the server ignores _lastUpdated: every pull brings the whole record")
        return Asked("update", "ignored", last_check, listing)
    if behaviour.filter == "started-like":
        source.tally.warn("the server takes _lastUpdated for the study's own date: broad pulls come sooner")
    return Asked("update", "unknown" if behaviour.filter == "broken" else behaviour.filter, last_check, listing)


def _broad_instead(source: Source, why: str, behaviour: Filter, last_check: datetime | None) -> Asked:
    source.tally.warn(f"{why}: pulled broad instead")
    return Asked("broad", behaviour, last_check)


def _believed(source: Source, asked: Asked, listing: Listing, advice: Advice) -> Asked:
    """Drop a lastCheck that a broad pull shows to lie ahead of the server's present."""
    if asked.update or asked.last_check is None:
        return asked
    if not is_ahead(asked.last_check, listing.seen, advice.overlap, utc_now()):
        return asked
    source.tally.warn(_AHEAD)
    return replace(asked, last_check=None)


def fingerprint(link: Connection, item: PlanItem) -> str:
    """Identify what is asked and by which right: another scope or FHIR version starts with a first pull.

    Parameters
    ----------
    link : Connection
        Its scope and FHIR version count.
    item : PlanItem
        What is asked.
    """
    text = json.dumps([item.resource_type, item.parameter, link.fhir_version, sorted(link.scope.split())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _commit(
    run: Run,
    source: Source,
    asked: Asked,
    listing: Listing,
    settled: Settled,
    current: Mapping[str, CurrentVersion],
    cursor: str,
) -> datetime | None:
    """Append what is new, with lastCheck in the same commit; an unchanged server is left without a commit."""
    rows = versions_to_append(settled, current, source.item.resource_type, run.link.fhir_version)
    if source.item.parameter is None or listing.short:
        # What came is kept; lastCheck stays where it was, since not everything has been seen.
        if rows:
            run.data.log.commit(run.record, rows, run_id=run.run_id, received_at=utc_now())
        return asked.last_check
    if not rows and asked.last_check is not None:
        return asked.last_check
    if not listing.seen.by_server:
        source.tally.warn("the server sends no usable clock: ours, less a minute, stands in for lastCheck")
    seen = listing.seen.instant
    moved = seen if asked.last_check is None else max(asked.last_check, seen)
    run.data.log.commit(run.record, rows, run_id=run.run_id, received_at=utc_now(), cursor_id=cursor, last_check=moved)
    return moved


def _told(
    asked: Asked, advice: Advice, source: Source, settled: Settled, last_check: datetime | None, complete: bool
) -> TypePull:
    comparison = settled.comparison
    if comparison.stale:
        source.tally.warn(f"{len(comparison.stale)} older versions than those already here were left aside")
    if settled.unasked:
        source.tally.warn(f"{len(settled.unasked)} missing records are asked for by the next pull")
    if settled.held:
        source.tally.warn(f"{len(settled.held)} records vanished at once: held, not marked, until a later pull agrees")
    return TypePull(
        resource_type=source.item.resource_type,
        mode=asked.mode,
        query=source.tally.query,
        new=len(comparison.new),
        changed=len(comparison.changed),
        unchanged=comparison.unchanged,
        fallen_out=len(settled.fallen),
        returned=len(comparison.returned),
        last_check=last_check,
        filter=asked.filter,
        overlap_s=_overlap_s(advice, settled),
        warnings=tuple(source.tally.warnings),
        differences=settled.differences(source.item.resource_type) if complete else (),
    )


def _next_broad(asked: Asked, advice: Advice, settled: Settled, *, certain: bool, cursor: str) -> datetime | None:
    """Return when everything is to be asked for again; `certain`: the whole record came, with the server's clock."""
    now = utc_now()
    ceiling = STARTED_LIKE_CEILING if asked.filter == "started-like" else LADDER[-1]
    if asked.mode == "update":
        return advice.next_broad and min(advice.next_broad, now + with_jitter(ceiling, cursor))
    if settled.unasked or asked.filter in ("ignored", "empty", "broken"):
        return now
    if settled.held:
        return now + HELD_FOR
    previous = advice.interval if certain else None
    interval = next_interval(previous, was_due=advice.broad_is_due(now), found_late=bool(settled.late), ceiling=ceiling)
    return now + with_jitter(interval, cursor)


def _overlap_s(advice: Advice, settled: Settled) -> int:
    """Widen the overlap as far as what a broad pull found late would have needed."""
    return math.ceil(widened(advice.overlap, (advice.overlap + late for late in settled.late.values())) / _SECOND)
