"""A search request: its parameters, read and checked, and which resources they match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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


def _token_of(element: object) -> tuple[str, str]:
    """Return system and value of an identifier; a bare UID counts as one of DICOM's."""
    if isinstance(element, dict):
        return str(element.get("system") or ""), str(element.get("value") or "")
    return "urn:dicom:uid", bare_uid(str(element))


def _identifiers_of(one: Stored, elements: Sequence[str]) -> list[tuple[str, str]]:
    held = (one.resource.get(element) or [] for element in elements)
    return [_token_of(single) for value in held for single in (value if isinstance(value, list) else [value])]


def _matches_token(wanted: str, system: str, value: str) -> bool:
    """Match a token parameter: `value`, `system|value`, `|value` or `system|`; a study UID with or without urn:oid."""
    wanted_system, bar, wanted_value = wanted.rpartition("|")
    if not wanted_system and not wanted_value:
        return False
    right_system = not bar or system == wanted_system
    return right_system and (not wanted_value or bare_uid(value) == bare_uid(wanted_value))


def _identifier(value: str, elements: Sequence[str]) -> Condition:
    wanted = value.split(",")
    return lambda one, _: any(
        _matches_token(token, *identifier) for identifier in _identifiers_of(one, elements) for token in wanted
    )


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
    conditions: list[Condition] = field(default_factory=list)
    used: list[tuple[str, str]] = field(default_factory=list)

    def _condition(self, name: str, value: str) -> Condition | None:
        """Return the condition that a parameter sets, or None when it sets none."""
        if name in self.kind.patient_parameters:
            return _own_patient(value, self.patient_id, self.fhir_url)
        if name == "identifier":
            return _identifier(value, self.kind.identifier_from)
        simple = {"_lastUpdated": _last_updated, "_id": _ids}.get(name)
        return simple(value) if simple is not None else None

    def _shapes_answer(self, name: str, value: str) -> bool:
        """Take a parameter that shapes the answer; say whether it was one."""
        include = self.kind.include
        match name:
            case "_count":
                self.count = _count(value)
                # FHIR STU3, "Search": _count=0 asks for the total alone.
                self.summary = self.summary or self.count == 0
            case "_summary" if value in ("count", "false"):
                self.summary = self.summary or value == "count"
            case "_include" if include and value in (include, f"{include}:Endpoint"):
                self.include = True
            case _:
                return name == "_format"
        return True

    def take(self, full_name: str, value: str) -> bool:
        """Take a parameter; say whether it was used."""
        name = _without_modifier(self.kind, full_name)
        condition = self._condition(name, value)
        if condition is not None:
            self.conditions.append(condition)
        elif not self._shapes_answer(name, value):
            return False
        self.used.append((full_name, value))
        return True


def _without_modifier(kind: Kind, full_name: str) -> str:
    """Return a parameter's name; a modifier of a known one is refused, but for the type of a patient reference."""
    name, _, modifier = full_name.partition(":")
    known = {"_lastUpdated", "_id", "identifier", "_count", "_summary", "_include", *kind.patient_parameters}
    if modifier and name in known and (modifier != "Patient" or name not in kind.patient_parameters):
        raise FhirRefusal(400, "not-supported", f"The modifier :{modifier[:32]} is not supported on {name}.")
    return name


def read_search(
    kind: Kind, pairs: Iterable[tuple[str, str]], *, patient_id: str, fhir_url: str, strict: bool = False
) -> Search:
    """Read the parameters of a search.

    Parameters
    ----------
    kind : Kind
        What is searched.
    pairs : iterable of (str, str)
        Names and values; a name that comes twice must hold twice, one without a value says nothing.
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
    for name, value in pairs:
        if value and not reader.take(name, value) and strict:
            raise FhirRefusal(400, "not-supported", f"The parameter {name[:64]} is not supported on {kind.name}.")
    return Search(kind, tuple(reader.conditions), reader.count, reader.summary, reader.include, tuple(reader.used))
