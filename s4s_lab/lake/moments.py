"""`as_of`: which version of the log a number, a date or an instant names."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta

from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.lake.log import ResourceLog
from s4s_lab.values.instants import format_instant, parse_date_time

AsOf = int | str | date
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_HINT = "Give a version number, a date such as 2026-11-01, or an instant such as 2026-11-01T12:00:00Z."


def version_or_instant(as_of: AsOf) -> int | datetime:
    """Read an `as_of`: a version number, or the last moment that counts.

    Parameters
    ----------
    as_of : int, str, date or datetime
        Digits alone are a version. A date means the end of that day, UTC.

    Raises
    ------
    UsageError
        If it is none of these, or an instant without a time zone.
    """
    if isinstance(as_of, str):
        return _from_text(as_of.strip())
    if isinstance(as_of, datetime):
        if as_of.tzinfo is None:
            raise UsageError("The instant has no time zone.", hint=_HINT)
        return as_of.astimezone(UTC)
    if isinstance(as_of, date):
        return datetime.combine(as_of, time.max, UTC)
    if isinstance(as_of, int) and not isinstance(as_of, bool):
        return as_of
    raise UsageError(f"{as_of!r} names no version of a dataset.", hint=_HINT)


def _from_text(text: str) -> int | datetime:
    if re.fullmatch(r"\d+", text, re.ASCII):
        return int(text)
    try:
        moment = parse_date_time(text)
    except ValueError:
        raise UsageError(f"{text!r} names no version of a dataset.", hint=_HINT) from None
    if _DAY.fullmatch(text):
        return moment + timedelta(days=1) - timedelta(microseconds=1)
    if "T" not in text or not re.search(r"(Z|[+-]\d\d:?\d\d)$", text):
        raise UsageError(f"{text!r} names no single moment.", hint=_HINT)
    return moment


def version_at(log: ResourceLog, as_of: AsOf) -> int:
    """Return the version of the log that was the newest at a moment.

    Parameters
    ----------
    log : ResourceLog
        The log.
    as_of : int, str, date or datetime
        A version, or a moment by the clocks of those who wrote.

    Raises
    ------
    NotInDataset
        If there was no such version, or none yet.
    UsageError
        If `as_of` is neither.
    """
    asked = version_or_instant(as_of)
    newest = log.version
    if isinstance(asked, int):
        if not 0 <= asked <= newest:
            raise NotInDataset(f"The dataset has no version {asked}.", hint=f"Its newest is {newest}.")
        return asked
    version = bisect_right(range(newest + 1), asked, key=log.committed_at) - 1
    if version < 0:
        raise NotInDataset(
            f"The dataset was made after {format_instant(asked)}.",
            hint=f"Its first version is of {format_instant(log.committed_at(0))}.",
        )
    return version


def until(log: ResourceLog, as_of: AsOf) -> datetime | None:
    """Return the last moment that an `as_of` covers, None when that is now.

    Parameters
    ----------
    log : ResourceLog
        The log.
    as_of : int, str, date or datetime
        A version covers the time until the next one.

    Raises
    ------
    NotInDataset
        If there was no such version, or none yet.
    """
    version = version_at(log, as_of)
    asked = version_or_instant(as_of)
    if isinstance(asked, datetime):
        return asked
    return None if version == log.version else log.committed_at(version + 1) - timedelta(milliseconds=1)
