"""`s4s tabulate`: FHIR files to tables by packaged or own views, without a dataset."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from s4s_lab.cli.options import JsonOutput
from s4s_lab.cli.output import command, emit, note, show
from s4s_lab.errors import UsageError
from s4s_lab.explore import tabulate_many
from s4s_lab.explore.exporting import save_table, write_table
from s4s_lab.explore.tabulating import tabulate_to
from s4s_lab.views import load_view


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
    loaded = [load_view(name) for name in names]
    paths = {view.name: Path(out) / f"{view.name}.parquet" if _is_folder(out) else Path(out) for view in loaded}
    if out == "-":
        _print(tabulate_many(files, loaded))
        return
    if all(path.suffix.lower() == ".parquet" for path in paths.values()):
        # Tables of any size: they are never whole in memory.
        rows = tabulate_to(files, loaded, paths)
        written: Mapping[str, pa.Table | pq.ParquetFile] = {name: pq.ParquetFile(path) for name, path in paths.items()}
    else:
        tables = written = tabulate_many(files, loaded)
        for name, table in tables.items():
            _save(table, paths[name])
        rows = {name: table.num_rows for name, table in tables.items()}
    _say_written(rows, paths, json_output=json_output)
    for name, table in written.items():
        _note_issues(name, table)


def _print(tables: Mapping[str, pa.Table]) -> None:
    for name, table in tables.items():
        write_table(table, sys.stdout.buffer, "csv")
        _note_issues(name, table)


def _say_written(rows: dict[str, int], paths: dict[str, Path], *, json_output: bool) -> None:
    if json_output:
        emit({name: {"rows": count, "path": str(paths[name])} for name, count in rows.items()})
    else:
        show("Written", ["view", "rows", "path"], [[name, count, paths[name]] for name, count in rows.items()])


def _is_folder(out: str) -> bool:
    return out.endswith("/") or Path(out).is_dir()


def _save(table: pa.Table, target: Path) -> None:
    kind = target.suffix.lstrip(".").lower()
    target.parent.mkdir(parents=True, exist_ok=True)
    save_table(table, target, kind)


def _note_issues(name: str, table: pa.Table | pq.ParquetFile) -> None:
    is_file = isinstance(table, pq.ParquetFile)
    if "parse_issues" not in (table.schema_arrow if is_file else table.schema).names:
        return
    column = (table.read(["parse_issues"]) if is_file else table).column("parse_issues")
    rows = sum(bool(count) for count in pc.list_value_length(column).to_pylist())
    if rows:
        note(f"note: {name}: {rows} of {len(column)} rows have entries in parse_issues")
