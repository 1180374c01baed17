"""`_lastUpdated` against ranges counted out in milliseconds."""

from __future__ import annotations

from calendar import monthrange
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s4s_lab.sandbox.fhir.moments import parse_moment

PREFIXES = ("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")
PRECISIONS = ("year", "month", "day", "minute", "second", "1", "2", "3")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
moments = st.datetimes(datetime(2001, 1, 1), datetime(2029, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda one: one.replace(microsecond=one.microsecond // 1000 * 1000)
)


def range_of(moment: datetime, precision: str, offset_minutes: int) -> tuple[str, datetime, datetime]:
    """A date of a precision that holds a moment, as written at an offset, with its first and last millisecond."""
    local = moment + timedelta(minutes=offset_minutes)
    zone = f"{'-' if offset_minutes < 0 else '+'}{abs(offset_minutes) // 60:02d}:{abs(offset_minutes) % 60:02d}"
    if precision == "year":
        text, low, high = (
            f"{moment:%Y}",
            datetime(moment.year, 1, 1, tzinfo=UTC),
            datetime(moment.year, 12, 31, tzinfo=UTC),
        )
        return text, low, high + timedelta(hours=24, milliseconds=-1)
    if precision == "month":
        low = datetime(moment.year, moment.month, 1, tzinfo=UTC)
        return f"{moment:%Y-%m}", low, low + timedelta(days=monthrange(moment.year, moment.month)[1], milliseconds=-1)
    if precision == "day":
        low = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        return f"{moment:%Y-%m-%d}", low, low + timedelta(hours=24, milliseconds=-1)
    if precision == "minute":
        low = moment.replace(second=0, microsecond=0)
        return f"{local:%Y-%m-%dT%H:%M}{zone}", low, low + timedelta(seconds=60, milliseconds=-1)
    low = moment.replace(microsecond=0)
    if precision == "second":
        return f"{local:%Y-%m-%dT%H:%M:%S}{zone}", low, low + timedelta(milliseconds=999)
    digits = f"{moment.microsecond // 1000:03d}"[: int(precision)]
    low += timedelta(milliseconds=int(digits.ljust(3, "0")))
    length = 10 ** (3 - int(precision))
    return f"{local:%Y-%m-%dT%H:%M:%S}.{digits}{zone}", low, low + timedelta(milliseconds=length - 1)


def expected(prefix: str, moment: datetime, low: datetime, high: datetime) -> bool:
    """FHIR's rules, for an instant that is one millisecond: inside, above or below the range's milliseconds."""
    inside, above, below = low <= moment <= high, moment > high, moment < low
    return {
        "": inside, "eq": inside, "ne": not inside, "gt": above, "lt": below, "ge": inside or above,
        "le": inside or below, "sa": above, "eb": below,
    }[prefix]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(named=moments, offset=st.integers(-14 * 60, 14 * 60))
@example(named=datetime(2024, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), offset=0)
@example(named=datetime(2024, 2, 29, tzinfo=UTC), offset=-300)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_range_holds_what_its_milliseconds_say(precision: str, named: datetime, offset: int) -> None:
    text, low, high = range_of(named, precision, offset)
    near = [edge + timedelta(milliseconds=shift) for edge in (low, high) for shift in (-2, -1, 0, 1, 2)]
    for prefix in PREFIXES:
        wanted = parse_moment(prefix + text)
        for moment in (named, *near):
            assert wanted.holds(moment, now=NOW) == expected(prefix, moment, low, high), (prefix, moment)


@given(st.text())
def test_any_text_is_a_range_or_refused(text: str) -> None:
    with suppress(ValueError):
        wanted = parse_moment(text)
        assert wanted.low < wanted.high


@pytest.mark.parametrize("text", ["9999", "9999-12", "9999-12-31", "9999-12-31T23:59:59.999Z", "0001", "0001-01-01"])
@pytest.mark.parametrize("prefix", [*PREFIXES, "ap"])
def test_the_ends_of_time_do_not_break_it(text: str, prefix: str) -> None:
    inside = datetime(int(text[:4]), 6, 1, tzinfo=UTC)
    wanted = parse_moment(prefix + text)
    assert wanted.holds(inside, now=NOW) in (True, False)
    assert wanted.low.year == int(text[:4])


@pytest.mark.parametrize(
    ("value", "moment", "holds"),
    [
        ("ap2026-11-14", datetime(2026, 11, 14, 12, tzinfo=UTC), True),
        ("ap2026-11-14", datetime(2026, 11, 15, 20, tzinfo=UTC), True),
        ("ap2026-11-14", datetime(2026, 11, 13, 2, tzinfo=UTC), True),
        ("ap2026-11-14", datetime(2026, 11, 16, 1, tzinfo=UTC), False),
        ("ap2026-11-14", datetime(2026, 11, 12, 23, tzinfo=UTC), False),
    ],
)
def test_approximately_is_within_a_tenth_of_the_distance_from_now(value: str, moment: datetime, holds: bool) -> None:
    assert parse_moment(value).holds(moment, now=NOW) is holds
