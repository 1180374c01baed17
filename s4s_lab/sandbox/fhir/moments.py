"""`_lastUpdated`: a prefix and a date of any precision, compared as FHIR compares ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from s4s_lab.values.instants import parse_date_time

_VALUE = re.compile(
    r"(?P<prefix>eq|ne|gt|lt|ge|le|sa|eb|ap)?"
    r"(?P<date>\d{4}(?P<month>-\d\d(?P<day>-\d\d(?P<minute>T\d\d:\d\d(?P<second>:\d\d(?P<fraction>\.\d+)?)?"
    r"(?:Z|[+-]\d\d:\d\d)?)?)?)?)",
    re.ASCII,
)
_MILLISECOND = timedelta(milliseconds=1)
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class MomentRange:
    """A prefix, and the moments that a date names: from `low` until just before `high`.

    Parameters
    ----------
    prefix : str
        One of eq ne gt lt ge le sa eb ap.
    low, high : datetime
        Aware, UTC.

    References
    ----------
    FHIR STU3, "Search": prefixes for number, date and quantity.
    """

    prefix: str
    low: datetime
    high: datetime

    def holds(self, moment: datetime, *, now: datetime) -> bool:
        """Say whether a resource's instant satisfies this.

        An instant is itself a range, one millisecond long.

        Parameters
        ----------
        moment : datetime
            `meta.lastUpdated`.
        now : datetime
            For `ap`, which widens the range by a tenth of its distance from now.
        """
        low, high = moment, moment + _MILLISECOND
        contained = self.low <= low and high <= self.high
        slack = abs(now - self.low) / 10
        answers = {
            "eq": contained,
            "ne": not contained,
            "gt": high > self.high,
            "lt": low < self.low,
            "ge": high > self.high or contained,
            "le": low < self.low or contained,
            "sa": low >= self.high,
            "eb": high <= self.low,
            "ap": low < self.high + min(slack, _LAST - self.high) and high > self.low - min(slack, self.low - _FIRST),
        }
        return answers[self.prefix]


_FIRST = datetime.min.replace(tzinfo=UTC)


def _end(start: datetime, found: re.Match[str]) -> datetime:
    if found["fraction"]:
        return start + max(timedelta(seconds=10.0 ** (1 - len(found["fraction"]))), _MILLISECOND)
    for part, length in (
        ("second", timedelta(seconds=1)),
        ("minute", timedelta(minutes=1)),
        ("day", timedelta(days=1)),
    ):
        if found[part]:
            return start + length
    months = start.year * 12 + start.month + (0 if found["month"] else 11)
    return start.replace(year=months // 12, month=months % 12 + 1)


def parse_moment(text: str) -> MomentRange:
    """Read one value of `_lastUpdated`, such as `gt2016-04-01T02:52:32.000Z`; without an offset, UTC is meant.

    Parameters
    ----------
    text : str
        Prefix and date, decoded from the URL.

    Raises
    ------
    ValueError
        If it is none; a `+` that was not escaped arrives as a space and is no part of a date.
    """
    found = _VALUE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:64]!r} is no date with an optional prefix; write + as %2B, or use Z")
    low = parse_date_time(found["date"])
    try:
        high = _end(low, found)
    except (OverflowError, ValueError):
        high = _LAST
    return MomentRange(found["prefix"] or "eq", low, high)
