"""The archive of real files: FHIR resources by patient, DICOM studies, and what links the two."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from s4s_lab.errors import UsageError
from s4s_lab.sandbox.archive.dicomfiles import DicomFile, read_dicom_files
from s4s_lab.sandbox.archive.fhirfiles import Found, read_fhir_files
from s4s_lab.sandbox.archive.records import DCM, endpoint
from s4s_lab.sandbox.archive.store import Archive, ImageStudy, Instance, Participant, Stored, store
from s4s_lab.values.instants import parse_date_time

TYPES = ("ImagingStudy", "ExplanationOfBenefit", "Coverage", "DiagnosticReport", "Patient", "Endpoint")
ENDPOINT_ID = "sandbox-wado-rs"
_PLAIN_ID = re.compile(r"[A-Za-z0-9.-]{1,58}")
_LINK_HINT = 'It must be a JSON object such as {"98890234": "smart-1288992"}: DICOM PatientID to FHIR Patient id.'
_GENDERS = {"M": "male", "F": "female", "O": "other"}


def folder_archive(fhir: Path | None, dicom: Path | None, link: Path | None, wado_url: str) -> Archive:
    """Return an archive of real files.

    Parameters
    ----------
    fhir, dicom : Path or None
        Folders, at least one of them.
    link : Path or None
        JSON file: DICOM PatientID to FHIR Patient id.
    wado_url : str
        Base address of the WADO-RS service.

    Raises
    ------
    UsageError
        If a folder or file is not what it should be, or nothing in it can be served.
    """
    found = _read_fhir(fhir)
    files, left_out = _read_dicom(dicom)
    resources = dict(found.resources)
    if files:
        made, studies = _studies(files, _patients_of(files, _read_link(link, dicom), found, fhir), wado_url)
        for one in made:
            resources.setdefault((one.resource_type, one.resource_id), one)
    else:
        studies = []
    for one in _minimal_patients(resources.values()):
        resources[one.resource_type, one.resource_id] = one
    archive = Archive(_participants(resources.values()), _notice(found, fhir, len(files), left_out, dicom))
    archive.put(resources.values(), studies)
    return archive


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"There is no folder {path}.", hint="Give the folder that holds the files.")
    return path


def _read_fhir(folder: Path | None) -> Found:
    if folder is None:
        return Found()
    found = read_fhir_files(_folder(folder), TYPES)
    if not found.resources:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(found.counts.items())) or "no JSON files"
        hint = f"It takes FHIR STU3 as .json or .ndjson; found: {told}."
        raise UsageError(f"The folder {folder} holds nothing that can be served.", hint=hint)
    return found


def _read_dicom(folder: Path | None) -> tuple[list[DicomFile], int]:
    if folder is None:
        return [], 0
    files, left_out = read_dicom_files(_folder(folder))
    if not files:
        text = f"The folder {folder} holds no DICOM file with study, series and instance UIDs."
        raise UsageError(text, hint=f"{left_out} other files were seen.")
    return files, left_out


def _read_link(path: Path | None, dicom: Path | None) -> dict[str, str]:
    """Return which DICOM PatientID is which FHIR Patient."""
    if path is None or dicom is None:
        return {}
    content = _json(path)
    if not isinstance(content, dict) or not all(isinstance(one, str) and one for one in content.values()):
        raise UsageError(f"The link file {path} is no object of texts.", hint=_LINK_HINT)
    return content


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError:
        raise UsageError(f"The link file {path} cannot be read.", hint=_LINK_HINT) from None
    except ValueError:
        raise UsageError(f"The link file {path} is no JSON.", hint=_LINK_HINT) from None


def _patients_of(files: Sequence[DicomFile], links: dict[str, str], found: Found, fhir: Path | None) -> dict[Path, str]:
    """Return the FHIR Patient id of each file."""
    known = {one.patient_id for one in found.resources.values()}
    missing = sorted(set(links.values()) - known) if fhir is not None else []
    if missing:
        text = f"The link file names Patient {missing[0]}, of whom the FHIR files hold nothing."
        raise UsageError(text, hint="Give the id of a Patient that the files hold or refer to.")
    return {one.path: links.get(one.header["PatientID"]) or _own_patient_id(one) for one in files}


def _own_patient_id(file: DicomFile) -> str:
    """Return the id of a Patient that is known from DICOM files only; nameless studies are not mixed."""
    named = file.header["PatientID"]
    if _PLAIN_ID.fullmatch(named):
        return f"dicom-{named}"
    return "dicom-" + hashlib.sha256((named or file.header["StudyInstanceUID"]).encode()).hexdigest()[:16]


def _minimal_patients(resources: Iterable[Stored]) -> list[Stored]:
    """Return a Patient for everyone who is only referred to."""
    held, referred = set(), dict[str, datetime]()
    for one in resources:
        if one.resource_type == "Patient":
            held.add(one.resource_id)
        elif one.patient_id is not None:
            referred[one.patient_id] = max(one.last_updated, referred.get(one.patient_id, one.last_updated))
    return [
        store({"resourceType": "Patient", "id": name}, name, moment)
        for name, moment in referred.items()
        if name not in held
    ]


def _participants(resources: Iterable[Stored]) -> tuple[Participant, ...]:
    people = (
        Participant(one.resource_id, _name(one.resource) or one.resource_id, str(one.resource.get("birthDate") or ""))
        for one in resources
        if one.resource_type == "Patient"
    )
    return tuple(sorted(people, key=lambda one: (one.name.casefold(), one.patient_id)))


def _name(patient: dict[str, Any]) -> str:
    """Return the first name that can be read, as people write it."""
    names = (name for name in patient.get("name") or () if isinstance(name, dict))
    return next(filter(None, map(_written, names)), "")


def _written(name: dict[str, Any]) -> str:
    parts = [*(name.get("given") or ()), name.get("family")]
    return " ".join(str(part) for part in parts if part) or str(name.get("text") or "")


def _notice(found: Found, fhir: Path | None, files: int, left_out: int, dicom: Path | None) -> str:
    told = []
    if fhir is not None:
        told.append(f"{found.counts['files']} FHIR files of {fhir.name} ({found.left_out} left out)")
    if dicom is not None:
        told.append(f"{files} DICOM files of {dicom.name} ({left_out} left out)")
    return f"Served are {' and '.join(told)}."


def _studies(
    files: Sequence[DicomFile], patients: dict[Path, str], wado_url: str
) -> tuple[list[Stored], list[ImageStudy]]:
    """Return the resources that DICOM files lead to, and their images."""

    def study_key(one: DicomFile) -> tuple[str, str]:
        return patients[one.path], one.header["StudyInstanceUID"]

    newest = max(one.modified for one in files)
    resources, studies = [store(endpoint(wado_url, ENDPOINT_ID), None, newest)], []
    for (patient_id, study_uid), group in groupby(sorted(files, key=study_key), key=study_key):
        ordered = sorted(group, key=_position)
        resources.append(store(_patient(patient_id, ordered[0]), patient_id, ordered[0].modified))
        moment = max(one.modified for one in ordered)
        resources.append(store(imaging_study(patient_id, ordered), patient_id, moment))
        instances = tuple(
            Instance(one.header["SeriesInstanceUID"], one.header["SOPInstanceUID"], one.transfer_syntax_uid, one.open)
            for one in ordered
        )
        studies.append(ImageStudy(study_uid, patient_id, instances))
    return resources, studies


def _position(one: DicomFile) -> tuple[int, str, int, str]:
    """Return where a file stands in its study; what has no number comes first."""
    series, instance = (one.number(keyword) for keyword in ("SeriesNumber", "InstanceNumber"))
    first = -1
    return (
        first if series is None else series,
        one.header["SeriesInstanceUID"],
        first if instance is None else instance,
        one.header["SOPInstanceUID"],
    )


def _patient(patient_id: str, file: DicomFile) -> dict[str, Any]:
    header = file.header
    kind = {"coding": [{"system": "http://hl7.org/fhir/v2/0203", "code": "MR"}]}
    family, _, given = header["PatientName"].partition("=")[0].partition("^")
    name = _filled({"family": family, "given": [one for one in given.split("^")[:2] if one]})
    return _filled({
        "resourceType": "Patient",
        "id": patient_id,
        "identifier": [{"type": kind, "value": header["PatientID"]}] if header["PatientID"] else None,
        "name": [name],
        "gender": _GENDERS.get(header["PatientSex"]),
        "birthDate": _date(header["PatientBirthDate"]),
    })  # fmt: skip


def _date(text: str) -> str:
    """Return a DICOM date as a FHIR date, empty when it is none; the dotted form of ACR-NEMA is taken too."""
    digits = text.replace(".", "")
    written = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
    try:
        parse_date_time(written)
    except ValueError:
        return ""
    return written


def started(header: dict[str, str]) -> str:
    """Return when a study started as a FHIR dateTime, empty when the header does not say.

    Parameters
    ----------
    header : dict of str
        With StudyDate, StudyTime and TimezoneOffsetFromUTC.

    References
    ----------
    FHIR STU3, "dateTime": a time has a zone; without TimezoneOffsetFromUTC, UTC is written. DICOM PS3.5, section 6.2.
    """
    day, time = _date(header["StudyDate"]), header["StudyTime"].partition(".")[0].replace(":", "")
    if not day or not re.fullmatch(r"(?:[01]\d|2[0-3])(?:[0-5]\d){1,2}", time):
        return day
    zone = header["TimezoneOffsetFromUTC"]
    offset = f"{zone[:3]}:{zone[3:]}" if re.fullmatch(r"[+-]\d{4}", zone) else "Z"
    return f"{day}T{time[:2]}:{time[2:4]}:{time[4:6] or '00'}{offset}"


def imaging_study(patient_id: str, files: Sequence[DicomFile]) -> dict[str, Any]:
    """Return the ImagingStudy of the files of one study.

    Parameters
    ----------
    patient_id : str
        Whose study it is.
    files : sequence of DicomFile
        Grouped by series, in order.

    References
    ----------
    FHIR STU3, "ImagingStudy"; the mapping follows the C-FIND keys that the RSNA broker used.
    """
    header = files[0].header
    uid = header["StudyInstanceUID"]
    groups = [list(group) for _, group in groupby(files, key=lambda one: one.header["SeriesInstanceUID"])]
    modalities = dict.fromkeys(one.header["Modality"] for one in files if one.header["Modality"])
    return _filled({
        "resourceType": "ImagingStudy",
        "id": "dicom-" + hashlib.sha256(f"{patient_id} {uid}".encode()).hexdigest()[:16],
        "uid": f"urn:oid:{uid}",
        "accession": _filled({"value": header["AccessionNumber"]}),
        "identifier": [_filled({"value": header["StudyID"]})],
        "availability": "ONLINE",
        "modalityList": [{"system": DCM, "code": code} for code in modalities],
        "patient": {"reference": f"Patient/{patient_id}"},
        "started": started(header),
        "referrer": _filled({"display": _spoken(header["ReferringPhysicianName"])}),
        "endpoint": [{"reference": f"Endpoint/{ENDPOINT_ID}"}],
        "numberOfSeries": len(groups),
        "numberOfInstances": len(files),
        "description": header["StudyDescription"],
        "series": [_series(group) for group in groups],
    })  # fmt: skip


def _filled(element: dict[str, Any]) -> dict[str, Any]:
    """Return an element without what is empty: FHIR JSON has neither empty texts nor empty objects."""
    return {name: value for name, value in element.items() if value not in ("", {}, [], [{}], None)}


def _spoken(name: str) -> str:
    """Return a DICOM person name as people write it: prefix, given, middle, family, suffix."""
    parts = [*name.partition("=")[0].split("^"), "", "", "", ""][:5]
    family, given, middle, prefix, suffix = parts
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)


def _series(files: Sequence[DicomFile]) -> dict[str, Any]:
    header = files[0].header
    return _filled({
        "uid": f"urn:oid:{header['SeriesInstanceUID']}",
        "number": files[0].number("SeriesNumber"),
        "modality": {"system": DCM, "code": header["Modality"]} if header["Modality"] else None,
        "description": header["SeriesDescription"],
        "numberOfInstances": len(files),
        "bodySite": _filled({"display": header["BodyPartExamined"]}),
        "instance": [
            _filled({
                "uid": f"urn:oid:{one.header['SOPInstanceUID']}",
                "number": one.number("InstanceNumber"),
                "sopClass": f"urn:oid:{one.header['SOPClassUID']}" if one.header["SOPClassUID"] else None,
            })
            for one in files
        ],
    })  # fmt: skip
