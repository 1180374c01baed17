"""Rows of a batch to Arrow: columns that were placed on their own levels, repeated for the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from s4s_lab.views.building import Issues
from s4s_lab.views.kinds import MOMENT, TEXT
from s4s_lab.views.projected.plans import Cells, Positions, Rows


def place_head(names: Sequence[str], columns: Sequence[list[Any]]) -> list[Cells]:
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
        placed.append(Cells(array, issues))
    return placed


def place_rows(rows: Rows, head: Sequence[Cells], *, has_issues: bool) -> tuple[list[pa.Array], Issues]:
    """Return the columns of the rows in order, and what was wrong by row.

    Texts that are repeated are dictionaries: nobody has to copy them, or to look for what is the same.

    Parameters
    ----------
    rows : Rows
        What `rows_of` gave.
    head : sequence of Cells
        One value a resource, before the view's own columns.
    has_issues : bool
        Whether the table ends with `parse_issues`.
    """
    issues = Issues()
    repeat = _Repeating()
    arrays = []
    for cells in head:
        _told(cells.issues, rows.node_of, issues)
        arrays.append(repeat(cells.array, rows.node_of))
    for position in range(len(rows.columns)):
        cells = rows.columns[position]
        _told(cells.issues, cells.value_of, issues)
        arrays.append(repeat(cells.array, cells.value_of))
    if has_issues:
        arrays.append(issues.column(rows.count))
    return arrays, issues


def _told(found: Issues, value_of: Positions | None, issues: Issues) -> None:
    rows_at: Callable[[int], Sequence[int]]
    if value_of is None:
        rows_at = lambda position: (position,)  # noqa: E731  # one row each
    else:
        rows_at = lambda position: np.flatnonzero(value_of == position).tolist()  # noqa: E731
    for position, reasons in found.by_row.items():
        for row in rows_at(position):
            for reason in reasons:
                issues.add(row, reason)


class _Repeating:
    """Repeats values for rows; several columns share their positions."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Positions, pa.Array]] = {}

    def __call__(self, array: pa.Array, value_of: Positions | None) -> pa.Array:
        if value_of is None:
            return array
        count = len(value_of)
        if array.null_count == len(array):
            return pa.nulls(count, array.type)
        if not pa.types.is_string(array.type) or 2 * len(array) > count:
            return array.take(self._positions(value_of))
        if not array.null_count:
            return pa.DictionaryArray.from_arrays(self._positions(value_of), array)
        there = array.is_valid().to_numpy(zero_copy_only=False)
        positions = (np.cumsum(there, dtype=np.int32) - 1)[value_of]
        return pa.DictionaryArray.from_arrays(pa.array(positions, mask=~there[value_of]), array.drop_null())

    def _positions(self, value_of: Positions) -> pa.Array:
        known = self._known.get(id(value_of))
        if known is None:
            known = self._known[id(value_of)] = (value_of, pa.array(value_of.astype(np.int32)))
        return known[1]
