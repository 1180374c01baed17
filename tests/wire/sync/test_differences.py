"""What a broad pull finds against the updates before it: probes, what is held, how late is late, what it sets off."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything
from s4s_lab.sync import settling
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import LONG_AGO, now, only, studies

DAY = timedelta(days=1)


def vanish(server: FhirServer, *numbers: int) -> None:
    for number in numbers:
        del server.resources[f"s{number}"]


def test_no_more_than_the_limit_is_asked_for_in_a_run_and_the_rest_in_the_next(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settling.MAX_PROBES == 200
    monkeypatch.setattr(settling, "MAX_PROBES", 2)
    server.put(*(study(n, LONG_AGO) for n in range(8)))
    pull(link, data, types=TYPES)
    vanish(server, 1, 3, 5)
    first = pull(link, data, mode="broad", types=TYPES)
    assert (only(first).fallen_out, len(server.asked("/ImagingStudy/"))) == (2, 2)
    assert first.differences["reason"].tolist() == ["not found", "not found", "asked for by the next pull"]
    second = only(pull(link, data, types=TYPES))
    assert (second.mode, second.fallen_out, len(server.asked("/ImagingStudy/"))) == ("broad", 1, 3)
    assert studies(data) == ["s0", "s2", "s4", "s6", "s7"]


def test_what_was_left_over_is_asked_for_before_what_was_asked_already(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_PROBES", 1)
    hidden = study(0, LONG_AGO)
    server.put(hidden, *(study(n, LONG_AGO) for n in range(1, 8)))
    pull(link, data, types=TYPES)
    server.hidden = {"s0"}
    vanish(server, 3)
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == 0
    assert only(pull(link, data, types=TYPES)).fallen_out == 1
    assert [text.rpartition("/")[2] for text in server.asked("/ImagingStudy/")] == ["s0", "s3"]


def test_a_probe_that_is_put_off_costs_nothing_of_the_listing_and_is_asked_again(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(6)))
    pull(link, data, types=TYPES)
    vanish(server, 1, 3, 5)
    server.put(study(7, LONG_AGO))
    server.waiting = {"ImagingStudy/s3": "3600"}
    result = only(pull(link, data, mode="broad", types=TYPES, max_wait_s=2))
    assert (result.outcome, result.new, result.fallen_out) == ("done", 1, 1)
    assert studies(data) == ["s0", "s2", "s3", "s4", "s5", "s7"]
    assert not server.asked("/ImagingStudy/s5")
    assert any("put off" in text for text in result.warnings)
    server.waiting.clear()
    again = only(pull(link, data, types=TYPES))
    assert (again.mode, again.fallen_out) == ("broad", 2)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
@pytest.mark.parametrize("count", [1, 5])
def test_a_small_record_is_not_all_gone_because_of_one_empty_answer_and_refused_reads(
    server: FhirServer, link: Connection, data: Dataset, count: int, status: int
) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(count)))
    pull(link, data, types=TYPES)
    vanish(server, *range(count))
    server.failing = {f"ImagingStudy/s{n}": status for n in range(count)}
    held = pull(link, data, mode="broad", types=TYPES)
    assert (only(held).fallen_out, held.differences["kind"].tolist()) == (0, ["held"] * count)
    assert len(studies(data)) == count
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == count


def test_a_small_record_of_which_the_server_says_each_was_deleted_is_gone_at_once(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    server.gone = {"s1", "s2"}
    vanish(server, 1, 2)
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == 2


def test_a_patient_that_cannot_be_read_is_gone_when_a_second_pull_agrees(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    types = ("Patient",)
    pull(link, data, types=types)
    server.failing = {"Patient/p1": 404}
    assert [only(pull(link, data, types=types)).fallen_out for _ in range(3)] == [0, 1, 0]


def test_a_mass_that_a_second_pull_confirms_is_worked_off_run_by_run(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_PROBES", 5)
    server.put(*(study(n, LONG_AGO) for n in range(12)))
    pull(link, data, types=TYPES)
    server.resources.clear()
    fallen = [only(pull(link, data, mode="broad", types=TYPES)).fallen_out for _ in range(4)]
    assert fallen == [0, 5, 5, 2]


def test_a_record_that_belongs_to_somebody_else_now_fell_out_and_is_not_kept(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    server.put(study(2, now(), patient={"reference": "Patient/p2"}, description="of another"))
    server.hidden = {"s2"}
    report = pull(link, data, mode="broad", types=TYPES)
    assert report.differences["reason"].tolist() == ["belongs to another patient"]
    kept = data.log.raw(data.connection(link.fhir_url, "p1"), "ImagingStudy")
    assert not any("of another" in raw for raw in kept.values())


def test_a_record_that_can_still_be_read_is_kept_and_that_is_said(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    server.hidden = {"s2"}
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert (result.fallen_out, studies(data)) == (0, ["s1", "s2"])
    assert any("can still be read" in text for text in result.warnings)


@pytest.mark.parametrize(("status", "fallen_out"), [(400, 0), (405, 1), (501, 1)])
def test_a_probe_that_the_server_fails_at_leaves_the_record_and_one_it_does_not_know_counts_as_absence(
    server: FhirServer, link: Connection, data: Dataset, status: int, fallen_out: int
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    vanish(server, 2)
    server.failing = {"ImagingStudy/s2": status}
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert (result.outcome, result.fallen_out) == ("done", fallen_out)


@pytest.mark.parametrize("odd", ["a b", "a/../b", "é", "x" * 70])
def test_a_record_whose_id_cannot_be_read_back_falls_out_by_its_absence(
    server: FhirServer, link: Connection, data: Dataset, odd: str
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO, id=odd))
    pull(link, data, types=TYPES)
    del server.resources[odd]
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert (result.outcome, result.fallen_out) == ("done", 1)


def settled_until(server: FhirServer, link: Connection, data: Dataset) -> None:
    """Pull until updates run, on a server that shows nothing new."""
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    pull(link, data, types=TYPES)


@pytest.mark.parametrize(("late", "overlap_s"), [(timedelta(minutes=20), 2400), (timedelta(hours=30), 300)])
def test_the_overlap_covers_twice_the_lag_that_was_seen_unless_it_is_no_lag(
    server: FhirServer, link: Connection, data: Dataset, late: timedelta, overlap_s: int
) -> None:
    settled_until(server, link, data)
    server.put(study(2, now() - late))
    report = pull(link, data, mode="broad", types=TYPES)
    assert report.differences["kind"].tolist() == ["late"]
    assert only(report).overlap_s == pytest.approx(overlap_s, abs=30)
    assert only(report).overlap_s >= 300
    assert only(pull(link, data, mode="update", types=TYPES)).overlap_s == only(report).overlap_s


def test_the_overlap_is_a_day_at_most(server: FhirServer, link: Connection, data: Dataset) -> None:
    settled_until(server, link, data)
    server.put(study(2, now() - timedelta(hours=20)))
    assert only(pull(link, data, mode="broad", types=TYPES)).overlap_s == 86_400


def test_a_record_that_returned_with_an_old_stamp_is_not_late(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    settled_until(server, link, data)
    server.put(study(2, LONG_AGO))
    pull(link, data, mode="broad", types=TYPES)
    away = server.resources.pop("s2")
    pull(link, data, mode="broad", types=TYPES)
    server.put(away)
    assert pull(link, data, mode="broad", types=TYPES).differences["kind"].tolist() == ["returned"]


def test_a_change_that_updates_never_brought_is_late(server: FhirServer, link: Connection, data: Dataset) -> None:
    settled_until(server, link, data)
    server.put(study(1, LONG_AGO + DAY, description="changed"))
    report = pull(link, data, mode="broad", types=TYPES)
    assert (only(report).changed, report.differences["kind"].tolist()) == (1, ["late"])


def test_a_listing_that_is_short_is_asked_for_again_at_the_next_run(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    settled_until(server, link, data)
    server.total = 9
    short = only(pull(link, data, mode="broad", types=TYPES))
    assert short.next_broad is not None
    assert short.next_broad <= now()
    server.total = None
    assert only(pull(link, data, types=TYPES)).mode == "broad"


def test_a_broad_pull_of_a_server_without_a_clock_is_repeated_within_the_week(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    server.date_header = False
    pull(link, data, types=TYPES)
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert result.next_broad is not None
    assert timedelta(days=6.6) < result.next_broad - now() < timedelta(days=7.4)


def test_a_later_broad_date_has_a_jitter_that_is_its_cursors_own(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    result = only(pull(link, data, types=TYPES))
    assert result.next_broad is not None
    assert result.started_at is not None
    interval = result.next_broad - result.started_at
    assert 0.95 <= interval / (7 * DAY) <= 1.05 + 1e-4
    assert interval % DAY != timedelta()


def test_a_pull_that_failed_is_no_broad_pull(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    server.broken_page = 0
    with pytest.warns(NotEverything):
        failed = only(pull(link, data, types=TYPES))
    assert (failed.outcome, failed.last_check, failed.query) == ("failed", None, "ImagingStudy?patient={patientId}")
    server.broken_page = None
    assert only(pull(link, data, types=TYPES)).mode == "first"
    assert json.loads(data.ledger.rows().to_pylist()[0]["differences"]) == []
