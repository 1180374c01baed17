"""Columns as a table shows them: name, types, where they come from in each FHIR version, meaning, unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from s4s_lab.errors import ViewError
from s4s_lab.views.definition import ColumnDefinition, Select, ViewDefinition
from s4s_lab.views.fhirpath.syntax import Call, Expression, Index, Literal, Member, This, Variable
from s4s_lab.views.resources import FHIR_VERSIONS, FhirVersion

UNIT_TAG = "s4s/unit"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
        Its name.
    type : str or None
        The FHIR type, when declared.
    arrow_type : pyarrow.DataType
        How it is stored; a list type when `collection`.
    collection : bool
        Whether the cell is a list (never null, only empty).
    paths : Mapping of str to str
        By FHIR version, the FHIRPath from the resource to the value.
    meaning : str
        What it says.
    unit : str
        Its unit, or the column that names it; empty when it has none.
    """

    name: str
    type: str | None
    arrow_type: pa.DataType
    collection: bool
    paths: Mapping[FhirVersion, str]
    meaning: str
    unit: str

    def field(self) -> pa.Field:
        """Return the Arrow field, with what the dictionary says as its metadata."""
        said = {f"fhir_{version}": self.paths.get(version, "") for version in FHIR_VERSIONS}
        return pa.field(self.name, self.arrow_type, metadata=said | {"meaning": self.meaning, "unit": self.unit})


def _is_chain(expression: Expression) -> bool:
    """Say whether a path starts with an element's own name, so that it can follow another path after a dot."""
    match expression:
        case Member(This(), _):
            return True
        case Member(base, _) | Call(base, _, _) | Index(base, _):
            return _is_chain(base)
        case _:
            return False


def _joined(context: str, text: str, expression: Expression) -> str:
    """Return the path from the resource to what `text` says from a row's element; empty when it says nothing."""
    if isinstance(expression, Literal) and expression.value is None:
        return ""
    if not context or isinstance(expression, Literal | Variable):
        return text
    if isinstance(expression, This):
        return context
    return f"{context}.{text}" if _is_chain(expression) else f"{context}.select({text})"


def _paths(select: Select, context: str) -> Iterator[tuple[str, str]]:
    """Yield name and path from the resource of every column below a select, every branch of a union included."""
    here = context
    if select.paths:
        steps = [_joined(context, path.text, path.expression) for path in select.paths]
        here = steps[0] if select.iteration != "repeat" else f"repeat({' | '.join(steps)})"
    for column in select.columns:
        yield column.name, _joined(here, column.path.text, column.path.expression)
    for inner in (*select.selects, *select.union):
        yield from _paths(inner, here)


def _full_paths(plan: ViewDefinition) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for select in plan.selects:
        for name, path in _paths(select, ""):
            found.setdefault(name, []).append(path)
    return {name: " | ".join(dict.fromkeys(filter(None, paths))) for name, paths in found.items()}


def _shape(column: ColumnDefinition) -> tuple[str, pa.DataType, bool, str]:
    return column.name, column.kind.arrow, column.collection, column.description


def columns_of(plans: Mapping[FhirVersion, ViewDefinition]) -> tuple[Column, ...]:
    """Return the columns that the plans of one view have in common.

    Parameters
    ----------
    plans : Mapping of str to ViewDefinition
        The view for each FHIR version it knows.

    Raises
    ------
    ViewError
        If the versions differ in a column's name, place, storage or description.
    """
    version, first = next(iter(plans.items()))
    for other, plan in plans.items():
        here, there = (_shapes(one) for one in (first, plan))
        if here != there:
            raise ViewError(f"The view's columns differ between {version} and {other}.")
    paths = {version: _full_paths(plan) for version, plan in plans.items()}
    return tuple(
        Column(
            name=column.name,
            type=column.type,
            arrow_type=pa.list_(column.kind.arrow) if column.collection else column.kind.arrow,
            collection=column.collection,
            paths={version: paths[version][column.name] for version in plans},
            meaning=column.description,
            unit=column.tags.get(UNIT_TAG, ""),
        )
        for column in first.all_columns()
    )


def _shapes(plan: ViewDefinition) -> list[tuple[str, pa.DataType, bool, str]]:
    return [_shape(column) for column in plan.all_columns()]


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of columns.

    Parameters
    ----------
    columns : sequence of Column
        In order.
    """
    return pa.schema([column.field() for column in columns])
