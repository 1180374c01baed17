"""Servers that do something else with `_lastUpdated`: recognised, pulled so that nothing is missed, and asked again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.values.instants import format_instant
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import LONG_AGO, now, only, studies

DAY = timedelta(days=1)


def asked_filters(server: FhirServer) -> list[str]:
    """Give the values of `_lastUpdated` that the server was asked for, in order."""
    return [text.split("_lastUpdated=")[1].split("&")[0] for text in server.asked("_lastUpdated=")]


@pytest.mark.parametrize("behaviour", ["empty", "ignored", "broken"])
def test_a_server_that_has_been_mended_is_asked_for_updates_again(
    server: FhirServer, link: Connection, data: Dataset, behaviour: str
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.filter = behaviour
    assert only(pull(link, data, types=TYPES)).filter == behaviour
    assert only(pull(link, data, types=TYPES)).mode == "broad"
    server.filter = "honoured"
    server.put(study(2, now()))
    mended = only(pull(link, data, types=TYPES))
    assert (mended.mode, mended.filter, mended.new) == ("update", "honoured", 1)
    # What updates missed meanwhile may be unknown still: one broad pull, then updates alone.
    assert only(pull(link, data, types=TYPES)).mode == "broad"
    assert [only(pull(link, data, types=TYPES)).mode for _ in range(2)] == ["update", "update"]


@pytest.mark.parametrize("behaviour", ["empty", "ignored", "broken"])
def test_a_server_that_stays_wrong_is_pulled_broad_every_time_and_that_is_said(
    server: FhirServer, link: Connection, data: Dataset, behaviour: str
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    server.filter = behaviour
    pull(link, data, types=TYPES)
    del server.resources["s2"]
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.filter, result.fallen_out) == ("broad", behaviour, 1)
    assert result.warnings
    assert result.next_broad is not None
    assert result.next_broad <= now()


@pytest.mark.parametrize("status", [400, 405, 422, 501])
def test_a_server_that_takes_no_filter_is_known_by_whichever_refusal(
    server: FhirServer, link: Connection, data: Dataset, status: int
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.filter, server.refusal = "broken", status
    server.put(study(2, now()))
    result = only(pull(link, data, types=TYPES))
    assert (result.outcome, result.mode, result.filter, result.new) == ("done", "broad", "broken", 1)


def test_the_canaries_ask_for_one_resource_and_nothing_a_gateway_refuses(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.requests.clear()
    pull(link, data, types=TYPES)
    ever, never, newest, _ = server.requests
    assert ever == "/fhir/ImagingStudy?patient=p1&_lastUpdated=gt1970-01-02T00:00:00.000Z&_count=1"
    assert newest == "/fhir/ImagingStudy?patient=p1&_lastUpdated=gt2019-12-31T23:59:59.000Z"
    assert never == "/fhir/ImagingStudy?patient=p1&_lastUpdated=gt2200-01-02T00:00:00.000Z&_count=1"


def test_after_each_broad_pull_the_filter_is_put_to_the_test_again(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    assert only(pull(link, data, types=TYPES)).filter == "honoured"
    pull(link, data, mode="broad", types=TYPES)
    server.filter = "empty"
    assert only(pull(link, data, types=TYPES)).filter == "empty"


def test_a_total_that_lies_deceives_no_canary(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.total = 4462
    assert only(pull(link, data, types=TYPES)).filter == "honoured"


def test_a_record_in_which_everything_fell_out_gives_the_filter_no_blame(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.gone.add(server.resources.popitem()[0])
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == 1
    server.requests.clear()
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.filter, len(server.requests)) == ("update", "unknown", 1)


def test_a_server_first_pulled_empty_is_put_to_the_test_when_records_are_there(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    pull(link, data, types=TYPES)
    server.put(study(1, now()))
    assert only(pull(link, data, types=TYPES)).filter == "unknown"
    assert only(pull(link, data, types=TYPES)).filter == "honoured"


def test_the_precision_that_a_server_takes_is_remembered(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    server.filter = "date"
    pull(link, data, types=TYPES)
    first = only(pull(link, data, types=TYPES))
    assert first.filter == "honoured"
    server.requests.clear()
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.requests, result.warnings) == ("update", 1, ())
    assert len(asked_filters(server)[0]) == len("gt2016-04-16")


def acquired(number: int, started: datetime, updated: datetime) -> dict[str, object]:
    return study(number, updated, started=format_instant(started))


def test_a_server_that_takes_the_studys_date_is_found_out_and_pulled_broad_more_often(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(acquired(1, LONG_AGO, LONG_AGO), acquired(2, LONG_AGO, now() - DAY))
    server.filter = "started"
    pull(link, data, types=TYPES)
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.filter) == ("update", "started-like")
    assert any("another date" in text for text in result.warnings)
    assert result.next_broad is not None
    assert result.next_broad <= now() + 32 * DAY


def test_the_study_that_tells_is_asked_for_not_the_one_that_changed_last(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(acquired(1, LONG_AGO, now() - 10 * DAY), acquired(2, now() - 2 * DAY, now() - DAY))
    server.filter = "started"
    pull(link, data, types=TYPES)
    server.put(acquired(2, now(), now() - DAY))
    assert only(pull(link, data, types=TYPES)).filter == "started-like"


def test_a_server_that_filters_by_changes_is_not_suspected(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(acquired(1, LONG_AGO, LONG_AGO), acquired(2, LONG_AGO, now() - DAY))
    pull(link, data, types=TYPES)
    server.requests.clear()
    assert only(pull(link, data, types=TYPES)).filter == "honoured"
    # It was asked from just before the last change on, and has shown what changed.
    changed = datetime.fromisoformat(asked_filters(server)[2].removeprefix("gt"))
    assert abs(changed - (now() - DAY)) < timedelta(minutes=1)
    server.requests.clear()
    assert only(pull(link, data, types=TYPES)).requests == len(server.requests) == 1
    assert asked_filters(server)[0].endswith("Z")


def test_a_server_that_takes_instants_for_whole_days_is_asked_in_days(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO), study(2, now() - 2 * DAY))
    server.filter = "rounding"
    pull(link, data, types=TYPES)
    server.put(study(3, now()))
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.filter, result.new) == ("update", "honoured", 1)
    server.requests.clear()
    server.put(study(4, now()))
    result = only(pull(link, data, types=TYPES))
    assert (result.new, result.requests) == (1, len(server.requests))
    assert len(asked_filters(server)[0]) == len("gt2016-04-16")


def test_claims_that_go_by_another_date_are_found_out_too(server: FhirServer, link: Connection, data: Dataset) -> None:
    claim = {"resourceType": "ExplanationOfBenefit", "started": format_instant(LONG_AGO)}
    server.put(study(1, now() - DAY, **claim))
    server.filter = "started"
    pull(link, data, types=["ExplanationOfBenefit"])
    assert only(pull(link, data, types=["ExplanationOfBenefit"])).filter == "started-like"


def test_records_without_ids_of_their_own_put_no_filter_to_the_test(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put({key: value for key, value in study(1, now() - DAY).items() if key != "id"})
    pull(link, data, types=TYPES)
    assert only(pull(link, data, types=TYPES)).filter == "honoured"


def test_stamps_that_are_the_studys_own_date_everywhere_are_not_trusted(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(acquired(1, LONG_AGO, LONG_AGO), acquired(2, LONG_AGO + DAY, LONG_AGO + DAY))
    pull(link, data, types=TYPES)
    assert only(pull(link, data, types=TYPES)).filter == "started-like"


def test_what_arrives_late_at_a_server_by_studys_date_comes_with_a_broad_pull_and_is_told(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(acquired(1, LONG_AGO, LONG_AGO), acquired(2, LONG_AGO, now() - DAY))
    server.filter = "started"
    pull(link, data, types=TYPES)
    server.put(acquired(3, LONG_AGO, now()))
    assert only(pull(link, data, types=TYPES)).new == 0
    assert only(pull(link, data, mode="broad", types=TYPES)).new == 1
    assert studies(data) == ["s1", "s2", "s3"]
