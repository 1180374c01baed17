"""Counting real files with nothing of ours: the json module, pydicom, and loops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

Resource = dict[str, Any]


def resources_in(content: Any, full_url: str | None = None) -> Iterator[tuple[Resource, str | None]]:
    """Give every resource of a document, Bundles opened at any depth, with its fullUrl."""
    if not isinstance(content, dict) or "resourceType" not in content:
        return
    if content["resourceType"] != "Bundle":
        yield content, full_url
        return
    for entry in content.get("entry") or ():
        if isinstance(entry, dict) and entry.get("resource"):
            yield from resources_in(entry["resource"], entry.get("fullUrl"))


def documents(folder: Path) -> Iterator[Any]:
    """Give the content of every JSON file below a folder, in the order of the paths."""
    for path in sorted(folder.rglob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8-sig"))


def patient_of(resource: Resource) -> str | None:
    """Give the id that a resource's patient reference ends on."""
    for name in ("patient", "subject", "beneficiary"):
        reference = resource.get(name)
        if isinstance(reference, dict) and "reference" in reference:
            return str(reference["reference"]).rsplit("/", 1)[-1]
    return None


def newest_of_patient(folder: Path, resource_type: str, patient_id: str) -> dict[str, Resource]:
    """Give one patient's resources of a type by id: the newest lastUpdated, else the first file's."""
    found: dict[str, Resource] = {}
    for content in documents(folder):
        for resource, _ in resources_in(content):
            if resource["resourceType"] != resource_type or patient_of(resource) != patient_id:
                continue
            known = found.get(resource["id"])
            if known is None or _stamp(resource) > _stamp(known):
                found[resource["id"]] = resource
    return found


def _stamp(resource: Resource) -> str:
    return str((resource.get("meta") or {}).get("lastUpdated") or "")


@dataclass(frozen=True)
class DicomFile:
    """One real file and the UIDs it carries."""

    path: Path
    patient_id: str
    study_uid: str
    series_uid: str
    instance_uid: str


def dicom_files(folder: Path) -> list[DicomFile]:
    """Give every DICOM image below a folder, the first file of each SOP Instance UID."""
    found: dict[str, DicomFile] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        if "SOPInstanceUID" in header and "StudyInstanceUID" in header:
            uids = (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
            item = DicomFile(path, str(header.PatientID), *map(str, uids))
            found.setdefault(item.instance_uid, item)
    return list(found.values())
