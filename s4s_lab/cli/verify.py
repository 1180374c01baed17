"""`s4s verify`: everything in the dataset checked again."""

from __future__ import annotations

from typing import Annotated

import typer

from s4s_lab.cli.connections import opened
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import DONE, FAILED, command, emit, say, show


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "verify",
        help="Hash and compare everything again; say what is wrong, where, and what to do.",
        epilog="Example: s4s verify --dataset study",
    )(command(run))


def run(
    dataset: DatasetFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make tables anew, set damaged images aside; the log is never changed.")
    ] = False,
    json_output: JsonOutput = False,
) -> int:
    """Check the dataset."""
    report = opened(dataset).verify(repair=repair)
    if json_output:
        emit(report.to_json())
    else:
        table = report.table()
        rows = [[str(part), *row] for part, row in zip(table.index, table.to_numpy().tolist(), strict=True)]
        show(f"Verify: {report.outcome}", ["part", *table.columns], rows)
        for line in report.lines():
            say(line)
    return DONE if report.outcome == "done" else FAILED
