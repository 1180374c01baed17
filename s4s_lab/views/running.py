"""Views over resources: one decode a resource for all views."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pyarrow as pa

from s4s_lab.errors import NotFhir, ParseIssues, UsageError
from s4s_lab.views.building import TableBuilder
from s4s_lab.views.fhirpath import Scope
from s4s_lab.views.heads import Provenance, compile_head
from s4s_lab.views.loading import View
from s4s_lab.views.resources import FhirVersion, fhir_version_of, resource_key

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


def _builders(views: Sequence[View]) -> dict[str, list[TableBuilder]]:
    by_type: dict[str, list[TableBuilder]] = {}
    names: set[str] = set()
    for view in views:
        if view.name in names:
            raise UsageError(f"Two views are named {view.name!r}.", hint="Give each a name of its own.")
        names.add(view.name)
        by_type.setdefault(view.resource_type, []).append(TableBuilder(view))
    return by_type


def _decoded(raw: bytes | str | Mapping[str, Any], position: int) -> tuple[Mapping[str, Any], str]:
    """Return a resource and its type; an empty one for JSON that is none."""
    resource = decode(raw, f"Resource {position}") if isinstance(raw, bytes | str) else raw
    resource_type = resource.get("resourceType") if isinstance(resource, Mapping) else None
    return (resource, resource_type) if isinstance(resource_type, str) else ({}, "")


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
    heads = {resource_type: compile_head(resource_type) for resource_type in by_type}
    for position, subject in enumerate(subjects):
        resource, resource_type = _decoded(subject.raw, position)
        if resource_type not in by_type:
            continue
        provenance = subject.provenance
        scope = Scope(resource_key(resource), subject.full_urls)
        head = heads[resource_type](resource, provenance, scope)
        version = provenance.fhir_version or fhir_version_of(resource) or _DEFAULT_VERSION
        for builder in by_type[resource_type]:
            builder.take(resource, scope, version, head)
    builders = {builder.view.name: builder for many in by_type.values() for builder in many}
    tables = {view.name: builders[view.name].table() for view in views}
    for untold in filter(None, (builder.untold() for builder in builders.values())):
        warnings.warn(ParseIssues(untold), stacklevel=2)
    return tables
