"""One resource type of one pull: which mode, what came, what is committed, when a broad pull is due again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from s4s_lab.connection import Connection
from s4s_lab.lake import ConnectionRecord, CurrentVersion, Dataset
from s4s_lab.net import HttpClient
from s4s_lab.sync.advice import Advice
from s4s_lab.sync.endpoints import keep_endpoints
from s4s_lab.sync.filtering import filter_behaviour, updates
from s4s_lab.sync.listing import Listing, Source, everything
from s4s_lab.sync.plan import PlanItem
from s4s_lab.sync.reports import Filter, Mode, TypePull
from s4s_lab.sync.settling import HELD_FOR, Settled, prober, settle, versions_to_append
from s4s_lab.sync.watermark import MAX_OVERLAP, OVERLAP, next_interval
from s4s_lab.values.instants import utc_now


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
    asked = _ask(run.mode, source, advice, run.data.log.last_check(cursor), len(current))
    listing, complete = (asked.update, False) if asked.update else everything(source)
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
    return replace(_told(asked, advice, source, settled, last_check, complete), fingerprint=asks)


def _ask(wanted: str, source: Source, advice: Advice, last_check: datetime | None, known: int) -> Asked:
    """Decide the mode, and ask already when it is an update."""
    if source.item.parameter is None:
        return Asked("update" if known else "first", "unknown", None)
    if last_check is None:
        return Asked("first", "unknown", None)
    if wanted in ("first", "broad") or (wanted == "auto" and advice.broad_is_due(utc_now())):
        return Asked("broad", advice.filter, last_check)
    behaviour = filter_behaviour(source) if known and advice.last_mode in ("first", "broad") else advice.filter
    if behaviour == "empty":
        return _broad_instead(source, "the server's _lastUpdated hides everything", behaviour, last_check)
    return _ask_update(source, advice, last_check, behaviour)


def _ask_update(source: Source, advice: Advice, last_check: datetime, behaviour: Filter) -> Asked:
    """Ask for an update, and see from the answer whether the server can be asked so."""
    listing, seen = updates(source, last_check, advice.overlap)
    if listing is None:
        return _broad_instead(source, "the server takes no _lastUpdated", seen, last_check)
    if listing.seen.present is not None and last_check > listing.seen.present + advice.overlap:
        return _broad_instead(source, "lastCheck lay ahead of the server's clock and was dropped", behaviour, None)
    if "ignored" in (seen, behaviour):
        source.tally.warn("the server ignores _lastUpdated: every pull brings the whole record")
        return Asked("update", "ignored", last_check, listing)
    return Asked("update", behaviour, last_check, listing)


def _broad_instead(source: Source, why: str, behaviour: Filter, last_check: datetime | None) -> Asked:
    source.tally.warn(f"{why}: pulled broad instead")
    return Asked("broad", behaviour, last_check)


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
    if settled.held:
        source.tally.warn(f"{len(settled.held)} records vanished at once: held, not marked, until a later pull agrees")
    return TypePull(
        resource_type=source.item.resource_type,
        mode=asked.mode,
        new=len(comparison.new),
        changed=len(comparison.changed),
        unchanged=comparison.unchanged,
        fallen_out=len(settled.fallen),
        returned=len(comparison.returned),
        last_check=last_check,
        filter=asked.filter,
        next_broad=_next_broad(asked, advice, settled, complete) if source.item.parameter else None,
        overlap_s=_overlap_s(advice, settled),
        warnings=tuple(source.tally.warnings),
        differences=settled.differences(source.item.resource_type) if complete else (),
    )


def _next_broad(asked: Asked, advice: Advice, settled: Settled, complete: bool) -> datetime | None:
    if asked.mode == "update":
        return advice.next_broad
    now = utc_now()
    if not complete or asked.filter in ("ignored", "empty", "broken"):
        return now
    if settled.held:
        return now + HELD_FOR
    due = advice.broad_is_due(now)
    return now + next_interval(advice.interval, was_due=due, found_late=bool(settled.late))


def _overlap_s(advice: Advice, settled: Settled) -> int:
    """Widen the overlap when a broad pull found what updates should have brought."""
    overlap = max(OVERLAP, advice.overlap)
    widened = min(MAX_OVERLAP, 2 * overlap) if settled.late else overlap
    return int(widened / timedelta(seconds=1))
