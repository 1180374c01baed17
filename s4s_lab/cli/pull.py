"""`s4s pull`: bring the record of every connection up to date."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Annotated, cast

import typer

from s4s_lab.cli.connections import Report, chosen, each, opened, outcome
from s4s_lab.cli.options import DatasetFolder, JsonOutput, MaxWait, Patient, RenewedClient
from s4s_lab.cli.output import DONE, FAILED, WAITING, command, emit, say, show
from s4s_lab.connection import Connection
from s4s_lab.errors import UsageError
from s4s_lab.lake import ConnectionRecord
from s4s_lab.net import Trace
from s4s_lab.sync import PullReport, pull
from s4s_lab.sync.pulling import PullMode, checked_plan

_SHOWN = 10
CODES = {"done": DONE, "waiting": WAITING, "failed": FAILED}


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "pull",
        help="Pull the record of each connection: first pull, update, or broad pull when one is due.",
        epilog="Example: s4s pull --dataset study --mode broad",
    )(command(run))


def run(
    dataset: DatasetFolder,
    mode: Annotated[str, typer.Option(metavar="MODE", help="auto, first, update or broad.")] = "auto",
    patient: Patient = None,
    types: Annotated[
        str | None, typer.Option(metavar="TYPE,…", help="Only these resource types, separated by commas.")
    ] = None,
    registration: RenewedClient = None,
    max_wait: MaxWait = 1800.0,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the HTTP exchanges there, without ids and tokens: one JSON a line."),
    ] = None,
    json_output: JsonOutput = False,
) -> int:
    """Pull each connection."""
    wanted = None if types is None else [name.strip() for name in types.split(",") if name.strip()]
    checked_plan(mode, wanted)
    if trace is not None:
        _check_target(trace)
    data = opened(dataset)
    recorder = Trace() if trace else None

    def verb(link: Connection, _: ConnectionRecord, left_s: float) -> tuple[int, Report]:
        kind = cast("PullMode", mode)
        report = pull(
            link, data, mode=kind, types=wanted, max_wait_s=left_s, trace=False if recorder is None else recorder
        )
        if not json_output:
            show_pull(report)
        return CODES[report.outcome], report.to_json()

    try:
        code, reports = each(chosen(data, patient), verb, max_wait_s=max_wait, renewed_client=registration)
    finally:
        if recorder is not None and trace is not None:
            recorder.save(trace)
    if json_output:
        emit({"outcome": outcome(code), "connections": reports})
    return code


def _check_target(trace: Path) -> None:
    """Find out whether the trace can be written in the end, before anything is asked."""
    try:
        if trace.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        with tempfile.NamedTemporaryFile(dir=trace.parent, prefix=".part-"):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"The trace cannot be written to {trace}: {reason}.") from None


def show_pull(report: PullReport, title: str | None = None) -> None:
    """Write a pull's report as a table with its notes.

    Parameters
    ----------
    report : PullReport
        What to tell.
    title : str, optional
        Above the table; patient and server when None.
    """
    table = report.printed()
    rows = [[name, *cells] for name, cells in zip(table.index, table.to_numpy(), strict=True)]
    heading = title or f"Pull of patient {report.patient_id} at {report.fhir_url}: {report.outcome}"
    show(heading, ["type", *table.columns], rows)
    for text in report.warnings:
        say(f"  note: {text}")
    differences = [difference for item in report.types for difference in item.differences]
    for one in differences[:_SHOWN]:
        said = f" ({one.reason})" if one.reason else ""
        say(f"  {one.kind}: {one.resource_type}/{one.resource_id}{said}")
    if len(differences) > _SHOWN:
        say(f"  and {len(differences) - _SHOWN} more: --json lists all")
