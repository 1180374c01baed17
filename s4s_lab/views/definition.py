"""ViewDefinition JSON to a checked plan: data only, so that any back end can run it.

References
----------
SQL on FHIR v2, "ViewDefinition": elements and invariants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from s4s_lab.errors import ViewError
from s4s_lab.views.fhirpath import Expression, Moment, parse
from s4s_lab.views.kinds import Kind, kind_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_ITERATIONS = ("forEach", "forEachOrNull", "repeat")
_COMMON = {"id", "extension", "modifierExtension", "resourceType"}
_SELECT_ELEMENTS = {"column", "select", "unionAll", *_ITERATIONS} | _COMMON
_COLUMN_ELEMENTS = {"name", "path", "type", "collection", "description", "tag"} | _COMMON
_MAX_DEPTH = 50
_MOMENTS = {"valueDate", "valueDateTime", "valueInstant", "valueTime"}
_NUMBERS = {"valueDecimal", "valueInteger", "valuePositiveInt", "valueUnsignedInt", "valueInteger64"}


@dataclass(frozen=True)
class ColumnDefinition:
    """One column as a view declares it.

    Parameters
    ----------
    name : str
        The column's name.
    path : Path
        Where its value comes from, seen from the element of the row.
    type : str or None
        The FHIR type, when declared.
    collection : bool
        Whether the cell is a list.
    description : str
        What the column means.
    tags : Mapping of str to str
        Hints to runners, by name.
    kind : Kind
        How it is stored.
    """

    name: str
    path: Path
    type: str | None
    collection: bool
    description: str
    tags: Mapping[str, str]
    kind: Kind

    @property
    def called(self) -> str:
        """What a fitting value is called in messages."""
        return self.type or self.kind.name


@dataclass(frozen=True)
class Path:
    """A FHIRPath expression of a view: its text, its tree, and where in the ViewDefinition it stands."""

    text: str
    expression: Expression
    element: str


@dataclass(frozen=True)
class Select:
    """One `select`: its iteration, its columns, then nested selects, then the union (this is the columns' order)."""

    iteration: str | None
    paths: tuple[Path, ...]
    columns: tuple[ColumnDefinition, ...]
    selects: tuple[Select, ...]
    union: tuple[Select, ...]

    def all_columns(self) -> Iterator[ColumnDefinition]:
        """Yield the columns of the rows this select makes, in order; a union counts by its first branch."""
        yield from self.columns
        for inner in (*self.selects, *self.union[:1]):
            yield from inner.all_columns()


@dataclass(frozen=True)
class ViewDefinition:
    """A checked view."""

    name: str | None
    resource: str
    fhir_versions: tuple[str, ...]
    constants: Mapping[str, Any]
    where: tuple[Path, ...]
    selects: tuple[Select, ...]

    def all_columns(self) -> tuple[ColumnDefinition, ...]:
        """Return all columns in order."""
        return tuple(column for select in self.selects for column in select.all_columns())


def _text(holder: Mapping[str, Any], key: str, element: str) -> str:
    if key not in holder:
        raise ViewError(f"{element}{key} is missing.")
    value = holder[key]
    if not isinstance(value, str) or not value:
        raise ViewError(f"{element}{key} must be a text, not {type(value).__name__}.")
    return value


def _objects(holder: Mapping[str, Any], key: str, element: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the objects of a list element, each with its own place in the view."""
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise ViewError(f"{element}{key} must be a list of objects.")
    return [(f"{element}{key}[{i}].", one) for i, one in enumerate(value)]


def _known_only(holder: Mapping[str, Any], known: set[str], element: str) -> None:
    for key in holder:
        if key not in known and not key.startswith("_"):
            raise ViewError(f"{element}{key} is no element of a ViewDefinition here.")


def _path(text: Any, element: str) -> Path:
    if not isinstance(text, str) or not text.strip():
        raise ViewError(f"{element} must be a FHIRPath expression, not {type(text).__name__}.")
    try:
        return Path(text, parse(text), element)
    except ViewError as error:
        raise ViewError(f"{element}: {error}") from None


def _fits(key: str, value: Any) -> bool:
    if key == "valueBoolean":
        return isinstance(value, bool)
    if key in _NUMBERS:
        return isinstance(value, int | Decimal | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _constant(element: str, constant: Mapping[str, Any]) -> tuple[str, Any]:
    name = _text(constant, "name", element)
    if _NAME.fullmatch(name) is None or name == "rowIndex":
        raise ViewError(f"{element}name {name!r} is no name for a constant.")
    values = [key for key in constant if key.startswith("value")]
    if len(values) != 1:
        raise ViewError(f"{element[:-1]} {name!r} must have exactly one value[x], not {len(values)}.")
    key, value = values[0], constant[values[0]]
    if not _fits(key, value):
        raise ViewError(f"{element}{key} has a value of the wrong type.")
    return name, Moment(value) if key in _MOMENTS else value


def _constants(view: Mapping[str, Any]) -> dict[str, Any]:
    constants: dict[str, Any] = {}
    for element, constant in _objects(view, "constant", ""):
        name, value = _constant(element, constant)
        if name in constants:
            raise ViewError(f"{element}name {name!r} occurs twice.")
        constants[name] = value
    return constants


def _column(element: str, column: Mapping[str, Any]) -> ColumnDefinition:
    _known_only(column, _COLUMN_ELEMENTS, element)
    name = _text(column, "name", element)
    if _NAME.fullmatch(name) is None:
        raise ViewError(f"{element}name {name!r} is no column name: letters, digits and _ are allowed, a letter first.")
    fhir_type = _text(column, "type", element) if "type" in column else None
    collection = column.get("collection", False)
    if not isinstance(collection, bool):
        raise ViewError(f"{element}collection must be true or false.")
    tags = {_text(tag, "name", at): _text(tag, "value", at) for at, tag in _objects(column, "tag", element)}
    try:
        kind = kind_of(fhir_type, tags.get("ansi/type"))
    except ViewError as error:
        raise ViewError(f"{element}type: {error}") from None
    description = column.get("description", "")
    path = _path(column.get("path"), f"{element}path")
    return ColumnDefinition(name, path, fhir_type, collection, str(description), tags, kind)


def _iteration(select: Mapping[str, Any], element: str) -> tuple[str | None, tuple[Path, ...]]:
    said = [key for key in _ITERATIONS if key in select]
    if not said:
        return None, ()
    if len(said) > 1:
        raise ViewError(f"{element}{said[0]} and {said[1]} exclude each other.")
    key, value = said[0], select[said[0]]
    if key != "repeat":
        return key, (_path(value, f"{element}{key}"),)
    if not isinstance(value, list) or not value:
        raise ViewError(f"{element}repeat must be a list of FHIRPath expressions.")
    return key, tuple(_path(text, f"{element}repeat[{i}]") for i, text in enumerate(value))


def _shape(select: Select) -> list[tuple[str, str | None, bool]]:
    return [(column.name, column.type, column.collection) for column in select.all_columns()]


def _select(element: str, select: Mapping[str, Any], depth: int = 0) -> Select:
    if depth > _MAX_DEPTH:
        raise ViewError(f"{element[:-1]} is nested more than {_MAX_DEPTH} deep.")
    _known_only(select, _SELECT_ELEMENTS, element)
    iteration, paths = _iteration(select, element)
    made = Select(
        iteration,
        paths,
        tuple(_column(at, one) for at, one in _objects(select, "column", element)),
        tuple(_select(at, one, depth + 1) for at, one in _objects(select, "select", element)),
        tuple(_select(at, one, depth + 1) for at, one in _objects(select, "unionAll", element)),
    )
    for i, branch in enumerate(made.union):
        if _shape(branch) != _shape(made.union[0]):
            raise ViewError(f"{element}unionAll[{i}] must have the columns of unionAll[0], in the same order.")
    return made


def _unique(columns: tuple[ColumnDefinition, ...]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column.name in seen:
            raise ViewError(f"{column.path.element.removesuffix('path')}name {column.name!r} occurs twice.")
        seen.add(column.name)


def _versions(view: Mapping[str, Any]) -> tuple[str, ...]:
    said = view.get("fhirVersion") or []
    return tuple(str(one) for one in (said if isinstance(said, list) else [said]))


def read_definition(view: Mapping[str, Any]) -> ViewDefinition:
    """Check a ViewDefinition and parse its paths.

    Parameters
    ----------
    view : Mapping
        The ViewDefinition as JSON; the metadata of the resource (url, status, …) may be absent.

    Raises
    ------
    ViewError
        If it is none; the message names the element, such as `select[0].column[1].path`.
    """
    if "resourceType" in view and not str(view["resourceType"]).endswith("ViewDefinition"):
        raise ViewError(f"resourceType is {view['resourceType']!r}, not ViewDefinition.")
    resource = _text(view, "resource", "")
    definition = ViewDefinition(
        name=_text(view, "name", "") if "name" in view else None,
        resource=resource,
        fhir_versions=_versions(view),
        constants=_constants(view),
        where=tuple(_path(one.get("path"), f"{element}path") for element, one in _objects(view, "where", "")),
        selects=tuple(_select(element, select) for element, select in _objects(view, "select", "")),
    )
    columns = definition.all_columns()
    if not columns:
        raise ViewError("select must name at least one column.")
    _unique(columns)
    return definition
