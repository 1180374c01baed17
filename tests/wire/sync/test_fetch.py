"""Fetches from archives that are not ours: waits, breaks, refusals, each study's own outcome, tokens that stay home."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from s4s_lab import Dataset, fetch, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything, NotInDataset, UsageError
from s4s_lab.values.origins import origin_of
from tests.unit.dicom.samples import STUDY, image_file
from tests.wire.dicom.archive import Archive, answer, archive, study_answer
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer
from tests.wire.sync.server import study as fhir_study
from tests.wire.sync.test_pull import LONG_AGO

BUSY = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 1"])
LATER = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 900"])
PARTS = [image_file(f"1.2.826.5.{number}") for number in (1, 2)]


def at(running: Archive | str, **changes: Any) -> dict[str, Any]:
    """Give the sample study with a contained Endpoint at an archive."""
    address = running if isinstance(running, str) else running.base
    endpoint = {
        "resourceType": "Endpoint",
        "id": "e",
        "status": "active",
        "connectionType": {"code": "dicom-wado-rs"},
        "address": address,
    }
    content = {"uid": f"urn:oid:{STUDY}", "numberOfInstances": 2, "contained": [endpoint]}
    return fhir_study(1, LONG_AGO, **{**content, "endpoint": [{"reference": "#e"}], **changes})


def pulled(server: FhirServer, link: Connection, data: Dataset, *studies: dict[str, Any]) -> None:
    server.put(*studies)
    pull(link, data, types=TYPES)


def files(data: Dataset) -> list[bytes]:
    return sorted(path.read_bytes() for path in (data.path() / "dicom").rglob("*.dcm"))


@pytest.mark.clause("S4S-12", "S4S-13", "S4S-14")
def test_a_study_is_fetched_from_the_address_its_endpoint_names(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        report = fetch(link, data)
    (request,) = running.requests
    assert request.target == f"/Patient/smart-1288992/$wado-rs/studies/{STUDY}"
    assert request.headers["accept"].startswith("multipart/related; type=")
    assert "application/dicom" in request.headers["accept"]
    assert report.outcome == "done"
    assert files(data) == sorted(PARTS)
    assert len(data.table("dicom_instance")) == 2


def test_the_token_does_not_go_to_an_archive_at_another_origin(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        fetch(link, data)
    assert "authorization" not in running.requests[0].headers


REQUIRES = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/requires-access-token"


@pytest.mark.parametrize(
    ("named_by", "demanded", "signed"),
    [
        ("nobody", True, False),
        ("nobody", None, False),
        ("server", True, True),
        ("server", False, False),
        ("server", None, False),
        ("user", True, True),
        ("user", None, True),
        ("user", False, False),
    ],
)
def test_an_archive_elsewhere_gets_the_token_when_it_is_allowed_and_demanded(
    server: FhirServer, link: Connection, data: Dataset, named_by: str, demanded: bool | None, signed: bool
) -> None:
    """SMART Imaging Access: the extension is necessary; origins: it is not sufficient. S4S knows no such extension."""
    with archive(study_answer(PARTS)) as running:
        study = at(running)
        if demanded is not None:
            study["contained"][0]["extension"] = [{"url": REQUIRES, "valueBoolean": demanded}]
        pulled(server, link, data, study)
        origins = frozenset({origin_of(running.base)})
        named = {
            "nobody": link,
            "server": replace(link, configuration=replace(link.configuration, associated_origins=origins)),
            "user": replace(link, allowed_origins=origins),
        }
        assert fetch(named[named_by], data).outcome == "done"
    assert [request.headers.get("authorization") for request in running.requests] == [
        "Bearer token" if signed else None
    ]


@pytest.mark.clause("S4S-5")
def test_a_busy_archive_is_asked_again_when_it_said(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(BUSY, BUSY, study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        report = fetch(link, data)
    assert report.outcome == "done"
    assert len(running.requests) == 3
    assert report.studies[0].waited_s >= 1.5


def test_a_busy_archive_does_not_hold_up_the_others(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(LATER) as busy, archive(study_answer([image_file("1.2.9.1", study="1.2.9")])) as ready:
        other = at(ready, id="s2", uid="urn:oid:1.2.9", numberOfInstances=1)
        pulled(server, link, data, at(busy), other)
        with pytest.warns(NotEverything):
            report = fetch(link, data, max_wait_s=5)
    assert {study.study_uid: study.state for study in report.studies} == {STUDY: "waiting", "1.2.9": "complete"}
    assert report.outcome == "waiting"
    assert "come back after" in str(report.studies[0].error)


def test_a_wait_is_kept_between_fetches_and_nothing_is_asked_before_its_time(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(LATER, study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        for _ in range(2):
            with pytest.warns(NotEverything):
                assert fetch(link, data, max_wait_s=5).outcome == "waiting"
        assert len(running.requests) == 1
        (data.path() / "dicom" / "waits.json").write_text("{")
        assert fetch(link, data, max_wait_s=5).outcome == "done"
    assert (data.path() / "dicom" / "waits.json").stat().st_mode & 0o077 == 0


def test_an_endpoint_that_moved_is_looked_up_again(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS)) as running:
        endpoint = at(running)["contained"][0]
        gone = {**endpoint, "address": "http://127.0.0.1:9/wado"}
        server.put(gone)
        pulled(server, link, data, at(running, contained=[], endpoint=[{"reference": "Endpoint/e"}]))
        server.put(endpoint)
        assert fetch(link, data).outcome == "done"


def test_a_bad_address_does_not_block_a_good_one(server: FhirServer, link: Connection, data: Dataset) -> None:
    refusing = answer(b"", status="403 Forbidden", content_type=None)
    with archive(refusing) as closed, archive(study_answer(PARTS)) as running:
        ours = at(running)["contained"][0]
        other = {**at(closed)["contained"][0], "id": "closed"}
        references = ["https://other.example/fhir/Endpoint/x", "#closed", "#e"]
        endpoints = [{"reference": reference} for reference in references]
        pulled(server, link, data, at(running, contained=[other, ours], endpoint=endpoints))
        assert fetch(link, data).outcome == "done"
        assert len(closed.requests) == 1


def test_a_study_whose_only_endpoint_lies_at_another_server_says_so(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    foreign = [{"reference": "https://other.example/fhir/Endpoint/x"}]
    pulled(server, link, data, fhir_study(1, LONG_AGO, endpoint=foreign))
    with pytest.warns(NotEverything):
        report = fetch(link, data)
    assert "other.example" in str(report.studies[0].error)


def test_a_broken_stream_is_taken_up_again_and_keeps_what_was_whole(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    half = study_answer(PARTS, cut=len(PARTS[0]) + 400)
    with archive(half, study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        report = fetch(link, data)
    assert len(running.requests) == 2
    assert (report.studies[0].state, report.studies[0].new) == ("complete", 1)
    assert files(data) == sorted(PARTS)


def test_a_stream_that_always_breaks_fails_and_says_so(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS, cut=300)) as running:
        pulled(server, link, data, at(running))
        with pytest.warns(NotEverything):
            report = fetch(link, data)
    assert report.outcome == "failed"
    assert len(running.requests) == 3
    assert report.studies[0].error


def test_a_stream_that_breaks_is_taken_up_as_long_as_each_try_brings_something(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    parts = [image_file(f"1.2.826.6.{number}") for number in range(5)]
    # Each answer has one file more than the one before, and breaks in the next.
    broken = [study_answer(parts, cut=(len(parts[0]) + 150) * number + 400) for number in range(1, 5)]
    with archive(*broken, study_answer(parts)) as running:
        pulled(server, link, data, at(running, numberOfInstances=5))
        report = fetch(link, data)
    assert (len(running.requests), report.studies[0].state) == (5, "complete")
    assert files(data) == sorted(parts)


def test_a_stream_that_broke_has_failed_where_nothing_may_be_waited_for(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS, cut=len(PARTS[0]) + 400), study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        with pytest.warns(NotEverything):
            (study,) = fetch(link, data, max_wait_s=0).studies
    assert (study.state, study.instances, len(running.requests)) == ("failed", 1, 1)
    assert "broke off" in str(study.error)


def test_a_complete_study_is_not_asked_for_again(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        fetch(link, data)
        again = fetch(link, data)
    assert len(running.requests) == 1
    assert (again.studies[0].state, again.studies[0].instances, again.studies[0].new) == ("complete", 2, 0)


def test_a_study_that_has_grown_in_the_record_is_asked_for_again(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    more = [*PARTS, image_file("1.2.826.5.3")]
    with archive(study_answer(PARTS), study_answer(more)) as running:
        pulled(server, link, data, at(running))
        fetch(link, data)
        pulled(server, link, data, at(running, numberOfInstances=3))
        pull(link, data, mode="broad", types=TYPES)
        report = fetch(link, data)
    assert len(running.requests) == 2
    assert (report.studies[0].state, report.studies[0].instances) == ("complete", 3)


def test_fewer_files_than_the_record_declares_is_partial_and_said(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running, numberOfInstances=5))
        with pytest.warns(NotEverything):
            report = fetch(link, data)
    (study,) = report.studies
    assert (study.state, study.instances, study.expected) == ("partial", 2, 5)
    assert "5" in str(study.error)


def test_a_study_without_an_endpoint_is_not_retrievable_and_said(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    pulled(server, link, data, fhir_study(1, LONG_AGO))
    with pytest.warns(NotEverything):
        report = fetch(link, data)
    assert report.studies[0].state == "failed"
    assert "no endpoint" in str(report.studies[0].error)


def test_studies_are_chosen_by_table_or_uid_and_unknown_ones_refused(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        rows = data.table("imaging_study")
        assert [study.study_uid for study in fetch(link, data, rows).studies] == [STUDY]
        assert fetch(link, data, rows.iloc[:0]).studies == ()
        others = rows.assign(patient_id="somebody else", study_uid="1.2.3.4")
        assert [study.study_uid for study in fetch(link, data, pd.concat([rows, others])).studies] == [STUDY]
        assert fetch(link, data, f"urn:oid:{STUDY}").outcome == "done"
    with pytest.raises(NotInDataset, match=r"1\.2\.3\.4 is not in this participant's record. Pull first"):
        fetch(link, data, ["1.2.3.4"])
    with pytest.raises(UsageError, match="no column study_uid"):
        fetch(link, data, pd.DataFrame({"uid": []}))


def test_nothing_lies_outside_the_cache_after_a_fetch(
    server: FhirServer, link: Connection, data: Dataset, tmp_path: Path
) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        fetch(link, data)
    strays = [path for path in tmp_path.rglob("*.dcm") if (data.path() / "dicom") not in path.parents]
    assert strays == []


def test_an_origin_that_the_user_allowed_gets_the_token(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        trusted = replace(link, allowed_origins=frozenset({origin_of(running.base)}))
        fetch(trusted, data)
    assert running.requests[0].headers["authorization"] == "Bearer token"
