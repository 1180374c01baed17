"""Facts about one resource that tables need beside their columns: its FHIR version, its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from s4s_lab.values.uids import bare_uid, is_uid
from s4s_lab.views.fhirpath import Compilation, Scope, compile_expression, parse
from s4s_lab.views.signs import FHIR_VERSIONS, FhirVersion, told_version

# Both ways to give a Study Instance UID outside `uid`: DICOM's own system, and an OID as a URI.
STUDY_UID = (
    "(uid | identifier.where(system = 'urn:dicom:uid').value"
    " | identifier.where(system = 'urn:ietf:rfc:3986').value.where(startsWith('urn:oid:'))).first()"
)
__all__ = ["FHIR_VERSIONS", "STUDY_UID", "FhirVersion", "fhir_version_of", "resource_key"]
_MAJOR: dict[str, FhirVersion] = {"3.": "stu3", "4.": "r4"}
_NO_SCOPE = Scope(None, {})
_study_uid = compile_expression(parse(STUDY_UID), Compilation())


def _read(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else None


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
    return told_version(resource, resource_type, _read)


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
    if isinstance(resource_id, str) and resource_id and is_unicode(resource_id):
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


def is_unicode(text: str) -> bool:
    """Say whether a text can be written as UTF-8: JSON may hold halves of characters.

    Parameters
    ----------
    text : str
        Any text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
