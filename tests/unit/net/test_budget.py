"""Retry-After in twenty forms under wrong clocks, and the one budget that a client's waits are taken from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from s4s_lab.net import Patience, Wait, retry_after
from s4s_lab.net.waiting import Budget, pause_before_repeating

SERVER = datetime(2016, 4, 15, 10, 0, 0, tzinfo=UTC)
STAMP = "Fri, 15 Apr 2016 10:00:00 GMT"
SKEWS = [timedelta(), timedelta(hours=1), timedelta(hours=-1), timedelta(days=365), timedelta(days=-365)]
# What RFC 9110 (sections 10.2.3 and 5.6.7) and real servers make of "in two minutes"; None: it says nothing.
FORMS: list[tuple[str | None, float | None]] = [
    ("120", 120), (" 120\t", 120), ("000120", 120), ("119.2", 120), ("120.0", 120),
    ("Fri, 15 Apr 2016 10:02:00 GMT", 120), ("Friday, 15-Apr-16 10:02:00 GMT", 120),
    ("Fri Apr 15 10:02:00 2016", 120), ("Fri, 15 Apr 2016 12:02:00 +0200", 120), ("15 Apr 2016 10:02:00 GMT", 120),
    ("fri, 15 apr 2016 10:02:00 gmt", 120), ("0", 0), ("Fri, 15 Apr 2016 09:00:00 GMT", 0),
    ("-120", None), ("+120", None), ("120 s", None), ("120, 60", None), ("0x78", None), ("soon", None), ("", None),
    (None, None), ("9" * 400, None), ("Fri, 31 Feb 2016 10:02:00 GMT", None),
]  # fmt: skip


@pytest.mark.parametrize("skew", SKEWS, ids=str)
@pytest.mark.parametrize(("value", "seconds"), FORMS)
def test_retry_after_means_the_same_whatever_our_clock_says(
    value: str | None, seconds: float | None, skew: timedelta
) -> None:
    assert retry_after(value, date=STAMP, now=SERVER + skew) == seconds


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 32 Apr 2016 10:00:00 GMT"])
@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_without_the_servers_clock_ours_is_used_and_the_pause_stays_in_bounds(
    date: str | None, skew: timedelta
) -> None:
    seconds = retry_after("Fri, 15 Apr 2016 10:02:00 GMT", date=date, now=SERVER + skew)
    assert seconds == max(0.0, 120 - skew.total_seconds())
    pause = pause_before_repeating(503, seconds, earlier=0, spread=1.0)
    assert pause is not None
    assert max(seconds, 1.0) <= pause <= max(seconds, 1.0) + 30


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(seconds: float) -> Wait:
    return Wait(seconds, "it is busy", "https://ehr.example/fhir")


def test_waits_one_after_the_other_add_up() -> None:
    clock = Clock()
    budget = Budget(Patience(budget_s=100, sleep=clock.sleep), clock=clock)
    assert [budget.wait(wait(seconds)) for seconds in (60, 50, 40, 1)] == [True, False, True, False]
    assert clock.now == 1100


def test_waits_at_the_same_time_count_once() -> None:
    clock = Clock()
    results: list[bool | None] = []

    def others(_: float) -> None:
        # While 60 s go on, three threads begin waits of their own; after 10 s one of them is 20 s longer.
        if not results:
            results.append(None)
            results.extend(budget.wait(wait(seconds)) for seconds in (60, 30))
            clock.now += 10
            results.extend(budget.wait(wait(seconds)) for seconds in (70, 51))

    budget = Budget(Patience(budget_s=70, sleep=others), clock=clock)
    assert budget.wait(wait(60))
    assert results[1:] == [True, True, False, True]
    assert not budget.allows(9.5)
    assert budget.allows(9)


def test_a_wait_that_is_broken_off_leaves_nothing_behind() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    clock = Clock()
    budget = Budget(Patience(budget_s=100, sleep=interrupted), clock=clock)
    with pytest.raises(KeyboardInterrupt):
        budget.wait(wait(60))
    assert not budget.allows(50)
    assert budget.allows(40)


def test_more_than_an_hour_is_never_sat_out() -> None:
    budget = Budget(Patience(budget_s=1e9, sleep=lambda _: None))
    assert [budget.wait(wait(3600)), budget.wait(wait(3600.5)), budget.allows(3601)] == [True, False, False]


def test_a_day_of_a_busy_server_takes_a_day_of_budget() -> None:
    clock = Clock()
    budget = Budget(Patience(budget_s=86_400, sleep=clock.sleep), clock=clock)
    count = 0
    while budget.wait(wait(pause_before_repeating(503, None, earlier=count, spread=0.5) or 0)):
        count += 1
    assert 86_300 < clock.now - 1000 <= 86_400
    assert 1900 < count < 2000
