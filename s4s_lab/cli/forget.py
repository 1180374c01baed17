"""`s4s forget`: one participant out of the dataset, without residue."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from s4s_lab.cli.connections import opened
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, note, say, show
from s4s_lab.errors import UsageError


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "forget",
        help="Remove one participant: rows in all versions, raw JSON, images, watermarks, grant. It cannot be undone.",
        epilog="Example: s4s forget smart-1288992 --dataset study",
    )(command(run))


def run(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="The FHIR id of the patient.")],
    dataset: DatasetFolder,
    fhir_url: Annotated[
        str | None, typer.Option("--fhir-url", metavar="URL", help="The server, when several know the id.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")] = False,
    json_output: JsonOutput = False,
) -> None:
    """Remove one participant, once that is confirmed."""
    data = opened(dataset)
    if not yes:
        _confirm(patient, json_output=json_output)
    report = data.forget(patient, fhir_url)
    if json_output:
        emit(report.to_json())
        return
    show("Forget: done", ["what", "removed"], [[what, count] for what, count in report.removed.items()])
    for text in report.notes:
        say(f"note: {text}")


def _confirm(patient: str, *, json_output: bool) -> None:
    """Ask a person; a program has to say --yes."""
    if json_output:
        raise UsageError("Nobody can be asked with --json.", hint="Say --yes when you mean it.")
    note(f"Everything of patient {patient} will be removed, from every version. It cannot be undone.")
    note("Type the patient id again to go on:")
    if sys.stdin.readline().strip() != patient:
        raise UsageError("That is not the id: nothing was removed.", hint="Say --yes to be asked nothing.")
