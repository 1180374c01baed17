"""Rows of a batch to Arrow: each column is placed on its own level, then repeated for its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from s4s_lab.views.building import Issues, place, place_collection
from s4s_lab.views.definition import ColumnDefinition
from s4s_lab.views.kinds import MOMENT, TEXT
from s4s_lab.views.projected.plans import Cells, Positions, Rows

PlacedColumn = tuple[pa.Array, Issues]


def place_head(names: Sequence[str], columns: Sequence[list[Any]]) -> list[PlacedColumn]:
    """Place the first columns of a packaged table, once for all tables of a resource type.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
    columns : sequence of list
        One value a resource.
    """
    placed = []
    for name, values in zip(names, columns, strict=True):
        kind, called = (MOMENT, "instant") if name == "last_updated" else (TEXT, "id")
        array, reasons = kind.place(values, called)
        issues = Issues()
        for position, reason in reasons.items():
            issues.add(position, f"{name}: {reason}")
        placed.append((array, issues))
    return placed


def place_rows(
    columns: Sequence[ColumnDefinition], rows: Rows, head: Sequence[PlacedColumn], *, has_issues: bool
) -> tuple[list[pa.Array], Issues]:
    """Return the columns of the rows in order, and what was wrong by row.

    Parameters
    ----------
    columns : sequence of ColumnDefinition
        Of the view.
    rows : Rows
        What `rows_of` gave.
    head : sequence of placed columns
        One value a resource, before the view's own columns.
    has_issues : bool
        Whether the table ends with `parse_issues`.
    """
    issues = Issues()
    arrays = [_repeated(placed, rows.node_of, issues) for placed in head]
    for position, column in enumerate(columns):
        cells: Cells = rows.columns[position]
        found = Issues()
        if cells.counts is None:
            array = place(column, cells.values, found)
        else:
            array = place_collection(column, cells.values, cells.counts, found)
        arrays.append(_repeated((array, found), cells.value_of, issues))
    if has_issues:
        arrays.append(issues.column(rows.count))
    return arrays, issues


def _repeated(placed: PlacedColumn, value_of: Positions | None, issues: Issues) -> pa.Array:
    array, found = placed
    rows_at: Callable[[int], Sequence[int]]
    if value_of is None:
        rows_at = lambda position: (position,)  # noqa: E731  # one row each
    else:
        rows_at = lambda position: np.flatnonzero(value_of == position).tolist()  # noqa: E731
    for position, reasons in found.by_row.items():
        for row in rows_at(position):
            for reason in reasons:
                issues.add(row, reason)
    if value_of is None:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(value_of), array.type)
    return array.take(pa.array(value_of))
