"""Views over resources: one decode a resource for all views, rows to Arrow in chunks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s4s_lab.errors import NotFhir, ParseIssues, UsageError
from s4s_lab.values.uids import MAX_LENGTH
from s4s_lab.views.definition import ColumnDefinition
from s4s_lab.views.fhirpath import Scope
from s4s_lab.views.heads import Head, HeadMaker, Provenance, compile_head
from s4s_lab.views.issues import bounded, shown
from s4s_lab.views.kinds import MOMENT, TEXT, list_column, place_lists
from s4s_lab.views.loading import View, table_schema
from s4s_lab.views.resources import FhirVersion, fhir_version_of, resource_key
from s4s_lab.views.rows import Row, compile_rows

# Our own hints in a column's `tag`; `s4s/unit` is the fourth.
UID_TAG = "s4s/uid"
WADO_BASE_TAG = "s4s/wado-base"
WHEN_EMPTY_TAG = "s4s/issue-when-empty"
_STUDIES = re.compile(r"/studies(?:/[^/?#]*)?/*$")
_UID = r"^[0-9]+(?:\.[0-9]+)*$"
# Bounds memory: what waits in Python lists before it becomes a chunk of Arrow.
_CHUNK_ROWS = 20_000
_DEFAULT_VERSION: FhirVersion = "stu3"
_UNKNOWN = Provenance()


@dataclass(frozen=True)
class Subject:
    """One resource that views are run on.

    Parameters
    ----------
    raw : bytes, str or dict
        The resource as JSON, or decoded.
    provenance : Provenance
        Where it came from.
    full_urls : Mapping of str to str
        `fullUrl` → `Type/id` of the entries it came with, by which `urn:uuid:` references are followed.
    """

    raw: bytes | str | Mapping[str, Any]
    provenance: Provenance = _UNKNOWN
    full_urls: Mapping[str, str] = field(default_factory=dict)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent beyond what any number type holds; infinite is what no column takes.
        return Decimal("Infinity")


_DECODER = msgspec.json.Decoder(float_hook=_decimal)


def decode(text: bytes | str, place: str = "The text") -> Any:
    """Decode JSON with exact decimals.

    Parameters
    ----------
    text : bytes or str
        JSON, without a byte order mark.
    place : str
        Where it stands, to begin the error with.

    Raises
    ------
    NotFhir
        If it is no JSON.
    """
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise NotFhir(f"{place} is no JSON: {error}.") from None


def wado_base(address: str) -> str:
    """Return the URL below which `/studies/{uid}` lies, from an address that may already name a study.

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


def _place(column: ColumnDefinition, values: list[Any], issues: _Issues) -> pa.Array:
    called = column.type or column.kind.name
    if column.collection:
        array, by_row = place_lists(column.kind, values, called)
        for row, reasons in by_row.items():
            for reason in reasons:
                issues.add(row, f"{column.name}: {reason}")
        empty = pc.equal(pc.list_value_length(array), 0)
    else:
        array, reasons_by_row = column.kind.place(values, called)
        for row, reason in reasons_by_row.items():
            issues.add(row, f"{column.name}: {reason}")
        if UID_TAG in column.tags:
            array = _bare_uids(array)
            _check_uids(array, column.name, issues)
        if WADO_BASE_TAG in column.tags:
            array = _wado_bases(array)
        empty = pc.is_null(array)
    if WHEN_EMPTY_TAG in column.tags:
        for row in pc.indices_nonzero(empty).to_pylist():
            issues.add(row, column.tags[WHEN_EMPTY_TAG])
    return array


class _TableBuilder:
    """Collects the rows of one view and turns them into Arrow chunk by chunk."""

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
        rows = self.makers[version](resource, scope)
        self.rows += rows
        self.heads.append(head)
        self.counts.append(len(rows))
        if len(self.rows) >= _CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
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
        row_to_resource = np.repeat(np.arange(len(self.counts)), self.counts)
        first_rows = np.cumsum(self.counts) - self.counts
        arrays = []
        for field_, values in zip(self.schema, zip(*self.heads, strict=True), strict=False):
            kind, called = (MOMENT, "instant") if field_.name == "last_updated" else (TEXT, "id")
            array, reasons = kind.place(list(values), called)
            for resource, reason in reasons.items():
                for row in range(first_rows[resource], first_rows[resource] + self.counts[resource]):
                    issues.add(row, f"{field_.name}: {reason}")
            arrays.append(array.take(pa.array(row_to_resource)))
        return arrays

    def table(self) -> pa.Table:
        self.flush()
        if self.issues and not self.view.packaged:
            said = "; ".join(self.examples)
            warnings.warn(
                ParseIssues(f"{self.view.name}: {self.issues} values fit no cell and are null: {said}"), stacklevel=3
            )
        return pa.Table.from_batches(self.chunks, self.schema)


def _builders(views: Sequence[View]) -> dict[str, list[_TableBuilder]]:
    by_type: dict[str, list[_TableBuilder]] = {}
    names: set[str] = set()
    for view in views:
        if view.name in names:
            raise UsageError(f"Two views are named {view.name!r}.", hint="Give each a name of its own.")
        names.add(view.name)
        by_type.setdefault(view.resource_type, []).append(_TableBuilder(view))
    return by_type


def run_views(views: Sequence[View], subjects: Iterable[Subject]) -> dict[str, pa.Table]:
    """Run views over resources.

    Each resource is decoded once for all views; resources of other types are skipped. A head table (one that does not
    iterate) gets exactly one row a resource, whatever it holds.

    Parameters
    ----------
    views : sequence of View
        What `load_view` gave; their names must differ.
    subjects : iterable of Subject
        The resources; read once, one at a time.

    Returns
    -------
    dict of str to pyarrow.Table
        By the views' names, with the schema of `table_schema`, rows in the order of the resources.

    Raises
    ------
    NotFhir
        If a subject's text is no JSON.
    ViewError
        If a view that is not the catalogue's finds several values for one cell, or a condition that is none.
    UsageError
        If two views have one name.

    Warns
    -----
    ParseIssues
        When a view that is not the catalogue's met values that fit no cell: its table has no column to say so.
    """
    by_type = _builders(views)
    heads: dict[str, HeadMaker] = {resource_type: compile_head(resource_type) for resource_type in by_type}
    for subject in subjects:
        resource = decode(subject.raw) if isinstance(subject.raw, bytes | str) else subject.raw
        resource_type = resource.get("resourceType") if isinstance(resource, Mapping) else None
        builders = by_type.get(resource_type) if isinstance(resource_type, str) else None
        if not builders:
            continue
        provenance = subject.provenance
        scope = Scope(resource_key(resource), subject.full_urls)
        head = heads[str(resource_type)](resource, provenance, scope)
        version = provenance.fhir_version or fhir_version_of(resource) or _DEFAULT_VERSION
        for builder in builders:
            builder.take(resource, scope, version, head)
    return {builder.view.name: builder.table() for many in by_type.values() for builder in many}
