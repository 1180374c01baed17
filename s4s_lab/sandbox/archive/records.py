"""FHIR STU3 resources of invented people: Patient, Coverage, ImagingStudy, Endpoint, DiagnosticReport."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from s4s_lab.sandbox.archive.people import Exam, Person
from s4s_lab.sandbox.archive.pictures import instance_uids
from s4s_lab.sandbox.archive.protocols import PROTOCOLS, SeriesProtocol

HOSPITAL = "Marlow Falls General Hospital"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
REQUIRES = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/requires-access-token"
ENDPOINT_ID = "wado-rs"
BLUE_BUTTON = "https://bluebutton.cms.gov/resources"
# Part of Medicare to the plan's name.
PLANS = {"a": "Part A", "b": "Part B", "d": "Part D", "dental": "Dental"}


def patient(person: Person) -> dict[str, Any]:
    """Return a Patient.

    Parameters
    ----------
    person : Person
        Whom it describes.
    """
    return {
        "resourceType": "Patient",
        "id": person.patient_id,
        "identifier": [
            {
                "use": "usual",
                "type": {"coding": [{"system": "http://hl7.org/fhir/v2/0203", "code": "MR"}], "text": "MRN"},
                "system": "urn:oid:2.25.291284870245160413046371894466837137961",
                "value": person.mrn,
            }
        ],
        "active": True,
        "name": [{"use": "official", "family": person.family, "given": [person.given]}],
        "gender": person.gender,
        "birthDate": person.birth_date.isoformat(),
        "address": [
            {
                "use": "home",
                "line": [person.street],
                "city": "Marlow Falls",
                "state": "MA",
                "postalCode": "01999",
                "country": "USA",
            }
        ],
    }


def coverage_id(person: Person, plan: str) -> str:
    """Return the id of a person's Coverage.

    Parameters
    ----------
    person : Person
        Who is covered.
    plan : str
        Key into `PLANS`.
    """
    return f"part-{plan}-{person.mrn}" if len(plan) == 1 else f"{plan}-{person.mrn}"


def coverage(person: Person, plan: str) -> dict[str, Any]:
    """Return a Coverage.

    Parameters
    ----------
    person : Person
        Who is covered.
    plan : str
        Key into `PLANS`.
    """
    return {
        "resourceType": "Coverage",
        "id": coverage_id(person, plan),
        "status": "active",
        "type": {"coding": [{"system": f"{BLUE_BUTTON}/codesystem/coverage-plan", "code": PLANS[plan]}]},
        "subscriberId": person.mrn,
        "beneficiary": {"reference": f"Patient/{person.patient_id}"},
        "period": {"start": "2020-01-01"},
        "payor": [{"display": "Marlow Valley Health Plan"}],
        "grouping": {"subGroup": "Medicare", "subPlan": PLANS[plan]},
    }


def endpoint(wado_url: str, resource_id: str = ENDPOINT_ID) -> dict[str, Any]:
    """Return the Endpoint of the image server.

    Parameters
    ----------
    wado_url : str
        Base address of the WADO-RS service.
    resource_id : str
        Its id, also as a contained resource.

    References
    ----------
    S4S imaging page: the endpoint reference resolves to an Endpoint whose address is a DICOM WADO service. SMART
    Imaging Access: `requires-access-token` says that the same token is wanted there.
    """
    return {
        "resourceType": "Endpoint",
        "id": resource_id,
        "extension": [{"url": REQUIRES, "valueBoolean": True}],
        "status": "active",
        "connectionType": {"system": "http://hl7.org/fhir/endpoint-connection-type", "code": "dicom-wado-rs"},
        "name": "Images by WADO-RS",
        "payloadType": [{"text": "DICOM WADO-RS"}],
        "payloadMimeType": ["application/dicom"],
        "address": wado_url,
    }


def imaging_study(exam: Exam, wado_url: str) -> dict[str, Any]:
    """Return the ImagingStudy of an examination; every second one contains its Endpoint, the others refer to it.

    Parameters
    ----------
    exam : Exam
        The examination.
    wado_url : str
        Base address of the WADO-RS service.
    """
    protocol = PROTOCOLS[exam.protocol]
    contained = exam.number % 2 == 1
    study: dict[str, Any] = {"resourceType": "ImagingStudy", "id": exam.resource_id}
    if contained:
        study["contained"] = [endpoint(wado_url, "images")]
    study |= {
        "uid": f"urn:oid:{exam.study_uid}",
        "accession": {
            "type": {"coding": [{"system": "http://hl7.org/fhir/v2/0203", "code": "ACSN"}]},
            "value": exam.accession,
        },
        "identifier": [{"value": str(exam.number + 1)}],
        "availability": "ONLINE",
        "modalityList": [{"system": DCM, "code": protocol.modality}],
        "patient": {"reference": f"Patient/{exam.person.patient_id}", "display": exam.person.name},
        "started": exam.started.isoformat(),
        "referrer": {"display": f"Dr. {exam.doctor}"},
        "endpoint": [{"reference": "#images" if contained else f"Endpoint/{ENDPOINT_ID}"}],
        "numberOfSeries": len(protocol.series),
        "numberOfInstances": sum(one.count for one in protocol.series),
        "reason": {"text": exam.reason[1]},
        "description": protocol.title,
        "series": [_series(exam, number, one) for number, one in enumerate(protocol.series)],
    }
    return study


def _series(exam: Exam, number: int, series: SeriesProtocol) -> dict[str, Any]:
    protocol = PROTOCOLS[exam.protocol]
    series_uid, uids = instance_uids(exam, number)
    return {
        "uid": f"urn:oid:{series_uid}",
        "number": number + 1,
        "modality": {"system": DCM, "code": protocol.modality},
        "description": series.description,
        "numberOfInstances": series.count,
        "bodySite": {"display": protocol.body_part.capitalize()},
        "started": (exam.started + timedelta(minutes=4 * number)).isoformat(),
        "instance": [
            {"uid": f"urn:oid:{one}", "number": index + 1, "sopClass": f"urn:oid:{protocol.sop_class_uid}"}
            for index, one in enumerate(uids)
        ],
    }


def report(exam: Exam, issued: datetime) -> dict[str, Any]:
    """Return the DiagnosticReport of an examination.

    Parameters
    ----------
    exam : Exam
        The examination.
    issued : datetime
        When it was signed.
    """
    protocol = PROTOCOLS[exam.protocol]
    seen = f"A finding of {exam.lesion_mm:g} mm, see images." if exam.lesion_mm else "Nothing unusual is seen."
    coding = {"system": "http://loinc.org", "code": protocol.loinc}
    return {
        "resourceType": "DiagnosticReport",
        "id": exam.resource_id.replace("img-", "rep-"),
        "status": "final",
        "category": {"coding": [{"system": "http://hl7.org/fhir/v2/0074", "code": "RAD", "display": "Radiology"}]},
        "code": {"coding": [coding], "text": protocol.title},
        "subject": {"reference": f"Patient/{exam.person.patient_id}"},
        "effectiveDateTime": exam.started.isoformat(),
        "issued": issued.isoformat(timespec="milliseconds"),
        "performer": [{"actor": {"display": "Radiology, " + HOSPITAL}}],
        "imagingStudy": [{"reference": f"ImagingStudy/{exam.resource_id}"}],
        "conclusion": f"{protocol.title}. {exam.reason[1]}. {seen}",
    }
