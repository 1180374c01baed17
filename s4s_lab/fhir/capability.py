"""What a server declares of itself in its CapabilityStatement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

from s4s_lab.fhir.elements import objects, text

FhirVersion = Literal["stu3", "r4"]
_S4S_TYPES = ("ImagingStudy", "ExplanationOfBenefit")
_VERSIONS: dict[str, FhirVersion] = {"3": "stu3", "4": "r4"}


@dataclass(frozen=True)
class Capability:
    """What a server says it can do.

    Parameters
    ----------
    fhir_version : "stu3", "r4" or None
        None when the server names neither.
    fhir_version_text : str
        As the server writes it, such as `3.0.1`; "" when it does not.
    software : str
        Name and version of the server's software; "" when it does not say.
    resources : tuple of dict
        The statement's `rest.resource`.
    shared_parameters : frozenset of str
        Search parameters declared for every type.

    References
    ----------
    FHIR STU3, CapabilityStatement; S4S imaging page, "Server metadata".
    """

    fhir_version: FhirVersion | None
    fhir_version_text: str
    software: str
    resources: tuple[dict[str, Any], ...] = field(repr=False)
    shared_parameters: frozenset[str] = field(repr=False)

    @classmethod
    def from_json(cls, statement: dict[str, Any]) -> Self:
        """Read a CapabilityStatement; what is malformed in it counts as not declared.

        Parameters
        ----------
        statement : dict
            The answer to `GET /metadata`.
        """
        version = text(statement.get("fhirVersion")) or ""
        software = statement.get("software")
        names = [text(software.get(part)) for part in ("name", "version")] if isinstance(software, dict) else []
        rests = [rest for rest in objects(statement.get("rest")) if rest.get("mode") != "client"]
        return cls(
            fhir_version=_VERSIONS.get(version.strip().split(".")[0]),
            fhir_version_text=version.strip(),
            software=" ".join(filter(None, names)),
            resources=tuple(resource for rest in rests for resource in objects(rest.get("resource"))),
            shared_parameters=frozenset().union(*(_texts(rest.get("searchParam"), "name") for rest in rests)),
        )

    def declares(self, resource_type: str, *, interaction: str | None = None, parameter: str | None = None) -> bool:
        """Say whether the server declares a resource type, with an interaction and a search parameter if given.

        Parameters
        ----------
        resource_type : str
            Such as `ImagingStudy`.
        interaction : str, optional
            Such as `search-type` or `read`.
        parameter : str, optional
            Such as `_lastUpdated`.
        """
        return any(
            resource.get("type") == resource_type
            and (interaction is None or interaction in _texts(resource.get("interaction"), "code"))
            and (parameter is None or parameter in _texts(resource.get("searchParam"), "name") | self.shared_parameters)
            for resource in self.resources
        )

    def offers(self, resource_type: str) -> bool:
        """Say whether it makes sense to ask for a type: it is declared, or the server lists no types at all.

        Parameters
        ----------
        resource_type : str
            Such as `ImagingStudy`.
        """
        return not self.resources or self.declares(resource_type)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the S4S imaging use case needs and the server does not declare, in words.

        A server that lists no resource types at all is not judged by them.

        References
        ----------
        S4S imaging page: FHIR STU3, ImagingStudy and ExplanationOfBenefit by patient.
        """
        lacks = []
        if self.fhir_version is None and self.fhir_version_text:
            lacks.append(f"FHIR STU3 or R4 (it has {self.fhir_version_text})")
        for resource_type in _S4S_TYPES if self.resources else ():
            if not self.declares(resource_type):
                lacks.append(resource_type)
            elif not self.declares(resource_type, interaction="search-type"):
                lacks.append(f"searches for {resource_type}")
            elif not self.declares(resource_type, parameter="patient"):
                lacks.append(f"{resource_type} by patient")
        return tuple(lacks)


def _texts(value: object, element: str) -> frozenset[str]:
    return frozenset(found for each in objects(value) if (found := text(each.get(element))) is not None)
