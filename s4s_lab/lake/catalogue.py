"""The views of a dataset: those of the package, and the user's own, each a ViewDefinition file in views/."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from s4s_lab.errors import NotInDataset, S4SWarning, ViewError
from s4s_lab.lake import durable
from s4s_lab.lake.stored import BESIDE, Layout
from s4s_lab.views import View, load_view, packaged_views, read_view, table_schema
from s4s_lab.views.heads import PARSE_ISSUES, head_columns

# A name becomes a folder, a table in SQL and a file of an export.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)
_NAME_RULE = "A table's name has letters, digits and _, a letter first, and at most 63 of them"
_PREFIX = "view_"
_FILES = "dicom_instance"


@cache
def catalogue() -> Mapping[str, View]:
    """Return the packaged views by name."""
    return MappingProxyType({name: load_view(name) for name in packaged_views()})


@lru_cache(maxsize=256)
def layout(view: View) -> Layout:
    """Return how a view's table is stored.

    Parameters
    ----------
    view : View
        One of a dataset's.
    """
    return Layout(table_schema(view))


@dataclass(frozen=True)
class Views:
    """The packaged views, and those in a folder.

    Parameters
    ----------
    folder : Path
        Where the user's own lie; made with the first one.
    """

    folder: Path

    def all(self) -> dict[str, View]:
        """Return every view that can be run, by name, sorted.

        Warns
        -----
        S4SWarning
            When a file in the folder is no view; the others are not affected.
        """
        found = dict(catalogue())
        for path in self._files():
            try:
                found[path.stem] = _own(path)
            except ViewError as error:
                warnings.warn(S4SWarning(f"Own view {path.name} is left out: {error}"), stacklevel=2)
        return dict(sorted(found.items()))

    def own(self) -> list[str]:
        """Return the names of the user's own views, sorted."""
        return [path.stem for path in self._files()]

    def one(self, name: str) -> View:
        """Return a view.

        Parameters
        ----------
        name : str
            Which one.

        Raises
        ------
        NotInDataset
            If there is none of that name.
        ViewError
            If its file was changed and is no view any more.
        """
        if name in catalogue():
            return catalogue()[name]
        for path in self._files():
            if path.stem == name:
                return _own(path)
        known = ", ".join(sorted([*catalogue(), *self.own(), _FILES]))
        raise NotInDataset(f"There is no table {name!r}.", hint=f"Tables: {known}.")

    def checked(self, view: str | Path | Mapping[str, Any], *, replacing: bool) -> tuple[str, bytes]:
        """Check a view that is to become one of the dataset's.

        Parameters
        ----------
        view : str, Path or Mapping
            A ViewDefinition file, or the ViewDefinition.
        replacing : bool
            Whether one of the same name may be there.

        Returns
        -------
        tuple of str and bytes
            Its name, and the file that `keep` writes.

        Raises
        ------
        ViewError
            If it cannot be compiled, or its name cannot be a table's, or is taken.
        """
        definition, name = read_view(view)
        if _NAME.fullmatch(name) is None:
            raise ViewError(f"name: {name!r} cannot be a table's.", hint=f"{_NAME_RULE}.")
        taken = {one.lower(): one for one in [*catalogue(), _FILES, *self.own()]}.get(name.lower())
        if taken is not None and not (replacing and taken == name and name in self.own()):
            hint = (
                "Say replace=True, or --replace, to put this view in its place."
                if taken in self.own()
                else "Choose another name."
            )
            raise ViewError(f"name: there is a table {taken!r} already.", hint=hint)
        content = json.dumps(_apart(definition) | {"name": name}, indent=2, default=str).encode() + b"\n"
        self.compiled(name, content)
        return name, content

    def compiled(self, name: str, content: bytes) -> View:
        """Return the view that a file says.

        Parameters
        ----------
        name : str
            Its name.
        content : bytes
            As `checked` gave it.

        Raises
        ------
        ViewError
            If it is none.
        """
        return _compiled(content.decode(), f"{name}.json")

    def keep(self, name: str, content: bytes) -> None:
        """Write a checked view into the folder.

        Parameters
        ----------
        name : str
            Its name.
        content : bytes
            As `checked` gave it.
        """
        durable.make_private_folder(self.folder)
        durable.write_durably(self.folder / f"{name}.json", content)

    def drop(self, name: str) -> None:
        """Remove one of the user's own views.

        Parameters
        ----------
        name : str
            Which one.

        Raises
        ------
        NotInDataset
            If it is none of the user's own.
        """
        if name not in self.own():
            known = ", ".join(self.own()) or "none"
            raise NotInDataset(f"There is no view of your own named {name!r}.", hint=f"Your own: {known}.")
        (self.folder / f"{name}.json").unlink()
        durable.sync(self.folder)

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.glob("*.json") if _NAME.fullmatch(path.stem))


def _own(path: Path) -> View:
    return _compiled(path.read_text(encoding="utf-8"), path.name)


@lru_cache(maxsize=256)
def _compiled(text: str, called: str) -> View:
    """Make a view of a file's text what the packaged ones are: with a head, and stopped by no resource."""
    try:
        definition = json.loads(text)
    except ValueError as error:
        raise ViewError(f"{called} is no ViewDefinition: it is no JSON ({error}).") from None
    if not isinstance(definition, dict):
        raise ViewError(f"{called} is no ViewDefinition: a JSON object is due.")
    view = replace(load_view(definition), packaged=True)
    taken = _reserved(view.resource_type) & {column.name.lower() for column in view.columns}
    if taken:
        raise ViewError(f"{called}: a column cannot be named {min(taken)!r}: every table of a dataset has one.")
    return view


def _reserved(resource_type: str) -> set[str]:
    beside = [field.name for field in BESIDE]
    return {*(column.name for column in head_columns(resource_type)), PARSE_ISSUES.name, *beside}


def _apart(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Give columns another name that would have the name of one which every table has."""
    reserved = _reserved(str(definition.get("resource")))
    clashing = [name for name in _column_names(definition) if name.lower() in reserved]
    if not clashing:
        return dict(definition)
    names = ", ".join(f"{name} is {_PREFIX}{name}" for name in dict.fromkeys(clashing))
    warnings.warn(
        S4SWarning(f"Every table of a dataset has these columns itself, so the view's own {names}."), stacklevel=5
    )
    renamed: dict[str, Any] = _renamed(definition, reserved)
    return renamed


def _column_names(node: Any) -> Iterator[str]:
    for key, below in node.items() if isinstance(node, Mapping) else ():
        if key == "column":
            yield from (str(column["name"]) for column in below)
        elif key in ("select", "unionAll"):
            for inner in below:
                yield from _column_names(inner)


def _renamed(node: Any, reserved: set[str]) -> Any:
    if isinstance(node, list):
        return [_renamed(one, reserved) for one in node]
    if not isinstance(node, Mapping):
        return node
    made = {key: _renamed(below, reserved) if key in ("select", "unionAll") else below for key, below in node.items()}
    for column in made.get("column", ()):
        if str(column["name"]).lower() in reserved:
            made["column"] = [
                dict(one) | {"name": _PREFIX + one["name"]} if str(one["name"]).lower() in reserved else one
                for one in made["column"]
            ]
    return made


def described(fields: pa.Schema) -> list[list[Any]]:
    """Return what is said of columns, in a form that does not depend on a library's version.

    Parameters
    ----------
    fields : pa.Schema
        Columns with their metadata.
    """
    return [
        [one.name, str(one.type), sorted((key.decode(), said.decode()) for key, said in (one.metadata or {}).items())]
        for one in fields
    ]
