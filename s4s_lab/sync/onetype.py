"""One resource type of one pull: what came, what is committed, when a broad pull is due again."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from s4s_lab.connection import Connection
from s4s_lab.lake import StagedVersions
from s4s_lab.sync.advice import MISLEADING, Advice
from s4s_lab.sync.asking import Asked, Run, ask, believed
from s4s_lab.sync.endpoints import keep_endpoints
from s4s_lab.sync.filtering import query_text
from s4s_lab.sync.listing import Listing, Source, everything
from s4s_lab.sync.plan import PlanItem
from s4s_lab.sync.reports import TypePull
from s4s_lab.sync.rewritten import rewritten
from s4s_lab.sync.settling import HELD_FOR, Settled, prober, settle, versions_to_append
from s4s_lab.sync.watermark import LADDER, STARTED_LIKE_CEILING, before, next_interval, widened, with_jitter
from s4s_lab.values.instants import from_millis, to_millis, utc_now

_SECOND = timedelta(seconds=1)
# Our clock names when the last update was asked; the server's is read from whole seconds.
_CLOCK_MARGIN = timedelta(minutes=1)


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
    source.tally.query = query_text(source)
    source.tally.last_check = run.data.log.last_check(cursor)
    asked = ask(run, source, advice, source.tally.last_check, current)
    source.tally.mode = asked.mode
    source.tally.query = source.tally.query if asked.update else query_text(source)
    listing, complete = (asked.update, False) if asked.update else everything(source)
    asked = believed(source, asked, listing, advice)
    settled = settle(
        current,
        listing,
        whole=complete,
        updated_until=_updated_until(asked, listing, advice),
        held_before=advice.held,
        probe=prober(source, partial(run.data.log.raw, run.record, kind)),
        rewritten=rewritten(current, listing.brought, listing.stage, partial(run.data.log.each_raw, run.record, kind)),
    )
    # Endpoints first: when the server asks for time with them, nothing of the studies is committed unseen.
    again = asked.mode != "update" or bool(settled.comparison.to_append)
    answered = kind != "ImagingStudy" or keep_endpoints(run, source, listing, again=again)
    rows = versions_to_append(settled, listing, current, kind, run.fhir_version)
    last_check = _commit(run, source, asked, listing, rows, cursor if answered and not listing.short else None)
    told = replace(_told(asked, advice, source, settled, last_check, complete), fingerprint=asks)
    if source.item.parameter is None:
        return told
    return replace(told, next_broad=_next_broad(asked, advice, settled, listing, cursor, answered=answered))


def _updated_until(asked: Asked, listing: Listing, advice: Advice) -> datetime | None:
    """Return the instant up to which earlier runs should have brought everything, on the server's clock.

    lastCheck stays where it is while nothing comes, so the moment of the last run counts too.
    """
    if asked.last_check is None:
        return None
    covered = asked.last_check
    if advice.last_run is not None and listing.seen.present is not None:
        ours_ahead = utc_now() - listing.seen.present
        covered = max(covered, advice.last_run - ours_ahead - _CLOCK_MARGIN)
    return before(covered, advice.overlap)


def fingerprint(link: Connection, item: PlanItem) -> str:
    """Identify what is asked and by which right: another scope or FHIR version starts with a first pull.

    Parameters
    ----------
    link : Connection
        Its scope, its FHIR version and which of its servers is asked count.
    item : PlanItem
        What is asked.
    """
    base = link.base_of(item.resource_type)
    elsewhere = [base] if base not in (None, link.fhir_url) else []
    text = json.dumps([item.resource_type, item.parameter, link.fhir_version, sorted(link.scope.split()), *elsewhere])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _commit(
    run: Run, source: Source, asked: Asked, listing: Listing, rows: StagedVersions, cursor: str | None
) -> datetime | None:
    """Append what is new, with lastCheck in the same commit; an unchanged server is left without a commit.

    Without a cursor what came is kept and lastCheck stays where it was, since not everything has been seen.
    """
    if source.item.parameter is None or cursor is None:
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


def _next_broad(
    asked: Asked, advice: Advice, settled: Settled, listing: Listing, cursor: str, *, answered: bool
) -> datetime | None:
    """Return when everything is to be asked for again."""
    now = utc_now()
    ceiling = STARTED_LIKE_CEILING if asked.filter == "started-like" else LADDER[-1]
    misled = asked.filter in MISLEADING
    if asked.mode == "update" and not misled:
        latest = from_millis(to_millis(now + with_jitter(ceiling, cursor)))
        return advice.next_broad and min(advice.next_broad, latest)
    if misled or listing.short or settled.unasked:
        return now
    if settled.held or not answered:
        return now + HELD_FOR
    # Without the server's clock the next broad pull comes as soon as after the first one.
    previous = advice.interval if listing.seen.by_server else None
    due = advice.broad_is_due(now)
    interval = next_interval(previous, was_due=due, found_late=bool(settled.late), ceiling=ceiling)
    return from_millis(to_millis(now + with_jitter(interval, cursor)))


def _overlap_s(advice: Advice, settled: Settled) -> int:
    """Widen the overlap as far as what a broad pull found late would have needed."""
    return math.ceil(widened(advice.overlap, (advice.overlap + late for late in settled.late.values())) / _SECOND)
