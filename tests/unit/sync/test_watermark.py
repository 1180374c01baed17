"""lastCheck: from the server's clock, asked from a little earlier, never from ours while the server sends one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.sync.watermark import (
    LADDER,
    MAX_OVERLAP,
    OVERLAP,
    PRECISIONS,
    Precision,
    Seen,
    is_ahead,
    next_interval,
    precision_of,
    rung,
    seen_until,
    since,
    widened,
    with_jitter,
)
from s4s_lab.values.instants import parse_date_time

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_the_date_header_less_the_time_of_the_answer_and_its_resolution_counts() -> None:
    seen = seen_until(date=NOON, bundle_time=None, elapsed_s=2.5, now=NOON + 3 * DAY)
    assert seen.instant == NOON - timedelta(seconds=3.5)
    assert seen.by_server
    assert seen.present == NOON


def test_a_cached_search_counts_from_its_own_time() -> None:
    cached = NOON - timedelta(hours=1)
    assert seen_until(date=NOON, bundle_time=cached, elapsed_s=0, now=NOON).instant == cached


def test_a_bundle_time_after_the_date_does_not_move_it_forward() -> None:
    later = NOON + timedelta(minutes=5)
    assert seen_until(date=NOON, bundle_time=later, elapsed_s=0, now=NOON).instant == NOON - timedelta(seconds=1)


def test_a_clock_far_ahead_of_ours_counts_as_none() -> None:
    seen = seen_until(date=NOON + timedelta(minutes=12), bundle_time=None, elapsed_s=1, now=NOON)
    assert seen.instant == NOON - timedelta(seconds=61)
    assert not seen.by_server
    assert seen.present is None


def test_a_clock_a_little_ahead_of_ours_is_believed() -> None:
    seen = seen_until(date=NOON + timedelta(minutes=9), bundle_time=None, elapsed_s=0, now=NOON)
    assert seen.by_server
    assert seen.instant == NOON + timedelta(minutes=9) - timedelta(seconds=1)


@pytest.mark.parametrize("text", ["0001-01-01", "0001-01-01T00:10:00Z", "1970-01-01"])
def test_a_clock_that_was_never_set_counts_as_none(text: str) -> None:
    never = parse_date_time(text)
    beside = seen_until(date=NOON, bundle_time=never, elapsed_s=0, now=NOON)
    assert (beside.instant, beside.by_server) == (NOON - timedelta(seconds=1), True)
    alone = seen_until(date=never, bundle_time=never, elapsed_s=2, now=NOON)
    assert (alone.instant, alone.by_server, alone.present) == (NOON - timedelta(seconds=62), False, None)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_is_asked_from_before_the_first_moment_there_is(precision: Precision) -> None:
    asked = since(datetime.min.replace(tzinfo=UTC), MAX_OVERLAP, precision)
    assert asked.startswith("gt0001-01-01")


def test_without_any_clock_ours_stands_in_less_a_minute() -> None:
    seen = seen_until(date=None, bundle_time=None, elapsed_s=0, now=NOON)
    assert (seen.instant, seen.by_server) == (NOON - timedelta(seconds=60), False)


def test_an_update_asks_in_milliseconds_with_z_from_the_overlap_on() -> None:
    moment = datetime(2016, 4, 1, 2, 52, 32, 7000, tzinfo=UTC)
    assert since(moment, OVERLAP) == "gt2016-04-01T02:47:32.007Z"
    assert since(moment, OVERLAP, "second") == "gt2016-04-01T02:47:31Z"


def test_a_date_is_asked_from_the_day_before_since_gt_means_after_its_end() -> None:
    just_after_midnight = datetime(2016, 4, 16, 0, 2, tzinfo=UTC)
    assert since(just_after_midnight, OVERLAP, "date") == "gt2016-04-14"


@pytest.mark.parametrize("precision", ["millisecond", "second", "date"])
@given(offset_s=st.floats(0, 3e9))
def test_whatever_the_precision_nothing_after_the_start_is_left_out(precision: str, offset_s: float) -> None:
    moment = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=offset_s)
    text = since(moment, OVERLAP, precision)[2:]  # type: ignore[arg-type]  # the three values of the Literal
    unit = {"millisecond": timedelta(milliseconds=1), "second": timedelta(seconds=1), "date": DAY}[precision]
    end_of_named_period = datetime.fromisoformat(text).replace(tzinfo=UTC) + unit
    assert end_of_named_period <= moment - OVERLAP + timedelta(milliseconds=1)


def test_the_ladder_climbs_to_a_year_and_starts_anew_when_something_was_late() -> None:
    steps: list[timedelta] = []
    for _ in range(6):
        steps.append(next_interval(steps[-1] if steps else None, was_due=True, found_late=False))
    assert [step.days for step in steps] == [7, 30, 90, 180, 365, 365]
    assert next_interval(LADDER[3], was_due=True, found_late=True) == timedelta(days=7)


def test_an_interval_between_two_rungs_climbs_to_the_one_above() -> None:
    assert next_interval(timedelta(days=29), was_due=True, found_late=False) == timedelta(days=30)
    assert next_interval(timedelta(days=400), was_due=True, found_late=False) == timedelta(days=365)


def test_a_broad_pull_before_its_time_climbs_nothing() -> None:
    assert next_interval(LADDER[1], was_due=False, found_late=False) == LADDER[1]


@pytest.mark.parametrize(
    ("seen", "minutes", "ahead"),
    [
        (Seen(NOON, by_server=True, present=NOON), 4, False),
        (Seen(NOON, by_server=True, present=NOON), 6, True),
        (Seen(NOON - timedelta(minutes=1), by_server=False), 4, False),
        (Seen(NOON - timedelta(minutes=1), by_server=False), 6, True),
        (Seen(NOON - timedelta(hours=3), by_server=True), 9, False),
        (Seen(NOON - timedelta(hours=3), by_server=True), 11, True),
    ],
)
def test_a_last_check_ahead_of_the_present_by_more_than_the_overlap_is_blind(
    seen: Seen, minutes: int, ahead: bool
) -> None:
    assert is_ahead(NOON + timedelta(minutes=minutes), seen, OVERLAP, NOON) is ahead


def test_the_overlap_widens_to_twice_the_greatest_lag_below_a_day_and_never_shrinks() -> None:
    minute = timedelta(minutes=1)
    assert widened(OVERLAP, []) == OVERLAP
    assert widened(OVERLAP, [6 * minute, 10 * minute]) == 20 * minute
    assert widened(timedelta(hours=1), [6 * minute]) == timedelta(hours=1)
    assert widened(OVERLAP, [23 * 60 * minute]) == DAY
    assert widened(OVERLAP, [DAY, 9 * DAY]) == OVERLAP
    assert widened(timedelta(seconds=1), []) == OVERLAP


def test_jitter_is_within_a_twentieth_and_the_same_for_the_same_cursor() -> None:
    shares = {with_jitter(7 * DAY, f"cursor {number}") / (7 * DAY) for number in range(200)}
    assert len(shares) == 200
    assert 0.95 <= min(shares) < 0.955
    assert 1.045 < max(shares) <= 1.05
    assert with_jitter(7 * DAY, "a") == with_jitter(7 * DAY, "a")
    assert with_jitter(7 * DAY, "a") / 7 != with_jitter(30 * DAY, "a") / 30


@pytest.mark.parametrize("step", LADDER)
def test_a_rung_is_known_again_whatever_its_jitter(step: timedelta) -> None:
    assert {rung(with_jitter(step, f"cursor {number}")) for number in range(200)} == {step}


def test_the_ladder_stops_at_its_ceiling_and_starts_below_its_first_rung() -> None:
    assert next_interval(LADDER[1], was_due=True, found_late=False, ceiling=LADDER[1]) == LADDER[1]
    assert next_interval(LADDER[3], was_due=False, found_late=False, ceiling=LADDER[1]) == LADDER[1]
    assert next_interval(timedelta(), was_due=True, found_late=False) == LADDER[0]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_precision_of_a_query_is_read_back(precision: Precision) -> None:
    assert precision_of(f"ImagingStudy?patient=x&_lastUpdated={since(NOON, OVERLAP, precision)}") == precision
    assert precision_of("ImagingStudy?patient=x") is None
