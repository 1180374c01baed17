"""Who and what a resource is about: the patient it names, the DICOM study it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s4s_lab.fhir.elements import objects, text
from s4s_lab.values.uids import bare_uid, is_uid

PATIENT_ELEMENTS = ("patient", "subject", "beneficiary")
"""Elements by which resources of the types that are pulled name their patient."""

_DICOM_UID = "urn:dicom:uid"
_URI = "urn:ietf:rfc:3986"


def study_uid_of(study: dict[str, Any]) -> str | None:
    """Return the Study Instance UID of an ImagingStudy, bare.

    STU3 has it in `uid`, R4 in an `identifier` of system `urn:dicom:uid` or, as `urn:oid:…`, `urn:ietf:rfc:3986`.

    Parameters
    ----------
    study : dict
        The ImagingStudy, STU3 or R4.

    Returns
    -------
    str or None
        None when there is none that has a UID's form.

    References
    ----------
    S4S imaging page, item 2: "The uid value provides a DICOM study unique id". FHIR R4, ImagingStudy.identifier.
    """
    identifiers = objects(study.get("identifier"))
    found = [study.get("uid")]
    found += [identifier.get("value") for identifier in identifiers if identifier.get("system") == _DICOM_UID]
    found += [value for value in _values(identifiers, _URI) if value.strip().lower().startswith("urn:oid:")]
    uids = (bare_uid(value) for value in map(text, found) if value is not None)
    return next(filter(is_uid, uids), None)


def _values(identifiers: list[dict[str, Any]], system: str) -> list[str]:
    values = (text(identifier.get("value")) for identifier in identifiers if identifier.get("system") == system)
    return [value for value in values if value is not None]


def patient_reference_of(resource: Mapping[str, Any]) -> str | None:
    """Return the reference to the patient a resource is about, as the server wrote it.

    Parameters
    ----------
    resource : mapping
        Any resource, STU3 or R4.

    Returns
    -------
    str or None
        From `patient`, `subject` or `beneficiary`.

    References
    ----------
    FHIR STU3: ImagingStudy.patient, DiagnosticReport.subject, Coverage.beneficiary. FHIR R4: ImagingStudy.subject.
    """
    for element in PATIENT_ELEMENTS:
        for value in objects(resource.get(element)):
            if reference := text(value.get("reference")):
                return reference.strip()
    return None
