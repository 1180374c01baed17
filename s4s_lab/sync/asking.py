"""Asking for one resource type: by which mode, whether the server can be asked so, from which lastCheck on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from s4s_lab.connection import Connection
from s4s_lab.lake import ConnectionRecord, CurrentVersion, Dataset
from s4s_lab.net import HttpClient
from s4s_lab.sync.advice import Advice
from s4s_lab.sync.filtering import Behaviour, filter_behaviour, judged_by, newest_ids, stamps_of, updates
from s4s_lab.sync.listing import Listing, Source
from s4s_lab.sync.reports import Filter, Mode
from s4s_lab.sync.watermark import is_ahead
from s4s_lab.values.instants import utc_now

_USELESS: dict[Filter, str] = {
    "ignored": "the server ignores _lastUpdated",
    "broken": "the server takes no _lastUpdated",
}
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

    @property
    def fhir_version(self) -> str:
        """`stu3` or `r4`."""
        return self.link.fhir_version


@dataclass(frozen=True)
class Asked:
    """How a type was asked for: an update's listing, or None where everything is to be asked for."""

    mode: Mode
    filter: Filter
    last_check: datetime | None
    update: Listing | None = None


def ask(
    run: Run, source: Source, advice: Advice, last_check: datetime | None, current: Mapping[str, CurrentVersion]
) -> Asked:
    """Decide the mode, and ask already when it is an update.

    Parameters
    ----------
    run : Run
        The pull that this is part of.
    source : Source
        Where and for whom to ask.
    advice : Advice
        What the ledger remembers.
    last_check : datetime or None
        As the log has it.
    current : mapping of str to CurrentVersion
        The log's newest versions by id.

    References
    ----------
    S4S imaging page, "On first-connection", "On periodic-update", and the note on repeating the broad queries.
    """
    if source.item.parameter is None:
        return Asked("update" if current else "first", "unknown", None)
    if last_check is None:
        return Asked("first", "unknown", None)
    due = run.mode == "auto" and advice.broad_is_due(utc_now())
    # A server that misled is asked again how it filters, so that one that was mended is used again.
    if run.mode in ("first", "broad") or (due and not advice.misled):
        return Asked("broad", advice.filter, last_check)
    behaviour = _behaviour(run, source, advice, current)
    if behaviour.filter == "empty":
        return _broad_instead(source, "the server's _lastUpdated hides everything", "empty", last_check)
    if run.mode == "auto" and behaviour.filter in _USELESS:
        return _broad_instead(source, _USELESS[behaviour.filter], behaviour.filter, last_check)
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
    if found.filter == "honoured":
        raws = run.data.log.raw(run.record, source.item.resource_type, newest_ids(current))
        return judged_by(source, stamps_of(raws, current), found.precision)
    return found


def _ask_update(source: Source, advice: Advice, last_check: datetime, behaviour: Behaviour) -> Asked:
    """Ask for an update, and see from the answer whether the server can be asked so."""
    listing, seen = updates(source, last_check, advice.overlap, behaviour.precision)
    if listing is None:
        return _broad_instead(source, _USELESS["broken"], seen, last_check)
    if is_ahead(last_check, listing.seen, advice.overlap, utc_now()):
        return _broad_instead(source, _AHEAD, behaviour.filter, None)
    if "ignored" in (seen, behaviour.filter):
        source.tally.warn(f"{_USELESS['ignored']}: every pull brings the whole record")
        return Asked("update", "ignored", last_check, listing)
    if behaviour.filter == "started-like":
        source.tally.warn(
            "the server takes _lastUpdated for another date than that of the change: broad pulls come sooner"
        )
    return Asked("update", "unknown" if behaviour.filter == "broken" else behaviour.filter, last_check, listing)


def _broad_instead(source: Source, why: str, behaviour: Filter, last_check: datetime | None) -> Asked:
    source.tally.warn(f"{why}: pulled broad instead")
    return Asked("broad", behaviour, last_check)


def believed(source: Source, asked: Asked, listing: Listing, advice: Advice) -> Asked:
    """Drop a lastCheck that a broad pull shows to lie ahead of the server's present.

    Parameters
    ----------
    source : Source
        Whom was asked.
    asked : Asked
        How.
    listing : Listing
        What came.
    advice : Advice
        How far before lastCheck an update asks.
    """
    if asked.update or asked.last_check is None:
        return asked
    if not is_ahead(asked.last_check, listing.seen, advice.overlap, utc_now()):
        return asked
    source.tally.warn(_AHEAD)
    return replace(asked, last_check=None)
