"""The columns that every packaged table starts and ends with: whose row it is, where it came from, what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from s4s_lab.views.columns import Column
from s4s_lab.views.fhirpath import Compilation, Scope, compile_expression, parse
from s4s_lab.views.issues import Unplaced, shown
from s4s_lab.views.kinds import MOMENT, TEXT, Kind
from s4s_lab.views.resources import FHIR_VERSIONS, FhirVersion


@dataclass(frozen=True)
class Provenance:
    """Where a resource came from.

    Parameters
    ----------
    source : str or None
        The FHIR server.
    participant_id : str or None
        The study's own pseudonym.
    patient_id : str or None
        Whose record was asked for; None: told by the resource's own reference.
    fhir_version : str or None
        `stu3` or `r4`; None: told by the resource's own shape.
    """

    source: str | None = None
    participant_id: str | None = None
    patient_id: str | None = None
    fhir_version: FhirVersion | None = None


_PATIENT = "(patient | subject | beneficiary).getReferenceKey(Patient).first()"


def _column(name: str, fhir_type: str, kind: Kind, path: str, meaning: str) -> Column:
    return Column(name, fhir_type, kind.arrow, False, dict.fromkeys(FHIR_VERSIONS, path), meaning, "")


def patient_path(resource_type: str) -> str:
    """Return the path from a resource to the patient's id.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.
    """
    return "id" if resource_type == "Patient" else _PATIENT


def head_columns(resource_type: str) -> tuple[Column, ...]:
    """Return the columns that the tables of a resource type start with.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.
    """
    return (
        _column("source", "url", TEXT, "", "FHIR server the row came from; null for files"),
        _column("participant_id", "string", TEXT, "", "the study's own pseudonym for the participant"),
        _column("patient_id", "id", TEXT, patient_path(resource_type),
                "FHIR id of the patient whose record it is, as pulled or as the resource refers to it"),
        _column("resource_id", "id", TEXT, "getResourceKey()",
                "FHIR id; a study without one is keyed by its Study Instance UID, others by their content"),
        _column("version_id", "id", TEXT, "meta.versionId", "the server's version of the resource"),
        _column("last_updated", "instant", MOMENT, "meta.lastUpdated", "when the server says it last changed"),
    )  # fmt: skip


PARSE_ISSUES = Column(
    name="parse_issues",
    type="string",
    arrow_type=pa.list_(pa.string()),
    collection=True,
    paths=dict.fromkeys(FHIR_VERSIONS, ""),
    meaning="what the resource holds that no column could take; empty when all went well",
    unit="",
)

# The cells of `head_columns`, then what was wrong with the id, or None.
Head = tuple[Any, ...]
HeadMaker = Callable[[Mapping[str, Any], Provenance, Scope], Head]


def _cell(path: str, resource_type: str) -> Callable[[Any, Scope], Any]:
    evaluate = compile_expression(parse(path), Compilation(tolerant=True, owner=resource_type))

    def read(resource: Any, scope: Scope) -> Any:
        found = evaluate([resource], scope)
        if len(found) > 1:
            return Unplaced(f"{len(found)} values where one is due")
        return found[0] if found else None

    return read


def _id_issue(resource: Mapping[str, Any], scope: Scope) -> str | None:
    said = resource.get("id")
    return None if said is None or said == scope.resource_key else f"resource_id: {shown(said)} is no id"


def compile_head(resource_type: str) -> HeadMaker:
    """Compile what gives the first cells of every row of a resource type.

    Parameters
    ----------
    resource_type : str
        The FHIR resource type.

    Returns
    -------
    Callable
        `(resource, provenance, scope) → cells` in the order of `head_columns`, then an issue with the id or None.
    """
    patient, version, updated = (_cell(path, resource_type) for path in (patient_path(resource_type), "meta.versionId",
                                                          "meta.lastUpdated"))  # fmt: skip

    def head(resource: Mapping[str, Any], provenance: Provenance, scope: Scope) -> Head:
        return (
            provenance.source,
            provenance.participant_id,
            patient(resource, scope) if provenance.patient_id is None else provenance.patient_id,
            scope.resource_key,
            version(resource, scope),
            updated(resource, scope),
            _id_issue(resource, scope),
        )

    return head
