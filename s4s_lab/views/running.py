"""Views over resources: one decode a resource for all views."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from s4s_lab.errors import ParseIssues, UsageError
from s4s_lab.views.building import TableBuilder
from s4s_lab.views.bundles import Document, Subject
from s4s_lab.views.coding import decoded
from s4s_lab.views.loading import View, table_schema
from s4s_lab.views.projected import Tabulator


def _builders(views: Sequence[View]) -> dict[str, list[TableBuilder]]:
    by_type: dict[str, list[TableBuilder]] = {}
    names: set[str] = set()
    for view in views:
        if view.name in names:
            raise UsageError(f"Two views are named {view.name!r}.", hint="Give each a name of its own.")
        names.add(view.name)
        by_type.setdefault(view.resource_type, []).append(TableBuilder(view))
    return by_type


def _found(tabulator: Tabulator, source: Iterable[Subject | Document]) -> Iterator[dict[str, pa.Table]]:
    for position, one in enumerate(source):
        yield from tabulator.add_document(one) if isinstance(one, Document) else tabulator.add(one, position)
    yield from tabulator.rest()


def _next(found: Iterator[dict[str, pa.Table]]) -> dict[str, pa.Table] | None:
    """Return what comes next; meanwhile spare the cyclic collector the look through JSON, which has no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return next(found, None)
    finally:
        if was_on:
            gc.enable()


def run_coded(views: Sequence[View], source: Iterable[Subject | Document]) -> Iterator[dict[str, pa.Table]]:
    """Run views over resources and yield rows as they come, so that memory stays flat however long the source is.

    Parameters
    ----------
    views : sequence of View
        What `load_view` gave; their names must differ.
    source : iterable of Subject or Document
        The resources, or JSON that holds resources and Bundles; read once, one at a time.

    Yields
    ------
    dict of str to pyarrow.Table
        By the views' names, with the columns of `table_schema`; texts that repeat may be dictionaries, and `decoded`
        writes them out. Views without rows may be absent. All batches of a view together have the rows in the order of
        the resources.

    Raises
    ------
    NotFhir
        If a text is no JSON, or a document no resource.
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
    found = _found(Tabulator(by_type), source)
    while (tables := _next(found)) is not None:
        yield tables
    for untold in filter(None, (builder.untold() for many in by_type.values() for builder in many)):
        warnings.warn(ParseIssues(untold), stacklevel=2)


def run_views(views: Sequence[View], subjects: Iterable[Subject | Document]) -> dict[str, pa.Table]:
    """Run views over resources.

    Each resource is decoded once for all views; resources of other types are skipped. A head table (one that does not
    iterate) gets exactly one row a resource, whatever it holds.

    Parameters
    ----------
    views : sequence of View
        What `load_view` gave; their names must differ.
    subjects : iterable of Subject or Document
        The resources, or JSON that holds resources and Bundles; read once, one at a time.

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
    schemas = {view.name: table_schema(view) for view in views}
    found: dict[str, list[pa.Table]] = {name: [] for name in schemas}
    for tables in run_coded(views, subjects):
        for name, rows in tables.items():
            found[name].append(decoded(rows, schemas[name]))
    return {name: pa.concat_tables(found[name] or [schema.empty_table()]) for name, schema in schemas.items()}
