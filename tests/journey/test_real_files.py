"""The whole chain over real claims and real images, against counts made from the files themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from s4s_lab import Dataset, fetch, open_dataset, pull
from s4s_lab.sandbox import Sandbox
from tests.journey.conftest import BENEFICIARY, DICOM_PATIENT, Launch
from tests.journey.counting import DicomFile, dicom_files, newest_of_patient

Pulled = tuple[Dataset, Path]


@pytest.fixture(scope="module")
def images(test_data: Path) -> list[DicomFile]:
    files = dicom_files(test_data / "dicom" / "pydicom-dicomdirtests")
    return [file for file in files if file.patient_id == DICOM_PATIENT]


@pytest.fixture
def data(real: Sandbox, launch: Launch, tmp_path: Path) -> Dataset:
    link = launch(real, BENEFICIARY)
    data = open_dataset(tmp_path / "data")
    report = pull(link, data)
    assert report.outcome == "done", report
    report = pull(link, data)
    assert report.types[0].mode == "update"
    assert fetch(link, data).outcome == "done"
    return data


def test_tables_and_files_are_what_the_source_files_hold(
    data: Dataset, test_data: Path, images: list[DicomFile]
) -> None:
    claims = newest_of_patient(test_data / "fhir" / "stu3", "ExplanationOfBenefit", BENEFICIARY)
    coverages = newest_of_patient(test_data / "fhir" / "stu3", "Coverage", BENEFICIARY)
    assert len(claims) > 10
    expected = {
        "explanation_of_benefit": len(claims),
        "eob_item": sum(len(claim.get("item") or ()) for claim in claims.values()),
        "coverage": len(coverages),
        "patient": 1,
        "imaging_study": len({file.study_uid for file in images}),
        "imaging_series": len({file.series_uid for file in images}),
        "imaging_instance": len(images),
        "dicom_instance": len(images),
    }
    assert {name: len(data.table(name)) for name in expected} == expected
    assert set(data.table("explanation_of_benefit")["resource_id"]) == set(claims)
    cached = {path.name: path for path in (data.path() / "dicom").rglob("*.dcm")}
    assert len(cached) == len(images)
    for file in images:
        assert cached[f"{file.instance_uid}.dcm"].read_bytes() == file.path.read_bytes(), file.path
