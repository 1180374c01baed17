"""Views by packaged name, from a file or from a dict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from s4s_lab.errors import ViewError
from s4s_lab.views.columns import Column, columns_of, schema_of
from s4s_lab.views.definition import ViewDefinition, read_definition
from s4s_lab.views.heads import PARSE_ISSUES, head_columns
from s4s_lab.views.resources import FHIR_VERSIONS, FhirVersion
from s4s_lab.views.rows import compile_rows

_CATALOGUE = files("s4s_lab.views") / "catalogue"
_MAJOR: dict[str, FhirVersion] = {"3": "stu3", "4": "r4"}


@dataclass(frozen=True, eq=False)
class View:
    """A view that can be run.

    Parameters
    ----------
    name : str
        The table's name.
    resource_type : str
        The FHIR resource type whose resources give rows.
    columns : tuple of Column
        The view's own columns in order; packaged tables have more, see `table_schema`.
    packaged : bool
        Whether it is one of the catalogue's.
    plans : Mapping of str to ViewDefinition
        The checked view for each FHIR version; the same twice for a view that is not the catalogue's.
    fingerprint : str
        Identifies its ViewDefinitions with all that they say.
    """

    name: str
    resource_type: str
    columns: tuple[Column, ...]
    packaged: bool
    plans: Mapping[FhirVersion, ViewDefinition] = field(repr=False)
    fingerprint: str = field(default="", repr=False)


def packaged_views() -> list[str]:
    """Return the names of the catalogue's views, sorted."""
    return sorted(one.name.removesuffix(".json") for one in (_CATALOGUE / "r4").iterdir() if one.name.endswith(".json"))


def _checked(view: Mapping[str, Any], called: str, *, tolerant: bool) -> ViewDefinition:
    try:
        definition = read_definition(view)
        compile_rows(definition, tolerant=tolerant)
    except ViewError as error:
        raise ViewError(f"{called}: {error}") from None
    return definition


@cache
def _packaged(name: str) -> View:
    plans: dict[FhirVersion, ViewDefinition] = {}
    said = []
    for version in FHIR_VERSIONS:
        said.append(msgspec.json.decode((_CATALOGUE / version / f"{name}.json").read_bytes()))
        plans[version] = _checked(said[-1], f"{version}/{name}.json", tolerant=True)
    return View(name, plans["r4"].resource, columns_of(plans), True, plans, _fingerprint(said))


def _fingerprint(said: list[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _own(view: Mapping[str, Any], called: str, name: str | None) -> View:
    definition = _checked(view, called, tolerant=False)
    said = {_MAJOR[version[:1]] for version in definition.fhir_versions if version[:1] in _MAJOR}
    plans: dict[FhirVersion, ViewDefinition] = dict.fromkeys(FHIR_VERSIONS, definition)
    documented = {version: plan for version, plan in plans.items() if version in said or not said}
    name = definition.name or name or definition.resource
    return View(name, definition.resource, columns_of(documented), False, plans, _fingerprint([dict(view)]))


def _from_file(path: Path) -> View:
    return _own(_read(path), str(path), path.stem)


def _read(path: Path) -> dict[str, Any]:
    try:
        view = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise ViewError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise ViewError(f"{path} is no ViewDefinition: it is no JSON ({error}).") from None
    if not isinstance(view, dict):
        raise ViewError(f"{path} is no ViewDefinition: a JSON object is due.")
    return view


def read_view(view: str | Path | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Read a view that is not the catalogue's, and check it whole.

    Parameters
    ----------
    view : str, Path or Mapping
        The path of a ViewDefinition in JSON, or the ViewDefinition itself.

    Returns
    -------
    tuple of Mapping and str
        The ViewDefinition as it stands, and the view's name.

    Raises
    ------
    ViewError
        If it cannot be read or compiled; the message names the element.
    """
    definition = view if isinstance(view, Mapping) else _read(Path(view))
    called, name = ("ViewDefinition", None) if isinstance(view, Mapping) else (str(view), Path(view).stem)
    return definition, _own(definition, str(definition.get("name") or called), name).name


def load_view(view: str | Path | Mapping[str, Any] | View) -> View:
    """Load a view and check it whole.

    Parameters
    ----------
    view : str, Path or Mapping
        The name of a packaged view, the path of a ViewDefinition in JSON, or the ViewDefinition itself. A `View` comes
        back as it is.

    Returns
    -------
    View
        Named by the ViewDefinition's `name`, else by its file, else by its resource type.

    Raises
    ------
    ViewError
        If there is no such view, or it cannot be compiled; the message names the element.

    References
    ----------
    SQL on FHIR v2, "ViewDefinition".
    """
    if isinstance(view, View):
        return view
    if isinstance(view, Mapping):
        return _own(view, str(view.get("name") or "ViewDefinition"), None)
    if isinstance(view, str):
        if view in packaged_views():
            return _packaged(view)
        if not Path(view).exists():
            known = ", ".join(packaged_views())
            raise ViewError(f"There is no view and no file {view!r}.", hint=f"Packaged views: {known}.")
    return _from_file(Path(view))


def _all_columns(view: View) -> tuple[Column, ...]:
    if not view.packaged:
        return view.columns
    return (*head_columns(view.resource_type), *view.columns, PARSE_ISSUES)


@lru_cache(maxsize=256)
def table_schema(view: View) -> pa.Schema:
    """Return the Arrow schema of the view's table.

    Parameters
    ----------
    view : View
        What `load_view` gave.

    Returns
    -------
    pyarrow.Schema
        Packaged views start with source, participant_id, patient_id, resource_id, version_id, last_updated and end with
        parse_issues. Each field's metadata has `fhir_stu3`, `fhir_r4` (FHIRPaths), `meaning` and `unit`.
    """
    return schema_of(_all_columns(view))


def data_dictionary(view: View) -> pa.Table:
    """Return what each column of the view's table is.

    Parameters
    ----------
    view : View
        What `load_view` gave.

    Returns
    -------
    pyarrow.Table
        One row a column, key `column`: `type` (Arrow), `fhir_type`, `fhir_stu3`, `fhir_r4`, `meaning`, `unit`.
    """
    return pa.Table.from_pylist(
        [
            {"column": column.name, "type": str(column.arrow_type), "fhir_type": column.type or ""}
            | {key.decode(): value.decode() for key, value in column.field().metadata.items()}
            for column in _all_columns(view)
        ]
    )
