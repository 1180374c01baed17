"""lastCheck: which instant a pull may keep, what the next one asks from, when a broad pull is due. Pure functions.

The update query of the S4S imaging page loses data when it is taken to the letter: `gt` with a date means "after the
end of that day", servers commit rows late, and clocks differ. So lastCheck is the server's own clock at the start of
the first page, it goes back on the wire in milliseconds, and the query asks from some minutes before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from s4s_lab.values.instants import format_instant, from_millis, to_millis

Precision = Literal["millisecond", "second", "date"]
PRECISIONS: tuple[Precision, ...] = ("millisecond", "second", "date")

# Servers are known to show rows up to 120 s after their lastUpdated: twice that, and a minute for clocks in a cluster.
OVERLAP = timedelta(seconds=300)
MAX_OVERLAP = timedelta(days=1)
# A server clock further ahead of ours than this is broken: believing it would blind later updates.
MAX_LEAD = timedelta(minutes=10)
# No server is older than HTTP: an earlier clock was never set, such as .NET's default of the year 1.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_BEGINNING = datetime.min.replace(tzinfo=UTC)
# `Date` has whole seconds, so it may name a second that has just begun.
DATE_RESOLUTION = timedelta(seconds=1)
NO_CLOCK_MARGIN = timedelta(seconds=60)
# The S4S page repeats the broad query "e.g. yearly"; systematic losses should show within the first week.
LADDER = tuple(timedelta(days=days) for days in (7, 30, 90, 180, 365))
# Where `_lastUpdated` means the study's own date, only broad pulls find what arrives late.
STARTED_LIKE_CEILING = timedelta(days=30)
# Many cursors of one server shall not come due on the same day.
JITTER = 0.05


@dataclass(frozen=True)
class Seen:
    """The instant before which the server can be trusted to have shown everything.

    Parameters
    ----------
    instant : datetime
        Aware, UTC.
    by_server : bool
        False when the server sent no usable clock and ours, less a minute, stood in.
    present : datetime or None
        What the server's clock showed, when it can be believed.
    """

    instant: datetime
    by_server: bool
    present: datetime | None = None


def seen_until(*, date: datetime | None, bundle_time: datetime | None, elapsed_s: float, now: datetime) -> Seen:
    """Return which instant the first page of a complete pull stands for.

    Parameters
    ----------
    date : datetime or None
        The answer's `Date` header.
    bundle_time : datetime or None
        `Bundle.meta.lastUpdated`: a cached search reports its original time.
    elapsed_s : float
        Time the answer took [s]: the server may have looked at its data at the start.
    now : datetime
        Our clock when the answer arrived; used only to reject an impossible clock, or when there is none.

    References
    ----------
    S4S imaging page: `lastCheck`. RFC 9110, section 6.6.1 (Date). FHIR STU3, Bundle.meta.
    """
    began = timedelta(seconds=elapsed_s)
    present = _plausible(date, now)
    clocks = [] if present is None else [present - began - DATE_RESOLUTION]
    searched = _plausible(bundle_time, now)
    if searched is not None:
        clocks.append(searched)
    if clocks:
        return Seen(_cut(min(clocks)), by_server=True, present=present)
    return Seen(_cut(now - began - NO_CLOCK_MARGIN), by_server=False)


def _plausible(clock: datetime | None, now: datetime) -> datetime | None:
    return clock if clock is not None and EARLIEST <= clock <= now + MAX_LEAD else None


def before(moment: datetime, span: timedelta) -> datetime:
    """Return the moment a span earlier, or the first one that can be written where that lies before it.

    Parameters
    ----------
    moment : datetime
        Aware; as a server said it, so perhaps of the year 1.
    span : timedelta
        How much earlier.
    """
    return moment - span if moment - _BEGINNING > span else _BEGINNING


def _cut(moment: datetime) -> datetime:
    """Cut at milliseconds: what the log keeps of lastCheck, and the precision of a FHIR instant on the S4S page."""
    return from_millis(to_millis(moment))


def since(last_check: datetime, overlap: timedelta, precision: Precision = "millisecond") -> str:
    """Write the value of `_lastUpdated` for an update: `gt` and the instant `overlap` before `last_check`.

    A date means the end of that day to `gt`, so a server that takes nothing finer is asked from the day before; seconds
    are cut and one is taken off for the same reason.

    Parameters
    ----------
    last_check : datetime
        Up to when everything is known, aware.
    overlap : timedelta
        How far before it to ask.
    precision : {"millisecond", "second", "date"}
        The finest that the server takes.

    References
    ----------
    S4S imaging page, "On periodic-update". FHIR STU3, "Search", prefixes and date parameters.
    """
    start = before(last_check, overlap)
    if precision == "date":
        return f"gt{before(start, timedelta(days=1)).date().isoformat()}"
    if precision == "second":
        whole = before(start.replace(microsecond=0), timedelta(seconds=1))
        return f"gt{format_instant(whole).replace('.000Z', 'Z')}"
    return f"gt{format_instant(start)}"


def precision_of(query: str) -> Precision | None:
    """Return in which precision a query asked for `_lastUpdated`, None when it did not.

    Parameters
    ----------
    query : str
        As the ledger keeps it.
    """
    _, found, instant = query.partition("_lastUpdated=gt")
    if not found:
        return None
    if "T" not in instant:
        return "date"
    return "millisecond" if "." in instant else "second"


def is_ahead(last_check: datetime, seen: Seen, overlap: timedelta, now: datetime) -> bool:
    """Say whether lastCheck lies so far ahead of the server's present that updates would be blind.

    Parameters
    ----------
    last_check : datetime
        As the log has it, aware.
    seen : Seen
        What the server's clock shows now.
    overlap : timedelta
        How far before lastCheck an update asks.
    now : datetime
        Our clock: the last resort, where the server shows none but says when it searched.
    """
    if seen.present is not None:
        return last_check > seen.present + overlap
    if not seen.by_server:
        return last_check > seen.instant + NO_CLOCK_MARGIN + overlap
    return last_check > now + MAX_LEAD


def widened(overlap: timedelta, lags: Iterable[timedelta]) -> timedelta:
    """Return the overlap that would have covered the greatest of the lags below a day; never a narrower one.

    Parameters
    ----------
    overlap : timedelta
        How far before lastCheck updates asked.
    lags : iterable of timedelta
        How long before lastCheck records are stamped that updates should have brought. Lags of a day and more are no
        slow commits but records that were entered late, and are left to broad pulls.
    """
    slow = [2 * lag for lag in lags if lag < MAX_OVERLAP]
    return min(MAX_OVERLAP, max(OVERLAP, overlap, *slow))


def next_interval(
    previous: timedelta | None, *, was_due: bool, found_late: bool, ceiling: timedelta = LADDER[-1]
) -> timedelta:
    """Return how long after this broad pull the next one is due.

    Parameters
    ----------
    previous : timedelta or None
        The interval that the last broad pull set, None when this is the first one.
    was_due : bool
        Whether that interval has passed: a broad pull that comes early proves nothing about a longer one.
    found_late : bool
        Whether the broad pull found what updates should have brought: then the ladder starts anew.
    ceiling : timedelta
        The longest interval that this server's updates are trusted for.
    """
    if not previous or found_late:
        return LADDER[0]
    if not was_due:
        return min(previous, ceiling)
    return min(next((rung for rung in LADDER if rung > previous), LADDER[-1]), ceiling)


def with_jitter(interval: timedelta, cursor: str) -> timedelta:
    """Return an interval up to 5 % shorter or longer: always the same for the same cursor and interval.

    Parameters
    ----------
    interval : timedelta
        A rung of the ladder.
    cursor : str
        The watermark's random id.
    """
    digest = hashlib.sha256(f"{cursor} {interval.days}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 0xFFFFFFFF
    return interval * (1.0 + JITTER * (2.0 * share - 1.0))


def rung(interval: timedelta) -> timedelta:
    """Return the ladder's rung that an interval with its jitter stands for; nothing for less than the first.

    Parameters
    ----------
    interval : timedelta
        From one broad pull to the next.
    """
    shortest = 1.0 - 1.2 * JITTER
    return max((step for step in LADDER if step * shortest <= interval), default=timedelta())
