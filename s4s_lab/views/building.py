"""Rows to Arrow in chunks, cells checked on the way; what does not fit is said in `parse_issues`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from s4s_lab.views.definition import ColumnDefinition
from s4s_lab.views.fhirpath import Scope
from s4s_lab.views.heads import Head
from s4s_lab.views.issues import bounded, shown
from s4s_lab.views.kinds import MOMENT, TEXT, place_items
from s4s_lab.views.loading import View, table_schema
from s4s_lab.views.resources import FhirVersion
from s4s_lab.views.rows import Row, RowMaker, compile_rows
from s4s_lab.views.uids import bare_uids

# Our own hints in a column's `tag`; `s4s/unit` is the fourth.
UID_TAG = "s4s/uid"
WADO_BASE_TAG = "s4s/wado-base"
WHEN_EMPTY_TAG = "s4s/issue-when-empty"
_STUDIES = re.compile(r"/studies(?:/[^/?#]*)?/*$")
Counts = npt.NDArray[np.int64]
# Rows, and for each the place of its resource among those that are read together.
Part = tuple[pa.RecordBatch, npt.NDArray[np.int64]]
# Bounds memory: what waits in Python lists before it becomes a chunk of Arrow.
_CHUNK_ROWS = 20_000


def wado_base(address: str) -> str:
    """Return the URL below which `/studies/{uid}` lies, from an address that may already name a study.

    Parameters
    ----------
    address : str
        An Endpoint's address, without a query.

    References
    ----------
    DICOM PS3.18, section 10.4: retrieve transaction, `/studies/{study}`.
    """
    return _STUDIES.sub("", address.strip()).rstrip("/")


def _wado_bases(addresses: pa.Array) -> pa.Array:
    return pa.array([None if one is None else wado_base(one) for one in addresses.to_pylist()], pa.string())


class Issues:
    """What was wrong in some rows, by row."""

    def __init__(self) -> None:
        self.by_row: dict[int, list[str]] = {}

    def add(self, row: int, issue: str) -> None:
        """Say one more thing about a row.

        Parameters
        ----------
        row : int
            Its position.
        issue : str
            A sentence.
        """
        self.by_row.setdefault(row, []).append(issue)

    def column(self, rows: int) -> pa.Array:
        """Return the column `parse_issues`.

        Parameters
        ----------
        rows : int
            How many rows the table has.
        """
        counts = np.zeros(rows + 1, np.int32)
        said: list[str] = []
        for row in sorted(self.by_row):
            issues = bounded(self.by_row[row])
            counts[row + 1] = len(issues)
            said += issues
        return pa.ListArray.from_arrays(pa.array(np.cumsum(counts, dtype=np.int32)), TEXT.place(said, "string")[0])


def place_collection(column: ColumnDefinition, items: list[Any], counts: Counts, issues: Issues) -> pa.Array:
    """Turn the items of a collection's cells into an Arrow array of lists.

    Parameters
    ----------
    column : ColumnDefinition
        As the view declares it.
    items : list
        JSON values or `Unplaced`, cell by cell.
    counts : numpy.ndarray, shape (cells,)
        How many items each cell has.
    issues : Issues
        Told what was left out, by cell.
    """
    array, by_row = place_items(column.kind, items, counts, column.called)
    for row, reasons in by_row.items():
        for reason in reasons:
            issues.add(row, f"{column.name}: {reason}")
    return _told_when_empty(column, array, issues)


def _place_single(column: ColumnDefinition, values: list[Any], issues: Issues) -> pa.Array:
    array, reasons = column.kind.place(values, column.called)
    for row, reason in reasons.items():
        issues.add(row, f"{column.name}: {reason}")
    if array.null_count == len(array):
        return array
    if UID_TAG in column.tags:
        array, odd = bare_uids(array)
        for row in odd:
            issues.add(row, f"{column.name}: {shown(array[row].as_py())} is no DICOM UID")
    return _wado_bases(array) if WADO_BASE_TAG in column.tags else array


def place(column: ColumnDefinition, values: list[Any], issues: Issues) -> pa.Array:
    """Turn the values of a column into an Arrow array.

    Parameters
    ----------
    column : ColumnDefinition
        As the view declares it.
    values : list
        JSON values, `Unplaced` or None; lists of them for a collection.
    issues : Issues
        Told what became null or was left out, by position.
    """
    if column.collection:
        counts = np.fromiter(map(len, values), np.int64, len(values))
        return place_collection(column, list(chain.from_iterable(values)), counts, issues)
    return _told_when_empty(column, _place_single(column, values, issues), issues)


def _told_when_empty(column: ColumnDefinition, array: pa.Array, issues: Issues) -> pa.Array:
    if WHEN_EMPTY_TAG in column.tags:
        empty = pc.equal(pc.list_value_length(array), 0) if column.collection else pc.is_null(array)
        for row in pc.indices_nonzero(empty).to_pylist():
            issues.add(row, column.tags[WHEN_EMPTY_TAG])
    return array


@lru_cache(maxsize=256)
def _makers(view: View) -> dict[FhirVersion, RowMaker]:
    return {version: compile_rows(plan, tolerant=view.packaged) for version, plan in view.plans.items()}


class TableBuilder:
    """Collects the rows of one view and turns them into Arrow chunk by chunk.

    Parameters
    ----------
    view : View
        What `load_view` gave.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.schema = table_schema(view)
        self.makers = _makers(view)
        self.columns = view.plans["r4"].all_columns()
        self.heads: list[Head] = []
        self.counts: list[int] = []
        self.places: list[int] = []
        self.rows: list[Row] = []
        self.chunks: list[Part] = []
        self.issues = 0
        self.examples: list[str] = []

    def take(self, resource: Mapping[str, Any], scope: Scope, version: FhirVersion, head: Head, place: int = 0) -> None:
        """Add the rows of one resource.

        Parameters
        ----------
        resource : Mapping
            The decoded resource.
        scope : Scope
            Its key, and what its references are followed by.
        version : str
            The FHIR version it is read as.
        head : tuple
            The cells its rows start with.
        place : int
            Its place among the resources that are read together.
        """
        rows = self.makers[version](resource, scope)
        if not rows:
            return
        self.rows += rows
        self.heads.append(head)
        self.counts.append(len(rows))
        self.places.append(place)
        if len(self.rows) >= _CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Turn what waits into a chunk of Arrow."""
        if not self.rows:
            return
        issues = Issues()
        arrays = self._head(issues) if self.view.packaged else []
        cells = zip(*self.rows, strict=True)
        arrays += [place(column, list(values), issues) for column, values in zip(self.columns, cells, strict=True)]
        if self.view.packaged:
            arrays.append(issues.column(len(self.rows)))
        self.note(issues)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        self.chunks.append((batch, np.repeat(np.asarray(self.places), self.counts)))
        self.rows, self.heads, self.counts, self.places = [], [], [], []

    def note(self, issues: Issues) -> None:
        """Keep what is needed to tell of values that fitted no cell.

        Parameters
        ----------
        issues : Issues
            Of some rows.
        """
        self.issues += sum(map(len, issues.by_row.values()))
        self.examples = bounded(self.examples + [one for many in issues.by_row.values() for one in many])[:3]

    def _head(self, issues: Issues) -> list[pa.Array]:
        """Place the first columns once a resource, and let Arrow repeat them for each of its rows."""
        by_resource = Issues()
        *columns, id_issues = zip(*self.heads, strict=True)
        for resource, issue in enumerate(id_issues):
            if issue is not None:
                by_resource.add(resource, issue)
        resource_of = np.repeat(np.arange(len(self.counts)), self.counts)
        arrays = []
        for name, values in zip(self.schema.names, columns, strict=False):
            kind, called = (MOMENT, "instant") if name == "last_updated" else (TEXT, "id")
            array, reasons = kind.place(list(values), called)
            for resource, reason in reasons.items():
                by_resource.add(resource, f"{name}: {reason}")
            arrays.append(array.take(pa.array(resource_of)))
        for row, resource in enumerate(resource_of.tolist() if by_resource.by_row else ()):
            issues.by_row.setdefault(row, []).extend(by_resource.by_row.get(resource, ()))
        return arrays

    def untold(self) -> str | None:
        """Say what the table has no column to say; None when there is nothing, or the table says it itself."""
        if self.view.packaged or not self.issues:
            return None
        return (
            f"{self.view.name}: values that fit no cell became null ({self.issues} times): {'; '.join(self.examples)}"
        )

    def drained(self) -> list[Part]:
        """Return all rows since the last time, and for each the place of its resource."""
        self.flush()
        parts, self.chunks = self.chunks, []
        return parts
