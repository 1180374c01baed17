"""Folders of real files: every shape a FHIR file comes in, headers with gaps, links, and what cannot be served."""

from __future__ import annotations

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from s4s_lab.errors import UsageError
from s4s_lab.sandbox.archive import Archive
from s4s_lab.sandbox.archive.dicomfiles import read_dicom_files
from s4s_lab.sandbox.archive.fhirfiles import read_fhir_files
from s4s_lab.sandbox.archive.folders import TYPES, folder_archive, started

WADO = "http://127.0.0.1:1/wado"
CLAIM = {"resourceType": "ExplanationOfBenefit", "id": "1", "patient": {"reference": "Patient/p"}, "insurance": {}}
WRITTEN = datetime(2023, 5, 6, 7, 8, 9, tzinfo=UTC)


def write(folder: Path, name: str, content: object) -> Path:
    """Write a file as JSON, or as it is when it is text or bytes; dated WRITTEN."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    os.utime(path, (WRITTEN.timestamp(),) * 2)
    return path


def claim(resource_id: str, **fields: object) -> dict[str, Any]:
    return CLAIM | {"id": resource_id} | fields


def bundle(*resources: dict[str, Any], kind: str = "searchset") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": one} for one in resources]}


def served(folder: Path, resource_type: str = "ExplanationOfBenefit") -> dict[str, dict[str, Any]]:
    found = read_fhir_files(folder, TYPES)
    return {name: one.resource for (kind, name), one in found.resources.items() if kind == resource_type}


def test_single_resources_bundles_of_any_type_and_ndjson_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "a.json", claim("single"))
    write(
        tmp_path,
        "b/deep/b.JSON",
        bundle(claim("nested"), bundle(claim("inner"), kind="batch-response"), kind="history"),
    )
    write(tmp_path, "c.ndjson", "\n".join(json.dumps(claim(name)) for name in ("line1", "line2")) + "\n\n")
    write(tmp_path, "d.json", "\ufeff" + json.dumps(claim("marked")))
    write(tmp_path, "e.ndjson", json.dumps(bundle(claim("one")), indent=2))
    write(tmp_path, "f.txt", json.dumps(claim("no-json-name")))
    write(tmp_path, "g.jsonl", json.dumps(claim("jsonl")))
    assert set(served(tmp_path)) == {"single", "nested", "inner", "line1", "line2", "marked", "one", "jsonl"}


def test_what_is_no_stu3_fhir_is_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "good.json", claim("1"))
    write(tmp_path, "broken.json", '{"resourceType": ')
    write(tmp_path, "nan.json", '{"resourceType": "Patient", "x": NaN}')
    write(tmp_path, "latin.json", b'{"resourceType": "Patient", "id": "\xe9"}')
    write(tmp_path, "entry.json", {"resourceType": "Bundle", "entry": 7})
    write(tmp_path, "list.json", [])
    write(tmp_path, "other.json", {"hello": "world"})
    write(tmp_path, "r4.json", claim("2", insurance=[{"focal": True}]))
    write(tmp_path, "r4-bundle.json", bundle(claim("3"), {"resourceType": "ServiceRequest", "id": "s"}))
    write(tmp_path, "r4-study.json", {"resourceType": "ImagingStudy", "id": "4", "status": "available", "subject": {}})
    write(tmp_path, "nobody.json", {"resourceType": "ImagingStudy", "id": "5", "uid": "urn:oid:1.2"})
    found = read_fhir_files(tmp_path, TYPES)
    assert set(served(tmp_path)) == {"1"}
    assert found.counts == {"files": 2, "unreadable": 5, "no FHIR": 1, "other version": 3, "without a patient": 1}
    assert found.left_out == 9


def test_the_newest_version_is_served_else_the_first_by_path(tmp_path: Path) -> None:
    stamp = "2020-01-0{}T00:00:00.000Z"
    write(tmp_path, "1.json", claim("x", note="first", meta={"lastUpdated": stamp.format(1)}))
    write(tmp_path, "2.json", claim("x", note="newest", meta={"lastUpdated": stamp.format(3)}))
    write(tmp_path, "3.json", claim("x", note="last", meta={"lastUpdated": stamp.format(2)}))
    write(tmp_path, "4.json", claim("x", note="undated"))
    write(tmp_path, "5.json", bundle(claim("y", note="first"), claim("y", note="second")))
    write(tmp_path, "6.json", claim("y", note="third"))
    assert {name: one["note"] for name, one in served(tmp_path).items()} == {"x": "newest", "y": "first"}


@pytest.mark.parametrize("meta", [None, {}, {"lastUpdated": "IGNORED_FIELD"}, {"lastUpdated": 7}, "text"])
def test_a_resource_without_a_readable_moment_gets_the_files(tmp_path: Path, meta: object) -> None:
    write(tmp_path, "1.json", claim("1", meta=meta))
    assert served(tmp_path)["1"]["meta"]["lastUpdated"] == "2023-05-06T07:08:09.000Z"
    assert served(tmp_path)["1"]["meta"]["versionId"] == "1"


def test_what_a_file_says_of_itself_is_kept_as_it_is_spelled(tmp_path: Path) -> None:
    meta = {"lastUpdated": "2020-12-09T16:19:38.6790+11:00", "versionId": "7", "profile": ["urn:x"]}
    spelled = json.dumps(claim("1", meta=meta))[:-1] + ', "amount": 120.00, "big": 1E-22, "text": "\\u00e9"}'
    write(tmp_path, "1.json", spelled)
    (stored,) = read_fhir_files(tmp_path, TYPES).resources.values()
    assert stored.resource["meta"] == meta
    assert (stored.version_id, stored.last_updated) == ("7", datetime(2020, 12, 9, 5, 19, 38, 679000, tzinfo=UTC))
    assert b"120.00" in stored.raw
    assert b"1E-22" in stored.raw
    assert b"\\u00e9" in stored.raw


def test_a_resource_without_an_id_gets_the_same_one_every_time(tmp_path: Path) -> None:
    nameless = {name: value for name, value in CLAIM.items() if name != "id"}
    write(tmp_path, "1.json", nameless)
    write(tmp_path, "2.json", bundle(nameless, nameless | {"status": "active"}))
    first, second = sorted(served(tmp_path)), sorted(served(tmp_path))
    assert first == second
    assert len(first) == 2
    assert all(name.startswith("file-") for name in first)


@pytest.mark.parametrize(
    "reference", ["Patient/p", "http://other.example/fhir/Patient/p", "Patient/p/_history/3", "urn:uuid:0-1"]
)
def test_a_patient_is_found_however_it_is_referred_to(tmp_path: Path, reference: str) -> None:
    entries = [
        {"fullUrl": "urn:uuid:0-1", "resource": {"resourceType": "Patient", "id": "p"}},
        {"resource": claim("1", patient={"reference": reference, "display": "P"})},
        {"resource": {"resourceType": "Coverage", "id": "2", "beneficiary": {"reference": reference}}},
        {"resource": {"resourceType": "DiagnosticReport", "id": "3", "subject": {"reference": reference}}},
    ]
    write(tmp_path, "1.json", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
    found = read_fhir_files(tmp_path, TYPES).resources
    assert {one.patient_id for one in found.values()} == {"p"}
    assert found["ExplanationOfBenefit", "1"].resource["patient"] == {"reference": "Patient/p", "display": "P"}


def test_urns_are_resolved_within_their_own_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        entries = [
            {"fullUrl": "urn:uuid:0-1", "resource": {"resourceType": "Patient", "id": name}},
            {
                "resource": claim(
                    f"of-{name}", patient={"reference": "urn:uuid:0-1"}, provider={"reference": "urn:uuid:9"}
                )
            },
        ]
        write(tmp_path, f"{name}.json", {"resourceType": "Bundle", "type": "collection", "entry": entries})
    assert {name: one["patient"]["reference"] for name, one in served(tmp_path).items()} == {
        "of-a": "Patient/a",
        "of-b": "Patient/b",
    }
    assert served(tmp_path)["of-a"]["provider"]["reference"] == "urn:uuid:9"


def test_who_is_only_referred_to_becomes_a_participant(tmp_path: Path) -> None:
    write(tmp_path, "1.json", claim("1"))
    patient = {"resourceType": "Patient", "id": "q", "name": [{"given": ["Ada"], "family": "B"}], "birthDate": "1970"}
    write(tmp_path, "2.json", bundle(patient, {"resourceType": "Patient", "id": "r", "name": [{"text": "C D"}, None]}))
    archive = folder_archive(tmp_path, None, None, WADO)
    assert [(one.patient_id, one.name, one.birth_date) for one in archive.participants] == [
        ("q", "Ada B", "1970"),
        ("r", "C D", ""),
        ("p", "p", ""),
    ]
    minimal = archive.read("Patient", "p")
    assert minimal is not None
    assert minimal.resource == {
        "resourceType": "Patient",
        "id": "p",
        "meta": {"versionId": "1", "lastUpdated": "2023-05-06T07:08:09.000Z"},
    }
    assert archive.notice == f"Served are 2 FHIR files of {tmp_path.name} (0 left out)."


def header(**values: object) -> Dataset:
    dataset = Dataset()
    right = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.2",
        "StudyInstanceUID": "1.2", "Modality": "CT", "PatientID": "77", "PatientName": "Doe^Jane^Q",
        "PatientSex": "F", "PatientBirthDate": "19700102", "StudyDate": "20200304", "StudyTime": "050607.5",
        "ReferringPhysicianName": "Roe^Richard^^Dr", "SeriesNumber": 3, "InstanceNumber": 1,
    }  # fmt: skip
    for keyword, value in (right | values).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def dicom(folder: Path, name: str, *, preamble: bool = True, **values: object) -> bytes:
    """Write a DICOM file; without a preamble it is a bare data set, as some archives hold them."""
    dataset = header(**values)
    buffer = io.BytesIO()
    if preamble:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    else:
        pydicom.dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    write(folder, name, buffer.getvalue())
    return buffer.getvalue()


def studies(archive: Archive, patient_id: str) -> list[dict[str, Any]]:
    return [one.resource for one in archive.snapshot("ImagingStudy", patient_id)[1]]


def test_a_study_is_made_from_headers(tmp_path: Path) -> None:
    dicom(tmp_path, "1", AccessionNumber="A1", StudyID="S", StudyDescription="Head", TimezoneOffsetFromUTC="-0500")
    dicom(tmp_path, "2.dcm", SOPInstanceUID="1.2.3.2", InstanceNumber=2)
    dicom(tmp_path, "3.dcm", SOPInstanceUID="1.2.3.3", SeriesInstanceUID="1.2.1", SeriesNumber=1, Modality="SR")
    archive = folder_archive(None, tmp_path, None, WADO)
    (study,) = studies(archive, "dicom-77")
    assert study["uid"] == "urn:oid:1.2"
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (2, 3)
    assert [(one["number"], one["uid"], one["numberOfInstances"]) for one in study["series"]] == [
        (1, "urn:oid:1.2.1", 1),
        (3, "urn:oid:1.2.2", 2),
    ]
    assert [one["number"] for one in study["series"][1]["instance"]] == [1, 2]
    assert [one["code"] for one in study["modalityList"]] == ["SR", "CT"]
    assert study["referrer"]["display"] == "Dr Richard Roe"
    assert study["meta"]["lastUpdated"] == "2023-05-06T07:08:09.000Z"
    endpoint = archive.read(*study["endpoint"][0]["reference"].split("/"))
    assert endpoint is not None
    assert endpoint.resource["address"] == WADO
    (person,) = archive.participants
    assert (person.name, person.birth_date) == ("Jane Q Doe", "1970-01-02")


def test_files_are_served_as_they_are_and_the_first_of_an_instance_wins(tmp_path: Path) -> None:
    first = dicom(tmp_path, "a/1.dcm")
    dicom(tmp_path, "b/1.dcm", StudyDescription="again")
    bare = dicom(tmp_path, "c/bare", preamble=False, SOPInstanceUID="1.2.3.2", InstanceNumber=2)
    write(tmp_path, "README.txt", "Not DICOM. " * 40)
    write(tmp_path, "empty.dcm", b"")
    write(tmp_path, "cut.dcm", first[:200])
    dicom(tmp_path, "no-study.dcm", StudyInstanceUID=None, SOPInstanceUID="1.2.3.9")
    good = dicom(tmp_path, "bad-uid.dcm", StudyInstanceUID="1.2.3.45", SOPInstanceUID="1.2.3.8")
    write(tmp_path, "bad-uid.dcm", good.replace(b"1.2.3.45", b"../../xy"))
    files, left_out = read_dicom_files(tmp_path)
    assert (len(files), left_out) == (2, 6)
    assert [one.transfer_syntax_uid for one in files] == [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    study = folder_archive(None, tmp_path, None, WADO).study("1.2", "dicom-77")
    assert study is not None
    contents = []
    for one in study.instances:
        with one.open() as file:
            contents.append(file.read())
    assert contents == [first, bare]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "2020-03-04T05:06:07Z"),
        ({"TimezoneOffsetFromUTC": "+0530"}, "2020-03-04T05:06:07+05:30"),
        ({"TimezoneOffsetFromUTC": "EST"}, "2020-03-04T05:06:07Z"),
        ({"StudyTime": "0506"}, "2020-03-04T05:06:00Z"),
        ({"StudyTime": ""}, "2020-03-04"),
        ({"StudyTime": "2561"}, "2020-03-04"),
        ({"StudyDate": "1997.04.24"}, "1997-04-24T05:06:07Z"),
        ({"StudyDate": "20201345"}, ""),
        ({"StudyDate": ""}, ""),
    ],
)
def test_when_a_study_started_is_told_as_far_as_it_is_known(values: dict[str, str], expected: str) -> None:
    told = {"StudyDate": "20200304", "StudyTime": "050607.123", "TimezoneOffsetFromUTC": ""}
    assert started(told | values) == expected


def test_patients_of_dicom_are_linked_or_stand_alone(tmp_path: Path) -> None:
    fhir, images = tmp_path / "fhir", tmp_path / "dicom"
    write(fhir, "1.json", claim("1"))
    names = {"77": "1.1", "78": "1.2", "A/B é": "1.3", "": "1.4"}
    for patient_id, study_uid in names.items():
        dicom(
            images,
            f"{study_uid}.dcm",
            PatientID=patient_id,
            StudyInstanceUID=study_uid,
            SOPInstanceUID=study_uid + ".1",
        )
    dicom(images, "1.5.dcm", PatientID="", StudyInstanceUID="1.5", SOPInstanceUID="1.5.1")
    link = write(tmp_path, "link.json", {"77": "p", "not there": "p"})
    archive = folder_archive(fhir, images, link, WADO)
    assert [one["uid"] for one in studies(archive, "p")] == ["urn:oid:1.1"]
    assert [one["uid"] for one in studies(archive, "dicom-78")] == ["urn:oid:1.2"]
    assert len(archive.participants) == 5
    assert all(len(studies(archive, one.patient_id)) == 1 for one in archive.participants)
    assert archive.study("1.1", "dicom-78") is None
    patient = archive.read("Patient", "p")
    assert patient is not None
    assert patient.resource["identifier"][0]["value"] == "77"


def test_two_patients_in_one_study_do_not_see_each_others_images(tmp_path: Path) -> None:
    dicom(tmp_path, "1.dcm")
    dicom(tmp_path, "2.dcm", PatientID="78", SOPInstanceUID="1.2.3.2")
    archive = folder_archive(None, tmp_path, None, WADO)
    for patient_id, instance_uid in (("dicom-77", "1.2.3.1"), ("dicom-78", "1.2.3.2")):
        study = archive.study("1.2", patient_id)
        assert study is not None
        assert [one.instance_uid for one in study.instances] == [instance_uid]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "no object of texts"),
        ('{"a": 1}', "no object of texts"),
        ("{", "no JSON"),
        (b"\xff", "no JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_link_file_that_is_none_is_told_in_a_sentence(tmp_path: Path, content: str | bytes | None, told: str) -> None:
    dicom(tmp_path / "dicom", "1.dcm")
    link = tmp_path / "link.json" if content is None else write(tmp_path, "link.json", content)
    with pytest.raises(UsageError, match=f"{told}.*DICOM PatientID to FHIR Patient id"):
        folder_archive(None, tmp_path / "dicom", link, WADO)


def test_a_folder_that_holds_nothing_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no folder .*missing"):
        folder_archive(tmp_path / "missing", None, None, WADO)
    with pytest.raises(UsageError, match="There is no folder"):
        folder_archive(None, write(tmp_path, "file.dcm", b""), None, WADO)
    write(tmp_path, "broken.json", "{")
    with pytest.raises(UsageError, match=r"nothing that can be served\..*found: 1 unreadable"):
        folder_archive(tmp_path, None, None, WADO)
    with pytest.raises(UsageError, match=r"no DICOM file with study, series and instance UIDs\. 2 other files"):
        folder_archive(None, tmp_path, None, WADO)
