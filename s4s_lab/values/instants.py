"""FHIR instants, dateTimes and dates, HTTP dates: text to aware UTC values, cut at milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_UTC = (None, "Z", "+00:00")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _zone_offset(zone: str) -> timedelta:
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))


def parse_date_time(text: str) -> datetime:
    """Parse a FHIR date, dateTime or instant to the first moment it names.

    Missing parts are the earliest ones, a missing offset counts as UTC, fractions of any length are cut (never rounded)
    at milliseconds, second 60 becomes 59.999.

    Parameters
    ----------
    text : str
        A date, dateTime or instant; white space around it is left out.

    Returns
    -------
    datetime
        Aware, UTC, whole milliseconds.

    Raises
    ------
    ValueError
        If `text` has another form, or lies outside the years 1 to 9999 in UTC.

    References
    ----------
    FHIR STU3, "Data types": date, dateTime, instant.
    """
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no FHIR date, dateTime or instant")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    millisecond = int(fraction[:3].ljust(3, "0")) if fraction else 0
    if second == "60":
        second, millisecond = "59", 999
    local = datetime(
        int(year), int(month or 1), int(day or 1),
        int(hour or 0), int(minute or 0), int(second or 0), millisecond * 1000, tzinfo=UTC,
    )  # fmt: skip
    if zone in _UTC:
        return local
    try:
        return local - _zone_offset(zone)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999 in UTC") from None


def parse_date(text: str) -> date:
    """Parse a FHIR date or dateTime to the first day that the text names, without any shift of zone.

    Parameters
    ----------
    text : str
        A date or dateTime.

    Raises
    ------
    ValueError
        If `text` has another form.
    """
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no FHIR date or dateTime")
    return date(int(match["year"]), int(match["month"] or 1), int(match["day"] or 1))


def parse_http_date(text: str) -> datetime | None:
    """Parse an HTTP date (`Date`, `Retry-After`) in any of its three forms; None when it is none of them.

    Parameters
    ----------
    text : str
        The value of a header; 64 characters of it count.

    References
    ----------
    RFC 9110, section 5.6.7.
    """
    try:
        moment = parsedate_to_datetime(text.strip()[:64])
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def format_instant(moment: datetime) -> str:
    """Write an aware datetime as a FHIR instant in UTC with milliseconds, such as `2016-04-01T02:52:32.000Z`.

    Parameters
    ----------
    moment : datetime
        Aware, in any zone; cut at milliseconds.

    References
    ----------
    S4S imaging page: `lastCheck` is a FHIR instant; a `+` in an offset would need escaping in a URL, `Z` does not.
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_millis(moment: datetime) -> int:
    """Return whole milliseconds since 1970-01-01 UTC, cut.

    Parameters
    ----------
    moment : datetime
        Aware.
    """
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_millis(millis: int) -> datetime:
    """Return the aware UTC datetime of milliseconds since 1970-01-01 UTC.

    Parameters
    ----------
    millis : int
        Milliseconds since 1970-01-01 UTC; may be negative.
    """
    return EPOCH + timedelta(milliseconds=millis)


def utc_now() -> datetime:
    """Return this machine's clock, aware, UTC, cut at milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
