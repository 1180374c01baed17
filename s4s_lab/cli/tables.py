"""`s4s tables`: what the dataset holds, and tables of one's own."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, say, show, text_of, width
from s4s_lab.errors import UsageError
from s4s_lab.lake import open_dataset
from s4s_lab.lake.moments import version_at

_LONGEST = 48
_PROVENANCE = 6


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "tables",
        help="List the tables with row counts and versions; with NAME print the head of one.",
        epilog="Example: s4s tables --dataset study imaging_study",
    )(command(run))


def run(
    dataset: DatasetFolder,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which table.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="V", help="As it was: a version, a date or an instant.")
    ] = None,
    path: Annotated[bool, typer.Option("--path", help="Print the Delta table's path, for any engine.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="How many rows of NAME to print.")] = 10,
    add_view: Annotated[
        Path | None, typer.Option("--add-view", metavar="FILE", help="Make a ViewDefinition a table of the dataset.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="--add-view may replace a view of yours.")] = False,
    remove_view: Annotated[
        str | None, typer.Option("--remove-view", metavar="NAME", help="Take a view of yours out, with its table.")
    ] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Let tables lose columns that their views no longer have.")
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """List the tables, show one, or change what tables there are."""
    data = open_dataset(dataset, create=False, migrate=migrate)
    if remove_view is not None:
        data.remove_view(remove_view)
    if add_view is not None:
        name = data.add_view(add_view, replace=replace)
    if name is None:
        if path or as_of is not None:
            raise UsageError("--path and --as-of need the name of a table.")
        _list(data.tables().to_pylist(), json_output=json_output)
    elif path:
        emit({name: {"path": str(data.path(name))}}) if json_output else say(str(data.path(name)))
    else:
        frame = data.table(name, as_of=as_of)
        if json_output:
            version = data.version if as_of is None else version_at(data.log, as_of)
            told = {"rows": len(frame), "version": version, "path": str(data.path(name))}
            emit({name: told | {"columns": list(frame.columns)}})
        else:
            _head(f"{name} added" if add_view else name, frame, rows)


def _head(title: str, frame: pd.DataFrame, rows: int) -> None:
    """Print the first rows: the columns that hold something, as many as a line takes, the others by name.

    The six columns that every table starts with come last: they say where a row is from, not what it says.
    """
    head = frame.head(rows)
    columns = [*head.columns[_PROVENANCE:], *head.columns[:_PROVENANCE]]
    cells = {str(column): [_short(text_of(cell)) for cell in head[column]] for column in columns}
    fitting: list[str] = []
    left = width()
    for column, texts in cells.items():
        left -= max(map(len, [column, *texts])) + 2
        if any(texts) and left >= 0:
            fitting.append(column)
        elif any(texts):
            break
    title = f"{title}: {len(frame)} {'row' if len(frame) == 1 else 'rows'}"
    if fitting:
        show(title, fitting, zip(*(cells[column] for column in fitting), strict=True))
    else:
        say(title)
    others = [column for column in cells if column not in fitting]
    if others:
        lines = textwrap.wrap(f"Other columns: {', '.join(others)}", width(), subsequent_indent="  ")
        say("\n".join(lines))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _list(tables: list[dict[str, Any]], *, json_output: bool) -> None:
    if json_output:
        emit({row["name"]: {"rows": row["rows"], "version": row["version"], "path": row["path"]} for row in tables})
    else:
        show("Tables", ["name", "rows", "version"], [[row["name"], row["rows"], row["version"]] for row in tables])
