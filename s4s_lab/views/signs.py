"""What only one FHIR version writes, by which a resource tells its version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

FhirVersion = Literal["stu3", "r4"]
FHIR_VERSIONS: tuple[FhirVersion, ...] = get_args(FhirVersion)
Form = Literal["any", "text", "object", "list"]
# Reads an element of an object, None where it has none; objects are dicts or the structs of a projection.
Read = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Sign:
    """An element, or the first of several, that one version writes, or writes in a form of its own.

    Parameters
    ----------
    paths : tuple of tuple of str
        From the resource to the elements; lists on the way are looked through.
    form : str
        How it must look.
    value : str, optional
        What it must say.
    """

    paths: tuple[tuple[str, ...], ...]
    form: Form = "any"
    value: str | None = None

    def holds(self, resource: Any, read: Read) -> bool:
        """Say whether a resource bears it.

        Parameters
        ----------
        resource : object
            A decoded resource.
        read : Callable
            `(object, element) → value`.
        """
        return any(self.looks(found) for path in self.paths for found in _reach(resource, path, read))

    def looks(self, found: Any) -> bool:
        """Say whether a value has the form.

        Parameters
        ----------
        found : object
            A JSON value or a struct; None counts as absent.
        """
        if found is None or (self.value is not None and found != self.value):
            return False
        match self.form:
            case "text":
                return isinstance(found, str)
            case "list":
                return isinstance(found, list)
            case "object":
                return not isinstance(found, str | int | float | list)
            case _:
                return True


def _reach(value: Any, path: tuple[str, ...], read: Read) -> Iterator[Any]:
    if not path:
        yield value
        return
    for item in value if isinstance(value, list) else [value]:
        if item is not None:
            yield from _reach(read(item, path[0]), path[1:], read)


def _there(*names: str) -> list[Sign]:
    return [Sign(((name,),)) for name in names]


def _inside(name: str, *children: str) -> Sign:
    return Sign(tuple((name, child) for child in children))


_SOP_CLASS = (("series", "instance", "sopClass"),)
_CLAIM_TYPE = (("type", "coding", "system"),)
# Checked against the elements of FHIR 3.0.1 and 4.0.1; DSTU2 shares STU3's forms where a sign is met at all.
SIGNS: dict[str, dict[FhirVersion, list[Sign]]] = {
    "ImagingStudy": {
        "stu3": [
            *_there("uid", "patient", "context", "accession", "modalityList", "availability", "reason"),
            Sign(_SOP_CLASS, "text"),
        ],
        "r4": [
            *_there("subject", "encounter", "modality", "status", "reasonCode", "reasonReference", "note", "location"),
            Sign(_SOP_CLASS, "object"),
        ],
    },
    "ExplanationOfBenefit": {
        "stu3": [
            *_there("information", "totalCost", "totalBenefit", "unallocDeductable", "organization", "hospitalization",
                    "employmentImpacted"),
            Sign((("insurance",),), "object"), Sign((("outcome",),), "object"), Sign((("subType",),), "list"),
            _inside("item", "service", "careTeamLinkId", "diagnosisLinkId", "procedureLinkId", "informationLinkId"),
            Sign(_CLAIM_TYPE, value="http://hl7.org/fhir/ex-claimtype"),
        ],
        "r4": [
            *_there("supportingInfo", "total", "use", "adjudication", "priority"),
            Sign((("insurance",),), "list"), Sign((("outcome",),), "text"), Sign((("subType",),), "object"),
            _inside("item", "productOrService", "careTeamSequence", "diagnosisSequence", "procedureSequence",
                    "informationSequence"),
            Sign(_CLAIM_TYPE, value="http://terminology.hl7.org/CodeSystem/claim-type"),
        ],
    },
    "Patient": {"stu3": _there("animal"), "r4": []},
    "Coverage": {"stu3": _there("grouping", "sequence"), "r4": _there("class", "costToBeneficiary", "subrogation")},
    "DiagnosticReport": {
        "stu3": [
            *_there("context", "image", "codedDiagnosis"), Sign((("category",),), "object"),
            _inside("performer", "actor", "role"),
        ],
        "r4": [
            *_there("encounter", "media", "conclusionCode", "resultsInterpreter"), Sign((("category",),), "list"),
            _inside("performer", "reference"),
        ],
    },
}  # fmt: skip


def told_version(resource: Any, resource_type: str, read: Read) -> FhirVersion | None:
    """Tell the version by which has more of its own signs; None when neither has.

    Parameters
    ----------
    resource : object
        A decoded resource.
    resource_type : str
        Its type.
    read : Callable
        `(object, element) → value`.
    """
    signs = SIGNS.get(resource_type)
    if signs is None:
        return None
    stu3, r4 = (sum(sign.holds(resource, read) for sign in signs[version]) for version in FHIR_VERSIONS)
    return None if stu3 == r4 else "stu3" if stu3 > r4 else "r4"
