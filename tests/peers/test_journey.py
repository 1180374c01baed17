"""The whole chain with Orthanc as the image server: launch, pull, Endpoint, fetch, every byte compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s4s_lab import fetch, open_dataset, pull, sandbox
from tests.journey.conftest import Launch
from tests.peers.orthanc import Held, Orthanc

PATIENT = "orthanc-patient"


def study(number: int, study_uid: str, instances: int) -> dict[str, Any]:
    return {
        "resourceType": "ImagingStudy",
        "id": f"study-{number}",
        "uid": f"urn:oid:{study_uid}",
        "patient": {"reference": f"Patient/{PATIENT}"},
        "endpoint": [{"reference": "Endpoint/orthanc"}],
        "numberOfInstances": instances,
    }


@pytest.fixture
def server(orthanc: Orthanc, held: Held, tmp_path: Path) -> Iterator[sandbox.Sandbox]:
    """A sandbox whose record names Orthanc's studies, and Orthanc's address in an Endpoint."""
    endpoint: dict[str, Any] = {
        "resourceType": "Endpoint",
        "id": "orthanc",
        "status": "active",
        "connectionType": {"system": "http://hl7.org/fhir/endpoint-connection-type", "code": "dicom-wado-rs"},
        "payloadType": [{"text": "DICOM WADO-RS"}],
        "address": orthanc.wado_base,
    }
    patient: dict[str, Any] = {
        "resourceType": "Patient",
        "id": PATIENT,
        "name": [{"family": "Doe", "given": ["Peter"]}],
    }
    studies = [study(number, uid, len(files)) for number, (uid, files) in enumerate(held.items())]
    folder = tmp_path / "fhir"
    folder.mkdir()
    for resource in (patient, endpoint, *studies):
        (folder / f"{resource['resourceType']}-{resource['id']}.json").write_text(json.dumps(resource))
    with sandbox.start(fhir=folder) as running:
        yield running


@pytest.mark.clause("S4S-12", "S4S-13", "S4S-14")
def test_studies_come_from_the_archive_the_endpoint_names_byte_for_byte(
    server: sandbox.Sandbox, orthanc: Orthanc, held: Held, launch: Launch, tmp_path: Path
) -> None:
    link = launch(server, PATIENT)
    data = open_dataset(tmp_path / "data")
    assert pull(link, data, types=["ImagingStudy"]).types[0].new == len(held)
    assert data.table("imaging_endpoint")["address"].tolist() == [orthanc.wado_base]
    report = fetch(link, data)
    assert {study.study_uid: study.state for study in report.studies} == dict.fromkeys(held, "complete")
    files = {path.name: path.read_bytes() for path in (data.path() / "dicom").rglob("*.dcm")}
    digests = {name.removesuffix(".dcm"): hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert digests == {uid: digest for instances in held.values() for uid, digest in instances.items()}
    assert len(data.table("dicom_instance")) == len(files)
