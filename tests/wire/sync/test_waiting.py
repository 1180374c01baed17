"""Servers that ask for time: what goes on meanwhile, what is left alone, what the next run does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from s4s_lab import Dataset, PullReport, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything
from s4s_lab.sync.progress import Progress
from s4s_lab.sync.pulling import origin_waits
from s4s_lab.sync.reports import TypePull
from s4s_lab.sync.waits import KeptWaits
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import LONG_AGO, now, only

THREE = ("ImagingStudy", "ExplanationOfBenefit", "Patient")


def outcomes(report: PullReport) -> list[str]:
    return [item.outcome for item in report.types]


def waited_for(link: Connection, data: Dataset, **more: object) -> PullReport:
    with pytest.warns(NotEverything):
        return pull(link, data, types=THREE, max_wait_s=5, **more)  # type: ignore[arg-type]  # keywords of pull


def test_a_type_that_is_put_off_stops_no_other(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.waiting = {"ImagingStudy": "3600"}
    report = waited_for(link, data)
    assert outcomes(report) == ["waiting", "done", "done"]
    assert (report.outcome, len(server.requests)) == ("waiting", 3)
    moment = report.types[0].not_before
    assert moment is not None
    assert timedelta(minutes=59) < moment - now() < timedelta(minutes=61)


def test_a_server_that_puts_off_two_types_in_a_row_is_left_alone(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.waiting = {"ImagingStudy": "3600", "ExplanationOfBenefit": "7200", "Patient": "1"}
    report = waited_for(link, data)
    assert outcomes(report) == ["waiting"] * 3
    assert len(server.requests) == 2
    assert report.types[2].not_before == report.types[1].not_before
    assert report.types[2].requests == 0
    assert any("not asked for" in text for text in report.types[2].warnings)


def test_the_next_run_asks_nothing_before_its_time_and_whatever_is_not_put_off(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.waiting = {"ImagingStudy": "3600"}
    waited_for(link, data)
    server.waiting.clear()
    server.requests.clear()
    assert outcomes(waited_for(link, data)) == ["waiting", "done", "done"]
    assert not server.asked("ImagingStudy")
    assert server.asked("ExplanationOfBenefit")


def test_types_that_were_put_off_unasked_stay_so_in_the_next_run(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.waiting = {"ImagingStudy": "3600", "ExplanationOfBenefit": "3600"}
    waited_for(link, data)
    server.waiting.clear()
    server.requests.clear()
    assert outcomes(waited_for(link, data)) == ["waiting"] * 3
    assert server.requests == []


def test_a_wait_that_fits_is_sat_out_to_its_end_and_then_resumed(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    server.waiting = {"ImagingStudy": "2"}
    with pytest.warns(NotEverything):
        first = only(pull(link, data, types=("ImagingStudy",), max_wait_s=0.5))
    server.waiting.clear()
    result = only(pull(link, data, types=("ImagingStudy",), max_wait_s=5))
    assert first.not_before is not None
    assert (result.outcome, result.new) == ("done", 1)
    assert result.last_check is not None
    assert now() >= first.not_before
    assert 0 < result.waited_s <= 2.5


def test_a_wait_that_was_cut_short_goes_on_in_the_next_run(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(server, link, data, monkeypatch, asked="600")
    assert outcomes(waited_for(link, data))[0] == "waiting"
    assert not server.asked("ImagingStudy")


def test_a_wait_of_seconds_that_was_cut_short_holds_up_no_later_run(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(server, link, data, monkeypatch, asked="2")
    assert only(pull(link, data, types=("ImagingStudy",))).waited_s == 0


def cut_short(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch, *, asked: str
) -> None:
    """Interrupt a pull while it waits as it was asked; then the server is ready."""
    server.waiting = {"ImagingStudy": asked}
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "sleep", stopped)
        with pytest.raises(KeyboardInterrupt):
            pull(link, data, types=("ImagingStudy",))
    server.waiting.clear()
    server.requests.clear()


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_server_that_names_the_year_9999_is_asked_again_after_a_day(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.waiting = {"ImagingStudy": "Fri, 31 Dec 9999 23:59:59 GMT"}
    moment = waited_for(link, data).types[0].not_before
    assert moment is not None
    assert timedelta(hours=23) < moment - now() <= timedelta(days=1)
    server.waiting.clear()
    again = waited_for(link, data, mode="first").types[0]
    assert again.not_before == moment
    assert f"after {moment + timedelta(microseconds=999_999):%Y-%m-%d %H:%M:%S} UTC" in again.warnings[-1]


def test_a_wait_that_was_kept_while_our_clock_was_wrong_holds_up_nothing(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    waits = KeptWaits(data.path(), data.connection(link.fhir_url, "p1").connection_id)
    waits.keep("ImagingStudy", now() + timedelta(days=2))
    assert only(pull(link, data, types=("ImagingStudy",))).outcome == "done"


def test_a_wait_that_is_over_is_not_kept(server: FhirServer, link: Connection, data: Dataset) -> None:
    waits = KeptWaits(data.path(), data.connection(link.fhir_url, "p1").connection_id)
    waits.keep("ImagingStudy", now() - timedelta(seconds=1))
    assert only(pull(link, data, types=("ImagingStudy",))).outcome == "done"
    assert waits.not_before("ImagingStudy") is None


def test_a_pull_and_a_fetch_that_keep_waits_at_once_lose_none(link: Connection, data: Dataset) -> None:
    waits = KeptWaits(data.path(), data.connection(link.fhir_url, "p1").connection_id)
    moment = now() + timedelta(hours=1)
    names = [f"1.2.{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: waits.keep(name, moment), names))
    assert all(waits.not_before(name) for name in names)


def test_a_type_that_waits_keeps_what_is_known_of_it(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=("ImagingStudy",))
    known = only(pull(link, data, types=("ImagingStudy",)))
    server.waiting = {"ImagingStudy": "3600"}
    with pytest.warns(NotEverything):
        waiting = only(pull(link, data, types=("ImagingStudy",), max_wait_s=1))
    assert (waiting.filter, waiting.next_broad, waiting.mode) == ("honoured", known.next_broad, "update")


def test_it_takes_two_answers_in_a_row_to_take_the_server_for_busy() -> None:
    soon, late = now(), now() + timedelta(hours=1)
    waits = [TypePull("A", "first", "waiting", query="A", not_before=moment) for moment in (late, soon)]
    done = TypePull("B", "first", "done", query="B")
    unasked = TypePull("C", "first", "waiting", not_before=late)
    skipped = TypePull("D", "first", "skipped")
    assert origin_waits(waits) == late
    assert origin_waits([waits[0], skipped, waits[1]]) == late
    assert origin_waits([waits[0], done, waits[1]]) is None
    assert origin_waits([waits[0], unasked]) is None
    assert origin_waits([]) is None
