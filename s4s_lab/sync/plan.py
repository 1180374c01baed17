"""What a pull asks for, as data: one line a resource type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from s4s_lab.errors import UsageError


@dataclass(frozen=True)
class PlanItem:
    """How one resource type of a participant's record is asked for.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.
    parameter : str or None
        The search parameter that takes the patient id; None: the resource is the patient's own and is read by id.
    """

    resource_type: str
    parameter: str | None

    @property
    def interaction(self) -> Literal["read", "search-type"]:
        """The FHIR interaction that brings this type."""
        return "read" if self.parameter is None else "search-type"


# The S4S imaging page asks for the first two; its financial and clinical neighbours name the others. Endpoints come
# with the studies that refer to them.
PULL_PLAN = (
    PlanItem("ImagingStudy", "patient"),
    PlanItem("ExplanationOfBenefit", "patient"),
    PlanItem("Patient", None),
    PlanItem("Coverage", "beneficiary"),
    PlanItem("DiagnosticReport", "patient"),
)


def planned(types: tuple[str, ...] | None) -> tuple[PlanItem, ...]:
    """Return the plan's lines for `types`, all of them when None.

    Parameters
    ----------
    types : tuple of str or None
        Resource types; repeated ones count once.

    Raises
    ------
    UsageError
        If a type is none of the plan's.
    """
    if types is None:
        return PULL_PLAN
    known = {item.resource_type: item for item in PULL_PLAN}
    unknown = [name for name in types if name not in known]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is not pulled.", hint=f"Choose from: {', '.join(known)}.")
    return tuple(known[name] for name in dict.fromkeys(types))
