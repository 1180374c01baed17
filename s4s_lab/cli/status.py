"""`s4s status`: connections and their access, watermarks, last runs."""

from __future__ import annotations

import json
from typing import Any

import typer

from s4s_lab.cli.connections import opened
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, say, show
from s4s_lab.cli.pull import show_pull
from s4s_lab.connection import kept_access
from s4s_lab.errors import S4SError
from s4s_lab.lake import ConnectionRecord
from s4s_lab.sync.ledger import last_pull


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "status",
        help="Show each connection: how its access stands, last runs, lastCheck, and when a broad pull is due.",
        epilog="Example: s4s status --dataset study",
    )(command(run))


def run(dataset: DatasetFolder, json_output: JsonOutput = False) -> None:
    """Show the state of the dataset."""
    data = opened(dataset)
    frame = data.status()
    pulls = [report for record in data.connections() if (report := last_pull(data, record))]
    access = [(record, _access(record)) for record in data.connections()]
    if json_output:
        status = json.loads(frame.to_json(orient="records", date_format="iso"))
        connections = [_named(record) | stands for record, stands in access]
        reports = [report.to_json() for report in pulls]
        emit({"dataset": data.dataset_id, "connections": connections, "status": status, "pulls": reports})
        return
    say(data.citation())
    if not access:
        say("No connection yet: s4s connect FHIR_URL --dataset DIR")
    for record, stands in access:
        known = f" ({record.participant_id})" if record.participant_id else ""
        say(f"Patient {record.patient_id}{known} at {record.fhir_url}: {stands['said']}")
    for (source, patient_id), rows in frame.groupby(["source", "patient_id"], sort=False):
        shown = rows.drop(columns=["source", "patient_id"]).dropna(axis="columns", how="all")
        show(f"\nPatient {patient_id} at {source}", list(shown.columns), shown.astype(object).to_numpy().tolist())
    for report in pulls:
        say()
        show_pull(report, f"Last pull of patient {report.patient_id} at {report.fhir_url}: {report.outcome}")


def _access(record: ConnectionRecord) -> dict[str, Any]:
    """Tell how an access stands; one whose file cannot be used hides no other."""
    try:
        access = kept_access(record.grants_path)
    except S4SError as error:
        return {"access": None, "said": str(error)}
    return {"access": access.to_json(), "said": str(access)}


def _named(record: ConnectionRecord) -> dict[str, Any]:
    return {"fhir_url": record.fhir_url, "patient_id": record.patient_id, "participant_id": record.participant_id}
