"""Real files that a reader must survive, each with what a right reader makes of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.explore.tabulating import tabulate_many
from s4s_lab.views import Subject, load_view, run_views


@pytest.fixture
def fhir(test_data: Path) -> Path:
    return test_data / "fhir"


def rows(path: Path, view: str) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = tabulate_many(path, [view])[view].to_pylist()
    return table


@pytest.mark.parametrize("version", ["stu3", "r4"])
def test_an_endpoint_at_study_and_series_level_is_one_endpoint(fhir: Path, version: str) -> None:
    path = fhir / version / "hl7-spec" / "ImagingStudy-example-xr.json"
    (study,) = rows(path, "imaging_study")
    assert study["study_uid"] == "2.16.124.113543.6003.1154777499.30246.19789.3503430046"
    assert (study["endpoint_references"], study["parse_issues"]) == (["Endpoint/example-wadors"], [])
    assert (study["accession"], study["modalities"], study["patient_id"]) == ("W12342398", ["DX"], "dicom")
    assert (study["procedure_code"], study["reason_code"]) == ("RPID2589", "357009")
    (series,) = rows(path, "imaging_series")
    assert (series["laterality"], series["number"], series["body_site"]) == ("419161000", 3, "T-15460")
    instances = rows(path, "imaging_instance")
    assert [one["title"] for one in instances] == ["PA VIEW", "LL VIEW"]
    assert {one["sop_class"] for one in instances} == {"1.2.840.10008.5.1.4.1.1.2"}


def test_a_study_without_endpoint_says_that_it_is_not_retrievable(fhir: Path) -> None:
    (study,) = rows(fhir / "stu3/hl7-spec/ImagingStudy-example.json", "imaging_study")
    assert study["parse_issues"] == ["not retrievable: no endpoint"]
    assert study["started"] == datetime(2011, 1, 1, 8, 1, 20, tzinfo=UTC)


def test_a_study_without_id_patient_and_start_is_keyed_by_its_study_uid(fhir: Path) -> None:
    (study,) = rows(fhir / "stu3/rsna-broker/imagingstudy.json", "imaging_study")
    (same,) = rows(fhir / "stu3/hl7-spec/ImagingStudy-example.json", "imaging_study")
    assert study["resource_id"] == study["study_uid"] == same["study_uid"]
    assert (study["patient_id"], study["started"], study["started_text"]) == (None, None, None)
    (instance,) = rows(fhir / "stu3/rsna-broker/imagingstudy.json", "imaging_instance")
    assert (instance["sop_class"], instance["number"]) == (None, 1)


@pytest.mark.parametrize(
    ("file", "studies", "claims"),
    [
        ("r4/smart-generated-synthea/Buddy_MacGyver_*.json", 10, 28),
        ("r4/smart-generated-synthea/José_María_Casares_*.json", 1, 11),
    ],
)
def test_transactions_with_many_types_and_unicode_names_are_read(
    fhir: Path, file: str, studies: int, claims: int
) -> None:
    tables = tabulate_many(str(fhir / file), ["imaging_study", "explanation_of_benefit", "patient"])
    (patient,) = tables["patient"].to_pylist()
    assert tables["imaging_study"].num_rows == studies
    assert tables["explanation_of_benefit"].num_rows == claims
    for name in ("imaging_study", "explanation_of_benefit"):
        assert set(tables[name]["patient_id"].to_pylist()) == {patient["resource_id"]}


def test_a_claim_of_many_lines_and_contained_resources_is_one_claim_of_seven_items(fhir: Path) -> None:
    path = fhir / "stu3/cms-bfd-v1/eobReadCarrierMultipleLines.json"
    (claim,) = rows(path, "explanation_of_benefit")
    assert "last_updated: 'IGNORED_FIELD' is no instant" in claim["parse_issues"]
    assert [one["sequence"] for one in rows(path, "eob_item")] == list(range(1, 8))


def test_the_four_pages_of_one_patient_hold_32_claims(fhir: Path) -> None:
    pages = [fhir / f"stu3/cms-ab2d-pages/20140000008325{page}.json" for page in ("", "_10", "_20", "_30")]
    table = tabulate_many(pages, ["explanation_of_benefit"])["explanation_of_benefit"]
    assert (table.num_rows, len(set(table["resource_id"].to_pylist()))) == (32, 32)
    assert set(table["patient_id"].to_pylist()) == {"20140000008325"}


def test_an_empty_page_has_no_rows(fhir: Path) -> None:
    assert rows(fhir / "stu3/cms-ab2d-pages/20010000001115.json", "explanation_of_benefit") == []


def test_minimal_claims_keep_their_odd_ids_as_text(fhir: Path) -> None:
    claims = rows(fhir / "r4/cms-ab2d-pages/eobbundle.json", "explanation_of_benefit")
    assert len(claims) == 10
    assert "pde--1010252550" in {one["resource_id"] for one in claims}
    assert all(one["patient_id"].startswith("-") for one in claims)
    assert {(one["outcome"], one["created"], one["total_cost"]) for one in claims} == {(None, None, None)}
    assert {one["type"] for one in claims} == {"pharmacy"}


def test_a_claims_id_is_the_resources_not_that_of_the_request(fhir: Path) -> None:
    path = fhir / "stu3/s4s-reference-patients/patient-1288992.fhir-bundle.json"
    (claim,) = rows(path, "explanation_of_benefit")
    assert (claim["resource_id"], claim["type"]) == ("EB3500", "oral")


def test_a_null_in_place_of_meta_is_nothing(fhir: Path) -> None:
    path = fhir / "stu3/s4s-reference-patients/0-practitioner-71032702.fhir-bundle.json"
    view = {
        "resource": "Practitioner",
        "select": [{"column": [{"name": "at", "path": "meta.lastUpdated"}, {"name": "id", "path": "id"}]}],
    }
    loaded = load_view(view)
    table = tabulate_many(path, [loaded])[loaded.name]
    assert table.num_rows > 0
    assert table["at"].null_count == table.num_rows


def test_a_patient_without_id_and_with_nulls_in_lists_is_a_row(fhir: Path) -> None:
    (patient,) = rows(fhir / "stu3/hl7-spec/Patient-null.json", "patient")
    assert patient["resource_id"].startswith("sha256-")
    assert (patient["birth_date"], patient["birth_date_text"]) == (date(1974, 12, 1), "1974-12")
    assert patient["parse_issues"] == []


def test_decimals_far_beyond_any_column_do_not_break_a_view(fhir: Path) -> None:
    column = {"name": "texts", "path": "component.value.ofType(Quantity).value", "collection": True}
    view = load_view({"resource": "Observation", "select": [{"column": [column]}]})
    raw = (fhir / "r4/hl7-spec/Observation-decimal.json").read_bytes()
    (row,) = run_views([view], [Subject(raw)])[view.name].to_pylist()
    assert len(row["texts"]) > 5
    assert any("E-245" in text for text in row["texts"])


def test_the_same_claims_written_with_other_zeros_have_equal_amounts(fhir: Path) -> None:
    def paid(path: Path) -> dict[str, Decimal]:
        claims = rows(path, "explanation_of_benefit")
        return {one["resource_id"].replace("--", "-"): one["payment_amount"] for one in claims}

    two_zeros = paid(fhir / "stu3/cms-ab2d-pages/20140000008325.json")
    one_zero = paid(fhir / "stu3/cms-bb2-webserver/eob_search_v1.json")
    shared = two_zeros.keys() & one_zero.keys()
    assert len(shared) == 10
    assert {key: two_zeros[key] for key in shared} == {key: one_zero[key] for key in shared}


@pytest.mark.parametrize("version", ["stu3", "r4"])
def test_entries_without_a_resource_and_included_ones_are_no_obstacle(fhir: Path, version: str) -> None:
    names = ["Bundle-bundle-example.json", "Bundle-bundle-response.json"]
    present = [fhir / version / "hl7-spec" / name for name in names if (fhir / version / "hl7-spec" / name).exists()]
    assert present
    assert tabulate_many(present, ["imaging_study"])["imaging_study"].num_rows == 0
