"""Dates, dateTimes and times as FHIR writes them: text of any precision, compared and bounded without losing it."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime

from s4s_lab.values.instants import parse_date_time

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?P<time>T(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_TIME = re.compile(r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?", re.ASCII)
# The first and the last zone on earth, for a text that names none.
_LOW = {"month": "01", "hour": "00", "minute": "00", "second": "00", "fraction": "000", "zone": "+14:00"}
_HIGH = {"month": "12", "hour": "23", "minute": "59", "second": "59", "fraction": "999", "zone": "-12:00"}


class Moment(str):
    """Text that is known to be a date, dateTime, instant or time: a literal or constant of a view."""

    __slots__ = ()


def _filled(match: re.Match[str], missing: dict[str, str], *, high: bool) -> dict[str, str]:
    said = {name: text for name, text in match.groupdict().items() if text is not None}
    part = missing | said
    if "fraction" in said:
        part["fraction"] = said["fraction"][:3].ljust(3, "9" if high else "0")
    if "year" in said and "day" not in said:
        month = min(max(int(part["month"]), 1), 12)
        part["day"] = str(monthrange(max(int(part["year"]), 1), month)[1]) if high else "01"
    return part


def boundary(text: str, *, high: bool, fhir_type: str | None) -> str | None:
    """Return the first or last moment that `text` can mean, as text, or None when it is no date or time.

    Parameters
    ----------
    text : str
        A FHIR date, dateTime, instant or time of any precision.
    high : bool
        The last moment instead of the first.
    fhir_type : str, optional
        `dateTime` or `instant` when the element is known to be one: a bare date then reaches over all zones.

    Returns
    -------
    str or None
        Of the type's full precision: days, or milliseconds with an offset.

    References
    ----------
    FHIRPath, "Utility functions": lowBoundary, highBoundary.
    """
    missing = _HIGH if high else _LOW
    if match := _TIME.fullmatch(text):
        part = _filled(match, missing, high=high)
        return "{hour}:{minute}:{second}.{fraction}".format_map(part)
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    part = _filled(match, missing, high=high)
    date = "{year}-{month}-{day}".format_map(part)
    if match["time"] is None and fhir_type not in ("dateTime", "instant"):
        return date
    return date + "T{hour}:{minute}:{second}.{fraction}{zone}".format_map(part)


def _span(text: str) -> tuple[datetime, datetime] | None:
    """Return the first and last millisecond of `text`; a missing offset counts as UTC."""
    moment = f"2000-01-01T{text}" if _TIME.fullmatch(text) else text
    match = _DATE_TIME.fullmatch(moment)
    if match is None:
        return None
    ends = []
    for missing, high in ((_LOW, False), (_HIGH, True)):
        part = _filled(match, missing | {"zone": "Z"}, high=high)
        form = "{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction}{zone}".format_map(part)
        try:
            ends.append(parse_date_time(form))
        except ValueError:
            return None
    return ends[0], ends[1]


def order(left: str, right: str) -> int | None:
    """Compare two moments: -1, 0 or 1; None when their precision leaves it open, or one is no moment.

    Parameters
    ----------
    left, right : str
        FHIR dates, dateTimes, instants or times; a missing offset counts as UTC.

    References
    ----------
    FHIRPath N1, "Date/Time Equality" and "Comparison": an uncertain comparison is empty.
    """
    a, b = _span(left), _span(right)
    if a is None or b is None:
        return None
    if a == b:
        return 0
    if a[1] < b[0]:
        return -1
    return 1 if a[0] > b[1] else None


def is_moment(text: str) -> bool:
    """Say whether a text has the form of a date of full precision, with or without a time.

    Parameters
    ----------
    text : str
        Any text.
    """
    match = _DATE_TIME.fullmatch(text)
    return match is not None and match["day"] is not None
