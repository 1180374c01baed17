"""What the ledger remembers of earlier runs. It is advice: without it a pull takes the cautious default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from s4s_lab.sync.reports import Filter, Mode
from s4s_lab.sync.waits import within_reach
from s4s_lab.sync.watermark import MAX_LEAD, OVERLAP, Precision, precision_of, rung

# What a server does with `_lastUpdated` that leaves broad pulls only.
MISLEADING: tuple[Filter, ...] = ("ignored", "empty", "broken")


@dataclass(frozen=True)
class Advice:
    """What is known of one resource type of one connection.

    Parameters
    ----------
    last_mode : str or None
        The mode of the last run that was done.
    last_run : datetime or None
        When it began, by our clock.
    filter : str
        How the server was last seen to treat `_lastUpdated`.
    precision : {"millisecond", "second", "date"}
        The finest that the server was last seen to take.
    next_broad : datetime or None
        When a broad pull is due; None: not known, so it is due now.
    interval : timedelta or None
        The ladder's rung that the last broad pull set, nothing when it set none.
    overlap : timedelta
        How far before lastCheck an update asks.
    not_before : datetime or None
        A wait that the server asked for and no later run has ended.
    held : frozenset of str
        Ids that the last broad pull missed and did not believe to be gone, or did not come to ask for.
    """

    last_mode: Mode | None = None
    last_run: datetime | None = None
    filter: Filter = "unknown"
    precision: Precision = "millisecond"
    next_broad: datetime | None = None
    interval: timedelta | None = None
    overlap: timedelta = OVERLAP
    not_before: datetime | None = None
    held: frozenset[str] = frozenset()

    def broad_is_due(self, now: datetime) -> bool:
        """Say whether updates have been relied on for long enough.

        Parameters
        ----------
        now : datetime
            Our clock, aware.
        """
        return self.next_broad is None or self.next_broad <= now

    @property
    def misled(self) -> bool:
        """Whether the server was last seen to do something else with `_lastUpdated` than filter by it."""
        return self.filter in MISLEADING


def advice_from(
    rows: Iterable[Mapping[str, Any]], resource_type: str, now: datetime, fingerprint: str | None = None
) -> Advice:
    """Read the advice for one resource type out of a connection's ledger rows.

    Parameters
    ----------
    rows : iterable of mapping
        Ledger rows of one connection, in any order.
    resource_type : str
        Which type.
    now : datetime
        Our clock, aware. Rows of runs that began after it were written while that clock was wrong: they count for
        nothing, so that what they say of dates blinds no later run.
    fingerprint : str, optional
        Of the query: what was learnt by another scope does not count. A wait does, whoever was told of it.
    """
    mine = [row for row in rows if row["resource_type"] == resource_type and row["started_at"] <= now + MAX_LEAD]
    mine.sort(key=lambda row: row["started_at"])
    done = [row for row in mine if row["outcome"] == "done"]
    if fingerprint is not None:
        done = [row for row in done if row["query_fingerprint"] == fingerprint]
    waits = mine[-1]["not_before"] if mine and mine[-1]["outcome"] == "waiting" else None
    waits = waits if within_reach(waits, now) else None
    if not done:
        return Advice(not_before=waits)
    next_broad, interval = _broad_date(done)
    return Advice(
        last_mode=done[-1]["mode"],
        last_run=done[-1]["started_at"],
        filter=done[-1]["filter"],
        precision=_precision(done),
        next_broad=next_broad,
        interval=interval,
        overlap=timedelta(seconds=max(OVERLAP / timedelta(seconds=1), *(row["overlap_s"] for row in done))),
        not_before=waits,
        held=_held(done),
    )


def _precision(done: list[Mapping[str, Any]]) -> Precision:
    """Return the precision of the newest update that was answered."""
    queries = (row["query"] or "" for row in reversed(done))
    return next((found for query in queries if (found := precision_of(query))), "millisecond")


def _held(done: list[Mapping[str, Any]]) -> frozenset[str]:
    """Return the ids that the last broad pull held, or the last read of a type that is always read whole."""
    for row in reversed(done):
        if row["mode"] in ("first", "broad") or "?" not in (row["query"] or "?"):
            differences = json.loads(row["differences"])
            return frozenset(found["resource_id"] for found in differences if found["kind"] == "held")
    return frozenset()


def _broad_date(done: list[Mapping[str, Any]]) -> tuple[datetime | None, timedelta | None]:
    """Return when the last run said that the next broad pull is due, and which rung the last broad pull set."""
    for row in reversed(done):
        if row["mode"] in ("first", "broad") and row["next_broad"]:
            newest = done[-1]["next_broad"] or row["next_broad"]
            return min(newest, row["next_broad"]), rung(row["next_broad"] - row["started_at"])
    return None, None
