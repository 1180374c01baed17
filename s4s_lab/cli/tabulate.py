"""`s4s tabulate`: FHIR files to tables by packaged or own views, without a dataset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from s4s_lab.cli.options import JsonOutput
from s4s_lab.cli.output import command, emit, note, show
from s4s_lab.errors import UsageError
from s4s_lab.explore import tabulate_many
from s4s_lab.explore.exporting import save_table, write_table


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "tabulate",
        help="Run views over FHIR files: Bundles, NDJSON or single resources, STU3 and R4 mixed.",
        epilog="Example: s4s tabulate imaging_study,imaging_series bundles/*.json --out tables/",
    )(command(run))


def run(
    views: Annotated[str, typer.Argument(metavar="VIEW[,VIEW…]", help="Packaged names, or ViewDefinition files.")],
    files: Annotated[list[str], typer.Argument(metavar="FILES…", help="Files or patterns of FHIR JSON.")],
    out: Annotated[
        str, typer.Option(metavar="F", help="F.parquet, F.csv, F.ndjson, - (CSV to stdout), or DIR/ for several views.")
    ] = "-",
    json_output: JsonOutput = False,
) -> None:
    """Write one table a view."""
    names = [name.strip() for name in views.split(",") if name.strip()]
    if len(names) > 1 and not _is_folder(out):
        raise UsageError("Several views need a folder to go to.", hint="Give --out DIR/ with the slash.")
    if json_output and out == "-":
        raise UsageError("--json and a table cannot both go to stdout.", hint="Give --out FILE.")
    tables = tabulate_many(files, names)
    if out == "-":
        for table in tables.values():
            write_table(table, sys.stdout.buffer, "csv")
    else:
        _write(tables, out, json_output=json_output)
    for name, table in tables.items():
        _note_issues(name, table)


def _write(tables: dict[str, pa.Table], out: str, *, json_output: bool) -> None:
    paths = {name: Path(out) / f"{name}.parquet" if _is_folder(out) else Path(out) for name in tables}
    for name, table in tables.items():
        _save(table, paths[name])
    if json_output:
        emit({name: {"rows": table.num_rows, "path": str(paths[name])} for name, table in tables.items()})
    else:
        show(
            "Written", ["view", "rows", "path"], [[name, table.num_rows, paths[name]] for name, table in tables.items()]
        )


def _is_folder(out: str) -> bool:
    return out.endswith("/") or Path(out).is_dir()


def _save(table: pa.Table, target: Path) -> None:
    kind = target.suffix.lstrip(".").lower()
    target.parent.mkdir(parents=True, exist_ok=True)
    save_table(table, target, kind)


def _note_issues(name: str, table: pa.Table) -> None:
    if "parse_issues" in table.column_names:
        rows = sum(bool(issues) for issues in table.column("parse_issues").to_pylist())
        if rows:
            note(f"note: {name}: {rows} of {table.num_rows} rows have entries in parse_issues")
