"""`s4s status`: connections, watermarks, last runs."""

from __future__ import annotations

import json

import typer

from s4s_lab.cli.connections import opened
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, say, show
from s4s_lab.cli.pull import show_pull
from s4s_lab.sync.ledger import last_pull


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
    pulls = [report for record in data.connections() if (report := last_pull(data, record))]
    if json_output:
        status = json.loads(frame.to_json(orient="records", date_format="iso"))
        emit({"dataset": data.dataset_id, "status": status, "pulls": [report.to_json() for report in pulls]})
        return
    say(data.citation())
    if frame.empty:
        say("No connection yet: s4s connect FHIR_URL --dataset DIR")
    for (source, patient_id), rows in frame.groupby(["source", "patient_id"], sort=False):
        shown = rows.drop(columns=["source", "patient_id"]).dropna(axis="columns", how="all")
        show(f"\nPatient {patient_id} at {source}", list(shown.columns), shown.astype(object).to_numpy().tolist())
    for report in pulls:
        say()
        show_pull(report, f"Last pull of patient {report.patient_id} at {report.fhir_url}: {report.outcome}")
