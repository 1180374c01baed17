"""Pulls against a server that is not ours: nothing lost, nothing kept of half a listing, lastCheck with its rows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from s4s_lab import Dataset, PullReport, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything, NotReachable, UsageError
from s4s_lab.fhir import Capability
from s4s_lab.sync import TypePull
from s4s_lab.sync.listing import belongs_to
from s4s_lab.sync.pulling import PullMode
from tests.wire.sync.conftest import TYPES, granting
from tests.wire.sync.server import FhirServer, study

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


def only(report: PullReport) -> TypePull:
    (result,) = report.types
    return result


def studies(data: Dataset) -> list[str]:
    return sorted(data.table("imaging_study")["resource_id"])


def versions(data: Dataset) -> tuple[int, list[int]]:
    return data.log.version, data.tables().column("version").to_pylist()


@pytest.mark.clause("S4S-6")
def test_a_first_pull_asks_by_patient_and_keeps_every_page(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(5)))
    result = only(pull(link, data, types=TYPES))
    assert server.requests[0] == "/fhir/ImagingStudy?patient=p1"
    assert (result.mode, result.pages, result.requests, result.new) == ("first", 3, 3, 5)
    assert studies(data) == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.clause("S4S-7", "S4S-11")
def test_an_update_asks_from_last_check_less_the_overlap(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    before = now()
    first = only(pull(link, data, types=TYPES))
    server.put(study(2, now()))
    server.requests.clear()
    result = only(pull(link, data, types=TYPES))
    query = parse_qs(urlsplit(server.asked("_lastUpdated=gt")[-1]).query)
    text = query["_lastUpdated"][0]
    assert text.startswith("gt")
    assert text.endswith("Z")
    assert len(text) == len("gt2016-04-01T02:52:32.000Z")
    assert first.last_check is not None
    asked = datetime.fromisoformat(text[2:])
    assert asked == first.last_check - timedelta(seconds=300)
    assert before - timedelta(seconds=4) < first.last_check <= now()
    assert (result.mode, result.new, result.filter) == ("update", 1, "honoured")
    assert studies(data) == ["s1", "s2"]


@pytest.mark.clause("S4S-8", "S4S-9")
def test_claims_are_asked_for_in_the_same_two_ways(server: FhirServer, link: Connection, data: Dataset) -> None:
    def claim(number: int, updated: datetime) -> dict[str, object]:
        stamps = study(number, updated)["meta"]
        reference = {"reference": "Patient/p1"}
        return {"resourceType": "ExplanationOfBenefit", "id": f"e{number}", "meta": stamps, "patient": reference}

    server.put(claim(1, LONG_AGO))
    first = only(pull(link, data, types=["ExplanationOfBenefit"]))
    assert server.requests[0] == "/fhir/ExplanationOfBenefit?patient=p1"
    server.put(claim(2, now()))
    assert only(pull(link, data, types=["ExplanationOfBenefit"])).new == 1
    # The questions about the filter come first.
    asked = server.requests[-1]
    assert first.last_check is not None
    moment = (first.last_check - timedelta(seconds=300)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert asked == f"/fhir/ExplanationOfBenefit?patient=p1&_lastUpdated=gt{moment}"
    assert set(data.table("explanation_of_benefit")["resource_id"]) == {"e1", "e2"}


def test_an_unchanged_server_costs_one_request_and_no_new_version(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    pull(link, data, types=TYPES)
    before = versions(data)
    server.requests.clear()
    result = only(pull(link, data, types=TYPES))
    assert len(server.requests) == result.requests == 1
    assert versions(data) == before
    assert data.ledger.rows().num_rows == 3


@pytest.mark.clause("S4S-10")
def test_a_broad_pull_finds_what_fell_out_and_why(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(4)))
    pull(link, data, types=TYPES)
    del server.resources["s1"], server.resources["s2"]
    server.gone = {"s1"}
    assert only(pull(link, data, mode="update", types=TYPES)).fallen_out == 0
    assert len(studies(data)) == 4
    report = pull(link, data, mode="broad", types=TYPES)
    assert only(report).fallen_out == 2
    found = report.differences.set_index("resource_id")["reason"].to_dict()
    assert found == {"s1": "deleted", "s2": "not found"}
    assert studies(data) == ["s0", "s3"]
    kept = data.table("imaging_study", fallen_out=True)
    assert set(kept[kept["fell_out_at"].notna()]["resource_id"]) == {"s1", "s2"}


def test_a_record_that_comes_back_is_told_and_shown_again(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    away = server.resources.pop("s2")
    pull(link, data, mode="broad", types=TYPES)
    server.put(away)
    assert only(pull(link, data, mode="broad", types=TYPES)).returned == 1
    assert studies(data) == ["s1", "s2"]


def test_a_mass_vanishing_is_held_not_believed(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(8)))
    pull(link, data, types=TYPES)
    server.resources.clear()
    report = pull(link, data, mode="broad", types=TYPES)
    assert only(report).fallen_out == 0
    assert len(studies(data)) == 8
    assert list(report.differences["kind"]) == ["held"] * 8


def test_a_mass_vanishing_that_a_second_broad_pull_confirms_is_believed(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(8)))
    pull(link, data, types=TYPES)
    server.gone = set(server.resources)
    server.resources.clear()
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == 0
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == 8
    assert studies(data) == []


def test_studies_that_cannot_be_asked_for_are_not_all_gone_because_of_one_empty_answer(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    nameless = [{k: v for k, v in study(n, LONG_AGO).items() if k != "id"} for n in range(3)]
    server.put(*nameless)
    pull(link, data, types=TYPES)
    server.resources.clear()
    report = pull(link, data, mode="broad", types=TYPES)
    assert (only(report).fallen_out, list(report.differences["kind"])) == (0, ["held"] * 3)
    server.put(*nameless[:2])
    assert only(pull(link, data, mode="broad", types=TYPES)).fallen_out == 1


def test_a_listing_that_is_short_keeps_its_rows_and_moves_no_watermark(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    server.total = 3
    first = only(pull(link, data, types=TYPES))
    assert (first.new, first.last_check) == (1, None)
    server.total = None
    seen = only(pull(link, data, types=TYPES))
    assert seen.mode == "first"
    server.put(study(2, now()))
    server.total = 9
    short = only(pull(link, data, mode="update", types=TYPES))
    assert (short.new, short.last_check) == (1, seen.last_check)
    assert any("counts 9 resources" in text for text in short.warnings)


def test_a_replica_that_lags_behind_takes_no_newer_version_away(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, now(), description="new"))
    pull(link, data, types=TYPES)
    server.put(study(1, LONG_AGO, description="old"))
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert result.changed == 0
    assert any("older versions" in text for text in result.warnings)
    assert data.table("imaging_study")["description"].tolist() == ["new"]


def test_last_check_never_goes_back(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    first = only(pull(link, data, types=TYPES))
    server.clock = -timedelta(seconds=60)
    server.put(study(2, now()))
    assert only(pull(link, data, mode="update", types=TYPES)).last_check == first.last_check


def test_a_page_that_fails_leaves_everything_as_it_was(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(*(study(n, LONG_AGO) for n in range(3)))
    pull(link, data, types=TYPES)
    before = versions(data)
    server.put(*(study(n, now()) for n in range(3, 9)))
    server.broken_page = 2
    with pytest.warns(NotEverything):
        result = only(pull(link, data, mode="broad", types=TYPES))
    assert result.outcome == "failed"
    assert versions(data) == before
    server.broken_page = None
    assert only(pull(link, data, types=TYPES)).new == 6


@pytest.mark.clause("S4S-5")
def test_503_is_waited_out_as_long_as_asked(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    server.busy = 2
    result = only(pull(link, data, types=TYPES))
    assert result.outcome == "done"
    assert result.waited_s >= 2
    assert len(server.requests) == 3


def test_a_wait_beyond_the_budget_ends_as_waiting_and_is_remembered(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    server.busy, server.retry_after = 1, "3600"
    with pytest.warns(NotEverything):
        first = pull(link, data, types=TYPES, max_wait_s=5)
    assert first.outcome == "waiting"
    assert only(first).not_before is not None
    asked = len(server.requests)
    with pytest.warns(NotEverything):
        assert pull(link, data, types=TYPES, max_wait_s=5).outcome == "waiting"
    assert len(server.requests) == asked


def test_a_filter_that_hides_everything_is_found_out(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    server.filter = "empty"
    pull(link, data, types=TYPES)
    server.put(study(2, now()))
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.filter, result.new) == ("broad", "empty", 1)
    server.put(study(3, now()))
    assert only(pull(link, data, types=TYPES)).new == 1


def test_a_filter_that_is_ignored_is_found_out(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    server.filter = "ignored"
    pull(link, data, types=TYPES)
    result = only(pull(link, data, types=TYPES))
    assert (result.filter, result.new, result.unchanged) == ("ignored", 0, 1)
    assert any("ignores _lastUpdated" in text for text in result.warnings)


def test_a_server_that_takes_dates_only_is_asked_in_dates(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.filter = "date"
    server.put(study(2, now()))
    result = only(pull(link, data, mode="update", types=TYPES))
    assert result.new == 1
    assert len(server.asked("_lastUpdated=gt")[-1].split("=gt")[1]) == len("2016-04-16")


def test_another_patients_resource_fails_the_type_and_keeps_nothing(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO, patient={"reference": "Patient/p2"}))
    with pytest.warns(NotEverything):
        report = pull(link, data, types=TYPES)
    assert only(report).outcome == "failed"
    assert "another patient" in only(report).warnings[-1]
    assert studies(data) == []


def test_a_clock_hours_ahead_does_not_become_last_check(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    server.clock = timedelta(hours=3)
    result = only(pull(link, data, types=TYPES))
    assert result.last_check is not None
    assert result.last_check <= now()
    assert any("no usable clock" in text for text in result.warnings)


@pytest.mark.parametrize("never_set", ["0001-01-01T00:00:00Z", "0001-01-01T00:10:00Z"])
def test_a_bundle_time_that_was_never_set_does_not_become_last_check(
    server: FhirServer, link: Connection, data: Dataset, never_set: str
) -> None:
    server.bundle_time = never_set
    server.put(study(1, LONG_AGO, meta={"lastUpdated": never_set}))
    modes: tuple[PullMode, ...] = ("first", "update", "broad")
    checks = [only(pull(link, data, mode=mode, types=TYPES)).last_check for mode in modes]
    assert all(check and now() - check < timedelta(minutes=2) for check in checks)


def test_a_server_whose_clock_goes_back_blinds_nothing(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.clock = -timedelta(days=2)
    server.put(study(2, now() + server.clock))
    result = only(pull(link, data, types=TYPES))
    assert (result.mode, result.new) == ("broad", 1)
    assert any("ahead of the server's clock" in text for text in result.warnings)
    server.put(study(3, now() + server.clock))
    assert only(pull(link, data, mode="update", types=TYPES)).new == 1


def test_a_total_that_is_never_reached_concludes_nothing(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    del server.resources["s2"]
    server.total = 4462
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert result.fallen_out == 0
    assert studies(data) == ["s1", "s2"]
    assert any("4462" in text for text in result.warnings)


def test_a_version_that_differs_in_its_stamps_only_is_no_change(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    server.put(study(1, now(), meta={"versionId": "2", "lastUpdated": now().isoformat()}))
    result = only(pull(link, data, types=TYPES))
    assert (result.changed, result.unchanged) == (0, 1)


def test_another_scope_starts_with_a_first_pull(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    assert [only(pull(link, data, types=TYPES)).mode for _ in range(2)] == ["first", "update"]
    other = granting(link, f"{link.scope} patient/Observation.read")
    assert [only(pull(other, data, types=TYPES)).mode for _ in range(2)] == ["first", "update"]
    assert only(pull(link, data, types=TYPES)).mode == "update"


def test_the_status_shows_last_check_of_the_scopes_that_were_used_last(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    early = only(pull(link, data, types=TYPES)).last_check
    server.clock = timedelta(minutes=5)
    other = granting(link, f"{link.scope} patient/Observation.read")
    late = only(pull(other, data, types=TYPES)).last_check
    assert early
    assert late
    assert early < late
    assert data.status()["last_check"].tolist() == [late]
    server.clock = timedelta()
    server.waiting = {"ImagingStudy": "3600"}
    with pytest.warns(NotEverything):
        pull(link, data, types=TYPES, max_wait_s=1)
    assert data.status()["last_check"].tolist() == [early]


@pytest.mark.parametrize("reference", ["Patient/p1/_history/2", "https://x.example/fhir/Patient/p1/_history/2"])
def test_a_reference_to_a_version_of_the_patient_is_to_the_patient(reference: str) -> None:
    assert belongs_to({"resourceType": "ImagingStudy", "patient": {"reference": reference}}, "p1")
    assert not belongs_to({"resourceType": "ImagingStudy", "patient": {"reference": reference}}, "2")


def test_every_type_of_the_plan_that_the_server_offers_is_pulled(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    whose = {"ImagingStudy": "patient", "ExplanationOfBenefit": "patient", "Coverage": "beneficiary"}
    whose["DiagnosticReport"] = "subject"
    meta = study(1, LONG_AGO)["meta"]
    patient = {"reference": "Patient/p1"}
    server.put(*({"resourceType": k, "id": k.lower(), "meta": meta, e: patient} for k, e in whose.items()))
    statement = {"fhirVersion": "3.0.1", "rest": [{"resource": [{"type": name} for name in (*whose, "Patient")]}]}
    offering = replace(link, capability=Capability.from_json({"resourceType": "CapabilityStatement", **statement}))
    report = pull(offering, data)
    assert {item.resource_type: (item.mode, item.new) for item in report.types} == dict.fromkeys(
        [*whose, "Patient"], ("first", 1)
    )
    tables = ("imaging_study", "explanation_of_benefit", "coverage", "diagnostic_report", "patient")
    assert [len(data.table(name)) for name in tables] == [1] * 5
    assert [item.outcome for item in pull(offering, data).types] == ["done"] * 5


def test_types_the_server_does_not_offer_are_skipped_and_said(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    report = pull(link, data)
    skipped = {item.resource_type for item in report.types if item.outcome == "skipped"}
    assert skipped == {"Coverage", "DiagnosticReport"}
    assert report.outcome == "done"
    assert not server.asked("Coverage")


def test_a_server_that_is_gone_is_an_error_and_changes_nothing(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    unreachable = replace(link, fhir_url="http://127.0.0.1:9/fhir")
    with pytest.raises(NotReachable):
        pull(unreachable, data, types=TYPES)
    assert data.log.version <= 0


def test_an_unknown_mode_or_type_is_a_usage_error(link: Connection, data: Dataset) -> None:
    with pytest.raises(UsageError, match="auto, first, update, broad"):
        pull(link, data, mode="all")  # type: ignore[arg-type]  # what a notebook user may type
    with pytest.raises(UsageError, match="Observation is not pulled"):
        pull(link, data, types=["Observation"])


def test_a_report_prints_small_and_the_same_every_time(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    text = repr(pull(link, data, types=TYPES))
    assert text.splitlines()[0] == "PullReport: done"
    assert "127.0.0.1" not in text
    told = pull(link, data, types=TYPES).to_json()
    assert json.loads(json.dumps(told))["types"]["ImagingStudy"]["mode"] == "update"


def test_a_broad_pull_that_fails_is_told_as_one_with_the_last_check_that_stands(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    (first,) = pull(link, data, types=TYPES).types
    server.failing["ImagingStudy"] = 403
    with pytest.warns(NotEverything):
        (failed,) = pull(link, data, mode="broad", types=TYPES).types
    assert (failed.outcome, failed.mode, failed.last_check) == ("failed", "broad", first.last_check)


@pytest.mark.parametrize("mode", ["update", "broad"])
def test_resources_that_a_server_writes_otherwise_than_before_are_unchanged(
    server: FhirServer, link: Connection, data: Dataset, mode: PullMode
) -> None:
    server.put(*(study(n, now(), description="für", note=[{"text": "a", "x": [1, 2.50]}]) for n in range(4)))
    pull(link, data, types=TYPES)
    before = versions(data)
    server.resources = {key: dict(reversed(content.items())) for key, content in server.resources.items()}
    result = only(pull(link, data, types=TYPES, mode=mode))
    assert (result.mode, result.new, result.changed, result.unchanged) == (mode, 0, 0, 4)
    assert versions(data) == before
    server.resources["s2"] |= {"note": [{"text": "b", "x": [1, 2.50]}]}
    result = only(pull(link, data, types=TYPES, mode=mode))
    assert (result.changed, result.unchanged) == (1, 3)
    assert data.verify().outcome == "done"
