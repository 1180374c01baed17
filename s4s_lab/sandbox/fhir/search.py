"""A search request: its parameters, read and checked, and which resources they match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from s4s_lab.sandbox.archive import Stored
from s4s_lab.sandbox.fhir.kinds import Kind
from s4s_lab.sandbox.fhir.moments import parse_moment
from s4s_lab.sandbox.web import FhirRefusal
from s4s_lab.values.uids import bare_uid

DEFAULT_COUNT = 20
MAX_COUNT = 500
Condition = Callable[[Stored, datetime], bool]
"""Takes a resource and the present moment; says whether the resource matches."""


@dataclass(frozen=True)
class Search:
    """A search that was understood.

    Parameters
    ----------
    kind : Kind
        What is searched.
    conditions : tuple of Condition
        All must hold.
    count : int
        Matches on a page.
    summary : bool
        Only the total is wanted.
    include : bool
        Endpoints are wanted too.
    used : tuple of (str, str)
        The parameters that were used, for the self link.
    """

    kind: Kind
    conditions: tuple[Condition, ...]
    count: int
    summary: bool
    include: bool
    used: tuple[tuple[str, str], ...]

    def matching(self, held: Iterable[Stored], now: datetime) -> list[Stored]:
        """Return what matches, in the archive's order.

        Parameters
        ----------
        held : iterable of Stored
            What the participant may see.
        now : datetime
            The present moment.
        """
        return [one for one in held if all(condition(one, now) for condition in self.conditions)]


def _last_updated(value: str) -> Condition:
    try:
        ranges = [parse_moment(one) for one in value.split(",")]
    except ValueError as cause:
        raise FhirRefusal(400, "invalid", f"_lastUpdated: {cause}.") from None
    return lambda one, now: any(wanted.holds(one.last_updated, now=now) for wanted in ranges)


def _ids(value: str) -> Condition:
    wanted = frozenset(value.split(","))
    return lambda one, _: one.resource_id in wanted


def _identifiers_of(one: Stored, elements: Sequence[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for element in elements:
        held = one.resource.get(element)
        for identifier in held if isinstance(held, list) else [held]:
            if isinstance(identifier, str):
                found.append(("urn:dicom:uid", bare_uid(identifier)))
            elif isinstance(identifier, dict):
                found.append((str(identifier.get("system") or ""), str(identifier.get("value") or "")))
    return found


def _identifier(value: str, elements: Sequence[str]) -> Condition:
    """Match a token parameter: `value`, `system|value`, `|value` or `system|`; a study UID with or without urn:oid."""
    wanted = [one.rpartition("|") for one in value.split(",")]

    def holds(one: Stored, _: datetime) -> bool:
        held = _identifiers_of(one, elements)
        return any(
            (not bar or found_system == system)
            and (not text or bare_uid(found) == bare_uid(text))
            and bool(system or text)
            for system, bar, text in wanted
            for found_system, found in held
        )

    return holds


def _own_patient(value: str, patient_id: str, fhir_url: str) -> Condition:
    """Check a patient parameter: the one patient of the grant, or nobody."""
    for one in value.split(","):
        if one.removeprefix(f"{fhir_url}/").removeprefix("Patient/") != patient_id:
            raise FhirRefusal(403, "forbidden", "The token is for another patient than the one asked for.")
    return lambda stored, _: stored.patient_id == patient_id


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise FhirRefusal(400, "invalid", "_count must be a whole number.")
    return min(int(value), MAX_COUNT)


@dataclass
class _Reader:
    """Collects what the parameters of one request say."""

    kind: Kind
    patient_id: str
    fhir_url: str
    count: int = DEFAULT_COUNT
    summary: bool = False
    include: bool = False

    def condition(self, name: str, value: str) -> Condition | None:
        """Return the condition that a parameter sets, or None when it sets none."""
        if name == "_lastUpdated":
            return _last_updated(value)
        if name == "_id":
            return _ids(value)
        if name == "identifier":
            return _identifier(value, self.kind.identifier_from)
        if name in self.kind.patient_parameters:
            return _own_patient(value, self.patient_id, self.fhir_url)
        return None

    def control(self, name: str, value: str) -> bool:
        """Take a parameter that shapes the answer; say whether it was one."""
        if name == "_count":
            self.count = _count(value)
            # FHIR STU3, "Search": _count=0 asks for the total alone.
            self.summary = self.summary or self.count == 0
        elif name == "_summary" and value in ("count", "false"):
            self.summary = self.summary or value == "count"
        elif name == "_include" and value in (self.kind.include, f"{self.kind.include}:Endpoint") and self.kind.include:
            self.include = True
        else:
            return name == "_format"
        return True


def _known(kind: Kind) -> frozenset[str]:
    return frozenset({"_lastUpdated", "_id", "identifier", "_count", "_summary", "_include", *kind.patient_parameters})


def read_search(
    kind: Kind, pairs: Iterable[tuple[str, str]], *, patient_id: str, fhir_url: str, strict: bool = False
) -> Search:
    """Read the parameters of a search.

    Parameters
    ----------
    kind : Kind
        What is searched.
    pairs : iterable of (str, str)
        Names and values; a name that comes twice must hold twice.
    patient_id : str
        Whom the token is for.
    fhir_url : str
        This server, for absolute references.
    strict : bool
        `Prefer: handling=strict`: refuse what would be ignored.

    Raises
    ------
    FhirRefusal
        400 for values and modifiers that cannot be, 403 for another patient.

    References
    ----------
    FHIR STU3, "Search"; "Handling errors": unknown parameters are ignored and left out of the self link.
    """
    reader = _Reader(kind, patient_id, fhir_url)
    conditions: list[Condition] = []
    used: list[tuple[str, str]] = []
    for full_name, value in pairs:
        name, _, modifier = full_name.partition(":")
        if modifier and name in _known(kind) and (modifier != "Patient" or name not in kind.patient_parameters):
            raise FhirRefusal(400, "not-supported", f"The modifier :{modifier[:32]} is not supported on {name}.")
        condition = reader.condition(name, value) if value else None
        if condition is not None:
            conditions.append(condition)
        if condition is not None or (value and reader.control(name, value)):
            used.append((full_name, value))
        elif strict and value:
            raise FhirRefusal(400, "not-supported", f"The parameter {full_name[:64]} is not supported on {kind.name}.")
    return Search(kind, tuple(conditions), reader.count, reader.summary, reader.include, tuple(used))
