"""Instants: any spelling in, UTC milliseconds out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.values.instants import (
    format_instant,
    from_millis,
    parse_date,
    parse_date_time,
    parse_http_date,
    to_millis,
    utc_now,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-04-01T02:52:32.000Z", datetime(2016, 4, 1, 2, 52, 32, tzinfo=UTC)),
        ("2016-04-01T02:52:32Z", datetime(2016, 4, 1, 2, 52, 32, tzinfo=UTC)),
        ("2016-04-01T02:52:32.5Z", datetime(2016, 4, 1, 2, 52, 32, 500_000, tzinfo=UTC)),
        ("2021-05-17T14:05:01.5014569+00:00", datetime(2021, 5, 17, 14, 5, 1, 501_000, tzinfo=UTC)),
        ("2016-04-01T02:52:32.999999999Z", datetime(2016, 4, 1, 2, 52, 32, 999_000, tzinfo=UTC)),
        ("2016-04-01T02:52:32-05:00", datetime(2016, 4, 1, 7, 52, 32, tzinfo=UTC)),
        ("2016-04-01T02:52:32+13:45", datetime(2016, 3, 31, 13, 7, 32, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("9999-12-31T00:00:00.000+00:00", datetime(9999, 12, 31, tzinfo=UTC)),
        ("2016", datetime(2016, 1, 1, tzinfo=UTC)),
        ("2016-04", datetime(2016, 4, 1, tzinfo=UTC)),
        (" 2016-04-16 ", datetime(2016, 4, 16, tzinfo=UTC)),
    ],
)
def test_every_spelling_gives_the_first_moment_it_names(text: str, expected: datetime) -> None:
    assert parse_date_time(text) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "IGNORED_FIELD", "2016-13-01", "2016-02-30", "16-04-01", "2016-04-01T25:00:00Z",
             "2016-04-01 02:52:32", "٢٠١٦", "9999-12-31T23:00:00-05:00"]
)  # fmt: skip
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_date_time(text)


def test_a_date_is_the_day_the_text_names_without_a_shift_of_zone() -> None:
    assert parse_date("2016-04-01T23:30:00-05:00") == date(2016, 4, 1)
    assert parse_date("1965-05") == date(1965, 5, 1)
    with pytest.raises(ValueError, match="no FHIR date"):
        parse_date("05/1965")


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
    ids=["IMF-fixdate", "RFC 850", "asctime"],
)
def test_an_http_date_is_read_in_its_three_forms(text: str) -> None:
    assert parse_http_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "300", "Sun, 99 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 -1400"]
)
def test_what_is_no_http_date_is_none(text: str) -> None:
    assert parse_http_date(text) is None


def test_an_instant_is_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2016, 4, 1, 4, 52, 32, 7_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_instant(moment) == "2016-04-01T02:52:32.007Z"


@given(st.integers(-2_208_988_800_000_000, 7_258_118_400_000_000))
def test_writing_and_reading_an_instant_keeps_its_milliseconds(micros: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert parse_date_time(format_instant(moment)) == cut
    assert from_millis(to_millis(moment)) == cut


def test_our_own_clock_is_cut_at_milliseconds() -> None:
    assert utc_now().microsecond % 1000 == 0
    assert utc_now().tzinfo is UTC
