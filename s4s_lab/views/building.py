"""Rows to Arrow in chunks, cells checked on the way; what does not fit is said in `parse_issues`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s4s_lab.values.uids import MAX_LENGTH
from s4s_lab.views.definition import ColumnDefinition
from s4s_lab.views.fhirpath import Scope
from s4s_lab.views.heads import Head
from s4s_lab.views.issues import bounded, shown
from s4s_lab.views.kinds import MOMENT, TEXT, list_column, place_lists
from s4s_lab.views.loading import View, table_schema
from s4s_lab.views.resources import FhirVersion
from s4s_lab.views.rows import Row, compile_rows

# Our own hints in a column's `tag`; `s4s/unit` is the fourth.
UID_TAG = "s4s/uid"
WADO_BASE_TAG = "s4s/wado-base"
WHEN_EMPTY_TAG = "s4s/issue-when-empty"
_STUDIES = re.compile(r"/studies(?:/[^/?#]*)?/*$")
_UID = r"^[0-9]+(?:\.[0-9]+)*$"
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


def _bare_uids(uids: pa.Array) -> pa.Array:
    """Do what `values.uids.bare_uid` does, for a whole column."""
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(uids), r"^(?i:urn:oid:)", "")


class _Issues:
    """The issues of one chunk, by row."""

    def __init__(self) -> None:
        self.by_row: dict[int, list[str]] = {}

    def add(self, row: int, issue: str) -> None:
        self.by_row.setdefault(row, []).append(issue)

    def column(self, rows: int) -> pa.Array:
        nothing: list[str] = []
        return list_column([bounded(self.by_row[row]) if row in self.by_row else nothing for row in range(rows)])


def _check_uids(array: pa.Array, name: str, issues: _Issues) -> None:
    fine = pc.and_(pc.match_substring_regex(array, _UID), pc.less_equal(pc.binary_length(array), MAX_LENGTH))
    for row in pc.indices_nonzero(pc.invert(pc.fill_null(fine, True))).to_pylist():
        issues.add(row, f"{name}: {shown(array[row].as_py())} is no DICOM UID")


def _place_list(column: ColumnDefinition, values: list[Any], issues: _Issues) -> pa.Array:
    array, by_row = place_lists(column.kind, values, column.called)
    for row, reasons in by_row.items():
        for reason in reasons:
            issues.add(row, f"{column.name}: {reason}")
    return array


def _place_single(column: ColumnDefinition, values: list[Any], issues: _Issues) -> pa.Array:
    array, reasons = column.kind.place(values, column.called)
    for row, reason in reasons.items():
        issues.add(row, f"{column.name}: {reason}")
    if UID_TAG in column.tags:
        array = _bare_uids(array)
        _check_uids(array, column.name, issues)
    return _wado_bases(array) if WADO_BASE_TAG in column.tags else array


def _place(column: ColumnDefinition, values: list[Any], issues: _Issues) -> pa.Array:
    array = (_place_list if column.collection else _place_single)(column, values, issues)
    if WHEN_EMPTY_TAG in column.tags:
        empty = pc.equal(pc.list_value_length(array), 0) if column.collection else pc.is_null(array)
        for row in pc.indices_nonzero(empty).to_pylist():
            issues.add(row, column.tags[WHEN_EMPTY_TAG])
    return array


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
        self.makers = {version: compile_rows(plan, tolerant=view.packaged) for version, plan in view.plans.items()}
        self.columns = view.plans["r4"].all_columns()
        self.heads: list[Head] = []
        self.counts: list[int] = []
        self.rows: list[Row] = []
        self.chunks: list[pa.RecordBatch] = []
        self.issues = 0
        self.examples: list[str] = []

    def take(self, resource: Mapping[str, Any], scope: Scope, version: FhirVersion, head: Head) -> None:
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
        """
        rows = self.makers[version](resource, scope)
        if not rows:
            return
        self.rows += rows
        self.heads.append(head)
        self.counts.append(len(rows))
        if len(self.rows) >= _CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Turn what waits into a chunk of Arrow."""
        if not self.rows:
            return
        issues = _Issues()
        arrays = self._head(issues) if self.view.packaged else []
        cells = zip(*self.rows, strict=True)
        arrays += [_place(column, list(values), issues) for column, values in zip(self.columns, cells, strict=True)]
        if self.view.packaged:
            arrays.append(issues.column(len(self.rows)))
        self.issues += sum(map(len, issues.by_row.values()))
        self.examples = bounded(self.examples + [one for many in issues.by_row.values() for one in many])[:3]
        self.chunks.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.rows, self.heads, self.counts = [], [], []

    def _head(self, issues: _Issues) -> list[pa.Array]:
        """Place the first columns once a resource, and let Arrow repeat them for each of its rows."""
        by_resource = _Issues()
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

    def table(self) -> pa.Table:
        """Return all rows, with the schema of `table_schema`."""
        self.flush()
        return pa.Table.from_batches(self.chunks, self.schema)
