"""`s4s status`: connections, watermarks, last runs."""

from __future__ import annotations

import json

import typer

from s4s_lab.cli.connections import opened
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, say, show


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "status",
        help="Show each connection's last runs, lastCheck, and when a broad pull is due.",
        epilog="Example: s4s status --dataset study",
    )(command(run))


def run(dataset: DatasetFolder, json_output: JsonOutput = False) -> None:
    """Show the state of the dataset."""
    data = opened(dataset)
    frame = data.status()
    if json_output:
        emit({"dataset": data.dataset_id, "status": json.loads(frame.to_json(orient="records", date_format="iso"))})
        return
    say(data.citation())
    if frame.empty:
        say("No connection yet: s4s connect FHIR_URL --dataset DIR")
    for (source, patient_id), rows in frame.groupby(["source", "patient_id"], sort=False):
        shown = rows.drop(columns=["source", "patient_id"]).dropna(axis="columns", how="all")
        show(f"\nPatient {patient_id} at {source}", list(shown.columns), shown.astype(object).to_numpy().tolist())
