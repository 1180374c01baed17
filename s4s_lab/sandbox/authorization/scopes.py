"""SMART scopes, versions 1 and 2: what can be granted, what a grant covers, and what it means in plain words."""

from __future__ import annotations

import re
from typing import Literal

LAUNCH = "launch/patient"
LAUNCH_EHR = "launch"
OFFLINE = "offline_access"
IDENTITY = ("openid", "fhirUser")
SUPPORTED = ("patient/*.read", "patient/*.rs", LAUNCH, LAUNCH_EHR, OFFLINE, *IDENTITY)

_V1 = re.compile(r"patient/(\*|[A-Z][A-Za-z]*)\.(read|\*)")
_V2 = re.compile(r"patient/(\*|[A-Z][A-Za-z]*)\.c?(r?)u?d?(s?)")
_WORDS = {
    "*": "see everything in your record: imaging studies, claims, coverage, your name and birth date",
    "ImagingStudy": "see your imaging studies: when and where they were made, and the images themselves",
    "ExplanationOfBenefit": "see your insurance claims: services, diagnoses and what was paid",
    "Coverage": "see your insurance coverage",
    "Patient": "see your name, birth date, sex and address",
    "DiagnosticReport": "see the reports written about your images",
    "Endpoint": "see where your images are kept",
}


def _reading(scope: str) -> tuple[str, str] | None:
    """Return the resource type and the reading interactions (`r`, `s`) of a scope, or None."""
    if found := _V1.fullmatch(scope):
        return found[1], "rs"
    if (found := _V2.fullmatch(scope)) and found[2] + found[3]:
        return found[1], found[2] + found[3]
    return None


def _narrowed(scope: str) -> str | None:
    if scope in (LAUNCH, LAUNCH_EHR, OFFLINE, *IDENTITY):
        return scope
    reading = _reading(scope)
    if reading is None:
        return None
    resource_type, interactions = reading
    return f"patient/{resource_type}." + ("read" if _V1.fullmatch(scope) else interactions)


def grantable(asked: str) -> str:
    """Return what of the scopes asked for this server can grant, in the same order.

    Writing is never granted, and what is not known is left out; `patient/*.cruds` becomes `patient/*.rs`.

    Parameters
    ----------
    asked : str
        Scopes, separated by spaces.

    References
    ----------
    RFC 6749, section 3.3; SMART App Launch 2.2, "Scopes and Launch Context".
    """
    return " ".join(dict.fromkeys(filter(None, map(_narrowed, asked.split()))))


def covers(scope: str, resource_type: str, interaction: Literal["r", "s"]) -> bool:
    """Say whether granted scopes allow to read (`r`) or search (`s`) a resource type.

    Parameters
    ----------
    scope : str
        Granted scopes, separated by spaces.
    resource_type : str
        FHIR resource type.
    interaction : {"r", "s"}
        As in SMART's version 2 scopes.
    """
    readings = filter(None, map(_reading, scope.split()))
    return any(name in ("*", resource_type) and interaction in allowed for name, allowed in readings)


def plain_words(scope: str) -> list[str]:
    """Return what granted scopes mean, one phrase each, for the consent page.

    Parameters
    ----------
    scope : str
        Granted scopes, separated by spaces.
    """
    readings = [reading for one in scope.split() if (reading := _reading(one))]
    words = [_WORDS.get(name, f"see your {name} records") for name, _ in readings]
    if OFFLINE in scope.split():
        words.append("come back for news later, without asking you again, until you stop it")
    if "openid" in scope.split():
        words.append("know that it is you who signed in")
    return list(dict.fromkeys(words))
