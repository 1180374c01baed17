"""The resource types that the sandbox serves, and how each can be searched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One resource type.

    Parameters
    ----------
    name : str
        FHIR resource type.
    patient_parameters : tuple of str
        Search parameters that name the patient; empty when the type has none.
    identifier_from : tuple of str
        Elements that `identifier` looks into.
    include : str
        The `_include` value that is understood, or empty.
    """

    name: str
    patient_parameters: tuple[str, ...] = ("patient",)
    identifier_from: tuple[str, ...] = ("identifier",)
    include: str = ""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ImagingStudy", identifier_from=("identifier", "accession", "uid"), include="ImagingStudy:endpoint"),
        Kind("ExplanationOfBenefit"),
        Kind("Coverage", patient_parameters=("beneficiary",)),
        Kind("DiagnosticReport", patient_parameters=("patient", "subject")),
        Kind("Patient", patient_parameters=()),
        Kind("Endpoint", patient_parameters=()),
    )
}
