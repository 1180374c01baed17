"""When everything is asked for again, and up to when earlier runs should have brought everything."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from s4s_lab.sync import onetype
from s4s_lab.sync.advice import Advice
from s4s_lab.sync.asking import Asked
from s4s_lab.sync.compare import Comparison
from s4s_lab.sync.listing import Listing
from s4s_lab.sync.reports import Filter
from s4s_lab.sync.settling import Settled
from s4s_lab.sync.watermark import OVERLAP, Seen
from s4s_lab.values.instants import utc_now

DAY = timedelta(days=1)
NOTHING = Settled(Comparison(), {})


def listing(*, by_server: bool = True, present: datetime | None = None) -> Listing:
    """Give an empty listing: only its clock counts here."""
    return Listing((), cast("Any", None), Seen(utc_now(), by_server=by_server, present=present))


def climbing(behaviour: Filter = "honoured", settled: Settled = NOTHING, **more: Any) -> float:
    """Give in how many days a due broad pull at the rung of 90 days sets the next one."""
    advice = Advice(last_mode="update", interval=90 * DAY, next_broad=utc_now() - DAY)
    answered = more.pop("answered", True)
    asked = Asked("broad", behaviour, utc_now())
    moment = onetype._next_broad(asked, advice, settled, listing(**more), "c" * 32, answered=answered)
    assert moment is not None
    return (moment - utc_now()) / DAY


def test_a_due_broad_pull_that_finds_nothing_late_climbs() -> None:
    assert climbing() == pytest.approx(180, rel=0.051)


def test_without_the_servers_clock_the_ladder_starts_anew() -> None:
    assert climbing(by_server=False) == pytest.approx(7, rel=0.051)


def test_a_server_that_goes_by_another_date_is_not_left_for_longer_than_a_month() -> None:
    assert climbing("started-like") == pytest.approx(30, rel=0.051)


def test_what_is_late_starts_the_ladder_anew() -> None:
    late = Settled(Comparison(), {}, late={"a": DAY})
    assert climbing(settled=late) == pytest.approx(7, rel=0.051)


@pytest.mark.parametrize("behaviour", ["ignored", "empty", "broken"])
def test_a_server_that_misleads_is_pulled_broad_at_the_next_run(behaviour: Filter) -> None:
    assert climbing(behaviour) == pytest.approx(0, abs=0.001)


def test_what_is_held_or_could_not_be_asked_for_is_looked_at_soon() -> None:
    assert climbing(settled=Settled(Comparison(), {}, held=("a",))) == pytest.approx(1, abs=0.001)
    assert climbing(answered=False) == pytest.approx(1, abs=0.001)
    assert climbing(settled=Settled(Comparison(), {}, unasked=("a",))) == pytest.approx(0, abs=0.001)


def test_an_update_leaves_the_date_unless_the_server_is_found_to_go_by_another_one() -> None:
    far = utc_now() + 300 * DAY
    advice = Advice(last_mode="broad", next_broad=far)
    dates = [
        onetype._next_broad(Asked("update", behaviour, utc_now()), advice, NOTHING, listing(), "c", answered=True)
        for behaviour in cast("list[Filter]", ["honoured", "started-like", "ignored"])
    ]
    assert dates[0] == far
    nearer = [(moment - utc_now()) / DAY for moment in dates[1:] if moment]
    assert nearer == [pytest.approx(30, rel=0.051), pytest.approx(0, abs=0.001)]


def test_the_moment_of_the_last_run_counts_where_last_check_stayed_behind() -> None:
    check = utc_now() - 30 * DAY
    asked = Asked("broad", "honoured", check)
    ran = Advice(last_mode="update", last_run=utc_now() - DAY)
    until = onetype._updated_until(asked, listing(present=utc_now()), ran)
    assert until is not None
    assert timedelta() <= utc_now() - DAY - OVERLAP - until < timedelta(minutes=2)
    assert onetype._updated_until(asked, listing(), ran) == check - OVERLAP
    assert onetype._updated_until(asked, listing(present=utc_now()), Advice()) == check - OVERLAP


def test_the_servers_clock_counts_for_when_it_was_last_asked() -> None:
    behind = utc_now() - timedelta(hours=3)
    ran = Advice(last_mode="update", last_run=utc_now() - DAY)
    until = onetype._updated_until(Asked("broad", "honoured", utc_now() - 30 * DAY), listing(present=behind), ran)
    assert until is not None
    assert timedelta() <= behind - DAY - OVERLAP - until < timedelta(minutes=2)


def test_before_the_first_pull_nothing_should_have_come() -> None:
    assert onetype._updated_until(Asked("first", "unknown", None), listing(), Advice()) is None
