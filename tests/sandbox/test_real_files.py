"""Real files served: what comes over the wire against counts made from the files by other means."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest

from s4s_lab import sandbox
from s4s_lab.errors import UsageError
from tests.sandbox.app import App, Reader
from tests.sandbox.test_wado import ACCEPT, parts_of

BENEFICIARY, DICOM_PATIENT = "-20140000008325", "98890234"
Resource = dict[str, Any]


def every_resource(content: Any) -> Iterator[Resource]:
    """The resources of a document, Bundles opened."""
    if isinstance(content, dict) and content.get("resourceType") == "Bundle":
        for entry in content.get("entry") or ():
            yield from every_resource(entry.get("resource"))
    elif isinstance(content, dict) and "resourceType" in content:
        yield content


def resources_of(folder: Path, resource_type: str, patient_id: str) -> dict[str, list[Resource]]:
    """Every version of a patient's resources of a type, by id."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("*.json")):
        for resource in every_resource(json.loads(path.read_text(encoding="utf-8-sig"))):
            named = resource.get("patient") or resource.get("beneficiary") or resource.get("subject") or {}
            if resource["resourceType"] == resource_type and named.get("reference") == f"Patient/{patient_id}":
                found[resource["id"]].append(resource)
    return found


@pytest.fixture(scope="module")
def real(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Sandbox]:
    link = tmp_path_factory.mktemp("link") / "link.json"
    link.write_text(json.dumps({DICOM_PATIENT: BENEFICIARY}))
    dicom = test_data / "dicom" / "pydicom-dicomdirtests"
    with sandbox.start(fhir=test_data / "fhir" / "stu3", dicom=dicom, link=link, retrieve_s=0) as running:
        yield running


@pytest.fixture(scope="module")
def beneficiary(real: sandbox.Sandbox, http: httpx2.Client) -> Reader:
    return reader_of(real, http, BENEFICIARY)


def reader_of(server: sandbox.Sandbox, http: httpx2.Client, patient_id: str) -> Reader:
    number = next(number for number, one in enumerate(server.participants) if one.patient_id == patient_id)
    return App(server, http).reader(number)


@pytest.mark.clause("S4S-8")
def test_claims_are_those_of_the_files_number_for_number(beneficiary: Reader, test_data: Path) -> None:
    held = resources_of(test_data / "fhir" / "stu3", "ExplanationOfBenefit", BENEFICIARY)
    served = beneficiary.resources("ExplanationOfBenefit", patient=BENEFICIARY)
    assert len(served) == len(held) == 13
    for claim in served:
        newest = max(held[claim["id"]], key=lambda version: str(version["meta"]["lastUpdated"]))
        assert {name: one for name, one in claim.items() if name != "meta"} == {
            name: one for name, one in newest.items() if name != "meta"
        }
        assert claim["meta"]["lastUpdated"] == newest["meta"]["lastUpdated"]


def test_money_is_spelled_as_in_the_file(real: sandbox.Sandbox, http: httpx2.Client, test_data: Path) -> None:
    reader = reader_of(real, http, "20140000008325")
    source = (test_data / "fhir" / "stu3" / "cms-ab2d-pages" / "20140000008325.json").read_text()
    served = reader.get("ExplanationOfBenefit/carrier-20587716665").text
    assert '"value":0.00,' in source
    assert '"value":0.00,' in served


def test_coverage_comes_by_beneficiary(beneficiary: Reader, test_data: Path) -> None:
    held = resources_of(test_data / "fhir" / "stu3", "Coverage", BENEFICIARY)
    assert {one["id"] for one in beneficiary.resources("Coverage", beneficiary=BENEFICIARY)} == set(held) != set()


def linked_files(test_data: Path) -> list[tuple[Path, pydicom.Dataset]]:
    folder = test_data / "dicom" / "pydicom-dicomdirtests"
    headers = ((path, pydicom.dcmread(path, stop_before_pixels=True)) for path in folder.rglob("*") if path.is_file())
    return [(path, header) for path, header in headers if header.get("PatientID") == DICOM_PATIENT]


@pytest.mark.clause("S4S-6")
def test_imaging_studies_are_made_from_the_headers(beneficiary: Reader, test_data: Path) -> None:
    files = linked_files(test_data)
    served = beneficiary.resources("ImagingStudy", patient=BENEFICIARY)
    assert len(served) == 4
    for study in served:
        uid = study["uid"].removeprefix("urn:oid:")
        headers = [header for _, header in files if header.StudyInstanceUID == uid]
        assert study["numberOfInstances"] == len(headers) == sum(one["numberOfInstances"] for one in study["series"])
        assert study["numberOfSeries"] == len(study["series"]) == len({one.SeriesInstanceUID for one in headers})
        assert [one["code"] for one in study["modalityList"]] == sorted({one.Modality for one in headers})
        assert study["started"].startswith(f"{headers[0].StudyDate[:4]}-{headers[0].StudyDate[4:6]}-")
        assert study.get("description", "") == headers[0].get("StudyDescription", "")
    assert sum(one["numberOfInstances"] for one in served) == len(files) == 24


@pytest.mark.clause("S4S-12", "S4S-14")
def test_images_are_the_files_byte_for_byte(beneficiary: Reader, test_data: Path) -> None:
    files = {str(header.SOPInstanceUID): path.read_bytes() for path, header in linked_files(test_data)}
    received: dict[str, bytes] = {}
    for study in beneficiary.resources("ImagingStudy"):
        endpoint = beneficiary.get(study["endpoint"][0]["reference"]).json()
        url = f"{endpoint['address']}/studies/{study['uid'].removeprefix('urn:oid:')}"
        for headers, content in parts_of(beneficiary.get(url, ACCEPT)):
            received[headers["content-location"].rpartition("/")[2]] = content
    digests = {uid: hashlib.sha256(content).hexdigest() for uid, content in received.items()}
    assert digests == {uid: hashlib.sha256(content).hexdigest() for uid, content in files.items()}


def test_an_unlinked_dicom_patient_is_a_participant_of_its_own(real: sandbox.Sandbox, http: httpx2.Client) -> None:
    reader = reader_of(real, http, "dicom-77654033")
    patient = reader.get("Patient/dicom-77654033").json()
    assert patient["identifier"][0]["value"] == "77654033"
    assert patient["name"] == [{"family": "Doe", "given": ["Archibald"]}]
    studies = reader.resources("ImagingStudy")
    assert sorted(one["numberOfInstances"] for one in studies) == [3, 4]
    assert reader.resources("ExplanationOfBenefit") == []


def test_urn_references_of_a_bundle_become_addresses_of_this_server(real: sandbox.Sandbox, http: httpx2.Client) -> None:
    reader = reader_of(real, http, "af9d61c1-30b4-452b-9f07-abe1cb6d0a12") if real.participants else None
    assert reader is not None
    study = reader.resources("ImagingStudy")[0]
    assert study["uid"] == "urn:oid:1.2.840.99999999.45663836.1588766264178"
    assert study["patient"]["reference"] == f"Patient/{reader.patient_id}"
    assert "urn:uuid:" not in json.dumps(reader.resources("ExplanationOfBenefit"))


def test_every_patient_of_the_files_is_offered(real: sandbox.Sandbox, test_data: Path) -> None:
    offered = {one.patient_id for one in real.participants}
    for path in (test_data / "fhir" / "stu3").rglob("*.json"):
        for resource in every_resource(json.loads(path.read_text(encoding="utf-8-sig"))):
            if resource["resourceType"] == "Patient" and "id" in resource:
                assert resource["id"] in offered, path


def test_a_change_happens_to_real_records_too(test_data: Path, http: httpx2.Client) -> None:
    dicom = test_data / "dicom" / "pydicom-dicomdirtests"
    with sandbox.start(dicom=dicom, retrieve_s=0) as server:
        reader = reader_of(server, http, "dicom-98890234")
        before = {one["id"]: one for one in reader.resources("ImagingStudy")}
        change = server.change("dicom-98890234")
        after = reader.resources("ImagingStudy")
        assert len(after) == len(before) == 4
        removed = before[change.removed[0].partition("/")[2]]
        assert reader.get(reader.study_url(removed)).status_code == 404
        assert all(reader.get(reader.study_url(one)).status_code == 200 for one in after)


def test_a_link_to_nobody_is_told_in_a_sentence(test_data: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.write_text(json.dumps({DICOM_PATIENT: "nobody"}))
    dicom = test_data / "dicom" / "pydicom-dicomdirtests"
    with pytest.raises(UsageError, match="names Patient nobody, of whom the FHIR files hold nothing"):
        sandbox.start(fhir=test_data / "fhir" / "stu3" / "cms-bb2-webserver", dicom=dicom, link=link)


# pydicom warns of what these files get wrong; here it only counts them.
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_every_real_dicom_file_is_served_byte_for_byte_with_its_metadata(test_data: Path, http: httpx2.Client) -> None:
    contents = [path.read_bytes() for path in (test_data / "dicom").rglob("*") if path.is_file()]
    digests = {hashlib.sha256(content).digest() for content in contents}
    served, told = 0, 0
    with sandbox.start(dicom=test_data / "dicom", retrieve_s=0) as server:
        for number in range(len(server.participants)):
            reader = App(server, http).reader(number)
            for study in reader.resources("ImagingStudy"):
                parts = parts_of(reader.get(reader.study_url(study), ACCEPT))
                assert len(parts) == study["numberOfInstances"]
                assert {hashlib.sha256(content).digest() for _, content in parts} <= digests
                served += len(parts)
                told += len(reader.get(reader.study_url(study) + "/metadata").json())
    assert served == told == len(instance_uids(test_data / "dicom"))


def instance_uids(folder: Path) -> set[str]:
    """The SOP Instance UIDs of the files that have study and series UIDs too."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if all(keyword in header for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
                found.add(str(header.SOPInstanceUID))
    return found
