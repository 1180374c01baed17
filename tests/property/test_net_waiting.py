"""Whatever servers put into their headers, waiting stays defined."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.net import retry_after, shown
from s4s_lab.net.waiting import not_before, pause_before_repeating

moments = st.datetimes(timezones=st.just(UTC))
http_dates = moments.map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
headers = st.none() | st.text() | st.integers().map(str) | st.floats().map(str) | http_dates


@given(headers, headers, moments)
def test_retry_after_is_a_total_function(value: str | None, date: str | None, now: datetime) -> None:
    seconds = retry_after(value, date=date, now=now)
    assert seconds is None or 0.0 <= seconds <= 1e9
    assert seconds is None or not_before(seconds) > datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(0, 999_999_999), moments)
def test_whole_seconds_are_taken_as_they_are(seconds: int, now: datetime) -> None:
    assert retry_after(str(seconds), date=None, now=now) == seconds


@given(
    st.sampled_from([503, 429, 413, 502, 504, 408, 500, "lost", "slow", 404]),
    st.none() | st.floats(0, 1e9),
    st.integers(0, 10_000),
    st.floats(0, 1),
)
def test_no_pause_is_shorter_than_asked(trouble: int, asked: float | None, earlier: int, spread: float) -> None:
    pause = pause_before_repeating(trouble, asked, earlier=earlier, spread=spread)
    assert pause is None or (pause >= max(asked, 1.0) if asked is not None else 0 < pause <= 60)


@given(st.text(), st.text(alphabet="abc/?#&=%[]:@\\ ", max_size=30))
def test_showing_a_url_never_fails_and_never_shows_its_query(path: str, rest: str) -> None:
    assert "canary" not in shown(f"https://ehr.example/{path.replace('?', '').replace('#', '')}?canary{rest}")
    shown(path + rest)
