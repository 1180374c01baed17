"""The waiting policy, the limits of one try, and what may be said of a URL: pure parts."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import httpcore2
import pytest

from s4s_lab.errors import UsageError
from s4s_lab.net import Limits, Patience, Wait, retry_after, shown
from s4s_lab.net.addresses import checked
from s4s_lab.net.allowance import Allowance, Attempt
from s4s_lab.net.failures import no_answer, why
from s4s_lab.net.waiting import Budget, Trouble, Waits, not_before, pause_before_repeating

NOW = datetime(2016, 4, 15, 10, 0, 0, tzinfo=UTC)
DATE = "Fri, 15 Apr 2016 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("300", 300), ("0", 0), (" 7 ", 7), ("999999999", 999999999), ("1.5", 2), ("2.0", 2), ("0.001", 1),
        ("Fri, 15 Apr 2016 10:05:00 GMT", 300), ("Friday, 15-Apr-16 10:05:00 GMT", 300),
        ("Fri Apr 15 10:05:00 2016", 300), ("Fri, 15 Apr 2016 12:05:00 +0200", 300),
        ("Fri, 15 Apr 2016 09:59:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 999999999),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_every_form(value: str, seconds: float) -> None:
    assert retry_after(value, date=DATE, now=NOW) == seconds
    assert retry_after(value, date=None, now=NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "-5", "+5", "1e3", "0x10", "10, 20", "soon", "1.", ".5", "٣", "5s", "9" * 10, "9" * 5000,
     "Fri, 32 Apr 2016 10:05:00 GMT", "Fri, 15 Apr 99999 10:05:00 GMT", "NaN", "inf", "1_0", "Fri", "\0"],
)  # fmt: skip
def test_what_cannot_be_read_counts_as_absent(value: str | None) -> None:
    assert retry_after(value, date=DATE, now=NOW) is None


def test_a_date_is_measured_from_the_servers_own_clock() -> None:
    ours_is_an_hour_behind = datetime(2016, 4, 15, 9, 0, 0, tzinfo=UTC)
    assert retry_after("Fri, 15 Apr 2016 10:05:00 GMT", date=DATE, now=ours_is_an_hour_behind) == 300
    assert retry_after("Fri, 15 Apr 2016 10:05:00 GMT", date="nonsense", now=NOW) == 300


@pytest.mark.parametrize("spread", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("trouble", [503, 429, 413, 502])
def test_a_pause_is_never_shorter_than_asked_and_little_longer(trouble: int, spread: float) -> None:
    for asked in (0.0, 1.0, 300.0, 3600.0):
        pause = pause_before_repeating(trouble, asked, earlier=0, spread=spread)
        assert pause is not None
        assert max(asked, 1.0) <= pause <= max(asked, 1.0) + min(0.1 * max(asked, 1.0), 30.0)


@pytest.mark.parametrize(
    ("trouble", "tries"), [("lost", 5), ("slow", 5), (502, 5), (504, 5), (408, 5), (500, 2), (404, 1), (200, 1)]
)
def test_troubles_that_stay_are_final_after_some_tries(trouble: Trouble, tries: int) -> None:
    pauses = [pause_before_repeating(trouble, None, earlier=earlier, spread=0.0) for earlier in range(tries)]
    assert pauses[-1] is None
    assert None not in pauses[:-1]


def test_a_busy_server_is_never_given_up_by_count() -> None:
    pauses = [pause_before_repeating(503, None, earlier=earlier, spread=1.0) for earlier in (0, 1, 2, 3, 9, 5000)]
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert pause_before_repeating(413, None, earlier=0, spread=1.0) is None


def test_pauses_grow() -> None:
    pauses = [pause_before_repeating("lost", None, earlier=earlier, spread=1.0) or 0 for earlier in range(4)]
    assert pauses == [1, 2, 4, 8]
    assert all(longer > shorter for shorter, longer in pairwise(pauses))


def test_troubles_are_counted_apart_and_patience_together() -> None:
    waits: list[Wait] = []
    course = Waits(Budget(Patience(budget_s=100, on_wait=waits.append, sleep=lambda _: None)), "https://ehr.example")
    assert course.passed(500, None)
    assert course.passed(503, 60.0)
    assert not course.passed(500, None)
    assert not course.passed(502, 60.0)
    assert [round(wait.seconds) >= least for wait, least in zip(waits, (0, 60), strict=True)] == [True, True]


def test_the_moment_to_come_back_is_never_too_early_nor_out_of_bounds() -> None:
    before = datetime.now(UTC)
    assert (not_before(5.0) - before).total_seconds() >= 5.0
    assert not_before(1e300) > before


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_attempt_hands_out_the_time_it_has_left() -> None:
    clock = Clock()
    attempt = Attempt(Limits(attempt_s=100, read_s=30), clock=clock)
    read = attempt.timeouts()["read"]
    assert isinstance(read, Allowance)
    assert (float(read), read.now()) == (30.0, 30.0)
    clock.now += 80
    assert (read.now(), attempt.elapsed_s(), attempt.expired) == (20.0, 80.0, False)
    clock.now += 20
    assert attempt.expired
    with pytest.raises(httpcore2.ReadTimeout, match="longer than 100 s"):
        read.now()


def test_a_try_is_given_what_the_documentation_says() -> None:
    clock = Clock()
    attempt = Attempt(Limits(), clock=clock)
    allowed = attempt.timeouts()
    assert (allowed["connect"], allowed["read"], allowed["write"], allowed["pool"]) == (10, 30, 30, None)
    attempt.received(262_144, 0.0)
    with pytest.raises(httpcore2.RemoteProtocolError, match="more than 262144 bytes"):
        attempt.received(1, 0.0)
    assert [expired_at(attempt, clock, 1000.0 + at) for at in (119, 120)] == [False, True]


def expired_at(attempt: Attempt, clock: Clock, moment: float) -> bool:
    clock.now = moment
    return attempt.expired


def test_a_stream_may_take_a_day_and_a_kilobyte_a_second() -> None:
    clock = Clock()
    attempt = Attempt(Limits(), clock=clock)
    attempt.body_begins()
    attempt.stream_begins()
    assert [expired_at(attempt, clock, 1000.0 + at) for at in (86_399, 86_400)] == [False, True]
    attempt.received(1, 59.0)
    attempt.received(61_439, 1.0)
    attempt.received(1, 59.0)
    with pytest.raises(httpcore2.ReadTimeout, match="slower than 1024 bytes"):
        attempt.received(61_438, 1.0)


def test_an_attempt_counts_what_comes_before_a_body_and_not_the_body() -> None:
    attempt = Attempt(Limits(head_bytes=100), clock=Clock())
    attempt.received(100, 0.0)
    with pytest.raises(httpcore2.RemoteProtocolError, match="more than 100 bytes"):
        attempt.received(1, 0.0)
    attempt.head_begins()
    attempt.received(100, 0.0)
    attempt.body_begins()
    attempt.received(10**9, 0.0)


def test_the_pace_of_a_stream_is_measured_over_the_time_spent_reading() -> None:
    clock = Clock()
    attempt = Attempt(Limits(slow_s=60, slow_bytes_per_s=1024), clock=clock)
    attempt.body_begins()
    attempt.received(1, 120.0)
    attempt.stream_begins()
    for _ in range(10):
        clock.now += 1000
        attempt.received(30 * 1024, 30.0)
    attempt.received(30 * 1024, 30.0)
    with pytest.raises(httpcore2.ReadTimeout, match="slower than 1024 bytes"):
        attempt.received(30 * 1024 - 1, 30.0)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://ehr.example/fhir/ImagingStudy?patient=1", "https://ehr.example/fhir/ImagingStudy?…"),
        ("https://ehr.example/fhir/Patient/smart-1288992", "https://ehr.example/fhir/Patient/…"),
        ("https://i.example/Patient/smart-1/$wado-rs/studies/1.2", "https://i.example/Patient/…/$wado-rs/studies/1.2"),
        ("https://user:secret@ehr.example:8443/fhir#x", "https://ehr.example:8443/fhir"),
        (f"https://ehr.example/wado/{'e' * 65}/studies/{'1' * 64}", f"https://ehr.example/wado/…/studies/{'1' * 64}"),
        ("https://[::1", "https://[::1"),
    ],
)
def test_what_is_shown_of_a_url_tells_neither_patient_nor_token(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (httpcore2.ConnectError("[Errno 111] Connection refused"), "Connection refused"),
        (httpcore2.ConnectError("[SSL: X] certificate verify failed: expired (_ssl.c:1006)"),
         "certificate verify failed: expired"),
        (httpcore2.RemoteProtocolError("illegal header line: bytearray(b'Location: /Patient/1')"),
         "illegal header line"),
        (httpcore2.ReadError(""), "ReadError"),
        (httpcore2.ReadError("a\r\nb" * 200), "a b" * 66 + "a "),
    ],
)  # fmt: skip
def test_reasons_are_words_without_what_the_server_sent(error: Exception, text: str) -> None:
    assert why(error) == text
    assert text in str(no_answer("https://ehr.example/x?y", error))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://EHR.example:8443/fhir?x=y", "ehr.example"), ("https://ehr.example./", "ehr.example."),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://[2001:DB8::1]/", "2001:DB8::1"), ("http://127.0.0.1:80/", "127.0.0.1"), ("http://[::1]/", "::1"),
    ],
)  # fmt: skip
def test_addresses_are_read_in_every_spelling(url: str, host: str) -> None:
    assert checked(url).raw_host.decode() == host


@pytest.mark.parametrize(
    "url",
    ["https://①②⑦.0.0.1/", "https://ﬀ.example/", "https://ehr.example\\@evil.example/", "https://user@ehr.example/",
     "https://ehr.example:port/", "https://ehr.example:99999/", "https://[ehr.example]/", "https://[::1", "https:///x",
     "https://" + "a" * 70_000, "https://ehr.example/\x7f", "http://ehr.example/", "//ehr.example/",
     "https://ehr .example", "https://[v1.a:b]/"],
)  # fmt: skip
def test_addresses_that_may_be_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        checked(url)
