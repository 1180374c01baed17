"""Facts about one resource that tables need beside their columns: its FHIR version, its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from s4s_lab.values.uids import bare_uid, is_uid
from s4s_lab.views.fhirpath import Compilation, Scope, compile_expression, parse

FhirVersion = Literal["stu3", "r4"]
FHIR_VERSIONS: tuple[FhirVersion, ...] = get_args(FhirVersion)
# Both ways to give a Study Instance UID outside `uid`: DICOM's own system, and an OID as a URI.
STUDY_UID = (
    "(uid | identifier.where(system = 'urn:dicom:uid').value"
    " | identifier.where(system = 'urn:ietf:rfc:3986').value.where(startsWith('urn:oid:'))).first()"
)
_MAJOR: dict[str, FhirVersion] = {"3.": "stu3", "4.": "r4"}
_NO_SCOPE = Scope(None, {})
_study_uid = compile_expression(parse(STUDY_UID), Compilation())
_Sign = Callable[[Any], bool]


def _is(kind: type) -> _Sign:
    return lambda value: value.__class__ is kind


def _any(_value: Any) -> bool:
    return True


def _inside(*names: str) -> _Sign:
    """Look for any of the elements in an object, or in the objects of a list."""

    def holds(value: Any) -> bool:
        items = value if isinstance(value, list) else [value]
        return any(isinstance(item, dict) and not item.keys().isdisjoint(names) for item in items)

    return holds


def _claim_system(system: str) -> _Sign:
    def holds(value: Any) -> bool:
        codings = value.get("coding") if isinstance(value, dict) else None
        return isinstance(codings, list) and any(
            isinstance(one, dict) and one.get("system") == system for one in codings
        )

    return holds


def _sop_class(kind: type) -> _Sign:
    def holds(value: Any) -> bool:
        series = value if isinstance(value, list) else [value]
        instances = [one.get("instance") for one in series if isinstance(one, dict)]
        return any(
            isinstance(item, dict) and item.get("sopClass").__class__ is kind
            for found in instances
            for item in (found if isinstance(found, list) else [found])
        )

    return holds


# What only one of the versions writes, by resource type: element → how its value must look.
# Checked against the elements of FHIR 3.0.1 and 4.0.1; DSTU2 shares STU3's forms where a sign is met at all.
_SIGNS: dict[str, dict[FhirVersion, dict[str, _Sign]]] = {
    "ImagingStudy": {
        "stu3": dict.fromkeys(
            ("uid", "patient", "context", "accession", "modalityList", "availability", "reason"), _any
        ) | {"series": _sop_class(str)},
        "r4": dict.fromkeys(
            ("subject", "encounter", "modality", "status", "reasonCode", "reasonReference", "note", "location"), _any
        ) | {"series": _sop_class(dict)},
    },
    "ExplanationOfBenefit": {
        "stu3": dict.fromkeys(
            ("information", "totalCost", "totalBenefit", "unallocDeductable", "organization", "hospitalization",
             "employmentImpacted"), _any
        ) | {
            "insurance": _is(dict), "outcome": _is(dict), "subType": _is(list),
            "item": _inside("service", "careTeamLinkId", "diagnosisLinkId", "procedureLinkId", "informationLinkId"),
            "type": _claim_system("http://hl7.org/fhir/ex-claimtype"),
        },
        "r4": dict.fromkeys(("supportingInfo", "total", "use", "adjudication", "priority"), _any) | {
            "insurance": _is(list), "outcome": _is(str), "subType": _is(dict),
            "item": _inside(
                "productOrService", "careTeamSequence", "diagnosisSequence", "procedureSequence", "informationSequence"
            ),
            "type": _claim_system("http://terminology.hl7.org/CodeSystem/claim-type"),
        },
    },
    "Patient": {"stu3": {"animal": _any}, "r4": {}},
    "Coverage": {
        "stu3": {"grouping": _any, "sequence": _any},
        "r4": {"class": _any, "costToBeneficiary": _any, "subrogation": _any},
    },
    "DiagnosticReport": {
        "stu3": {
            "context": _any, "image": _any, "codedDiagnosis": _any, "category": _is(dict),
            "performer": _inside("actor", "role"),
        },
        "r4": {
            "encounter": _any, "media": _any, "conclusionCode": _any, "category": _is(list),
            "resultsInterpreter": _any, "performer": _inside("reference"),
        },
    },
}  # fmt: skip


def _count(resource: Mapping[str, Any], signs: Mapping[str, _Sign]) -> int:
    return sum(name in resource and looks(resource[name]) for name, looks in signs.items())


def fhir_version_of(resource: Mapping[str, Any]) -> FhirVersion | None:
    """Tell the FHIR version of a resource by its own shape.

    Parameters
    ----------
    resource : Mapping
        A decoded resource.

    Returns
    -------
    str or None
        `stu3` or `r4`, whichever has more of its own elements there; None when the shape does not tell. DSTU2 resources
        look like STU3 as far as they share its elements.
    """
    resource_type = str(resource.get("resourceType"))
    if resource_type == "CapabilityStatement":
        return _MAJOR.get(str(resource.get("fhirVersion"))[:2])
    if resource_type not in _SIGNS:
        return None
    stu3, r4 = (_count(resource, _SIGNS[resource_type][version]) for version in FHIR_VERSIONS)
    return None if stu3 == r4 else "stu3" if stu3 > r4 else "r4"


def resource_key(resource: Mapping[str, Any]) -> str:
    """Return what a resource's rows are keyed by, never null.

    Parameters
    ----------
    resource : Mapping
        A decoded resource.

    Returns
    -------
    str
        Its id; without one, a study's Study Instance UID (bare); else `sha256-` and 16 hex digits of its content.
    """
    resource_id = resource.get("id")
    if isinstance(resource_id, str) and resource_id and _is_unicode(resource_id):
        return resource_id
    if resource.get("resourceType") == "ImagingStudy":
        for found in _study_uid([resource], _NO_SCOPE):
            if isinstance(found, str) and is_uid(bare_uid(found)):
                return bare_uid(found)
    return f"sha256-{hashlib.sha256(_canonical(resource).encode()).hexdigest()[:16]}"


def _canonical(resource: Mapping[str, Any]) -> str:
    try:
        return json.dumps(resource, sort_keys=True, default=str)
    except RecursionError:
        # Nested near Python's limit: what is not nested has to tell such resources apart.
        return json.dumps({name: str(type(value)) for name, value in resource.items()}, sort_keys=True)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
