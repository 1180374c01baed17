"""`s4s export`: plain files for analysts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from s4s_lab.cli.connections import opened
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, say, show
from s4s_lab.explore import export
from s4s_lab.explore.exporting import Format


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "export",
        help="Write tables as plain files, with a data dictionary and checksums.",
        epilog="Example: s4s export --dataset study --out export --tables imaging_study,eob_item",
    )(command(run))


def run(
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")],
    tables: Annotated[str | None, typer.Option(metavar="NAME,…", help="Which tables; all by default.")] = None,
    format_: Annotated[str, typer.Option("--format", help="parquet, csv or ndjson.")] = "parquet",
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="Keep names, birth dates and hospital numbers that image files carry.")
    ] = False,
    images: Annotated[
        bool,
        typer.Option("--images", help="Write de-identified copies of images too, pixels as they are; needs [deid]."),
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """Export tables."""
    names = None if tables is None else [name.strip() for name in tables.split(",") if name.strip()]
    chosen = cast("Format", format_)
    written = export(opened(dataset), out, tables=names, format=chosen, identifiers=identifiers, images=images)
    if json_output:
        emit({row.table: {"rows": row.rows, "path": row.path, "sha256": row.sha256} for row in written.itertuples()})
    else:
        show("Exported", ["table", "rows", "path"], [[row.table, row.rows, row.path] for row in written.itertuples()])
        say(f"Columns are described in {out / 'data_dictionary.csv'}.")
