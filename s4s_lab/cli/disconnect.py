"""`s4s disconnect`: give a participant's access back to the server; what was pulled stays."""

from __future__ import annotations

from typing import Annotated

import typer

from s4s_lab.cli.connections import Report, chosen, disconnected, each, opened, outcome
from s4s_lab.cli.options import DatasetFolder, JsonOutput, MaxWait, RenewedClient
from s4s_lab.cli.output import DONE, command, emit, note, say
from s4s_lab.connection import Connection
from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.lake import ConnectionRecord
from s4s_lab.smart import LAUNCH_PATIENCE
from s4s_lab.values.origins import base_url, without_query

_AT_THE_SERVER = {
    True: "The server has taken the access back.",
    False: "Forgotten here only: the server offers no way to take the access back, or did not.",
}


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "disconnect",
        help="End a participant's access: revoke it at the server, forget the grant here. The data stay (s4s forget).",
        epilog="Example: s4s disconnect smart-1288992 --dataset study",
    )(command(run))


def run(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="The FHIR id of the patient, or the pseudonym.")],
    dataset: DatasetFolder,
    fhir_url: Annotated[
        str | None, typer.Option("--fhir-url", metavar="URL", help="The server, when several know the id.")
    ] = None,
    registration: RenewedClient = None,
    max_wait: MaxWait = LAUNCH_PATIENCE.budget_s,
    json_output: JsonOutput = False,
) -> int:
    """Disconnect one patient's connections."""
    records = chosen(opened(dataset), patient)
    if fhir_url is not None:
        records = [record for record in records if record.fhir_url == base_url(fhir_url)]
    if not records:
        raise NotInDataset("The dataset has no connection of this patient at that server.")
    servers = {record.fhir_url for record in records}
    if len(servers) > 1:
        raise UsageError(f"{len(servers)} servers know this patient.", hint="Say which one: --fhir-url URL.")
    if len(records) > 1:
        raise UsageError(f"{len(records)} patients have this pseudonym.", hint="Give the FHIR id: s4s status has it.")
    given_back = [record for record in records if disconnected(record)]
    for record in given_back:
        note(f"note: patient {record.patient_id} at {without_query(record.fhir_url)} was disconnected before")
    open_ = [record for record in records if record not in given_back]

    def verb(link: Connection, record: ConnectionRecord, _: float) -> tuple[int, Report]:
        revoked = link.disconnect()
        if not json_output:
            say(f"Disconnected: patient {record.patient_id} at {without_query(record.fhir_url)}")
            say(_AT_THE_SERVER[revoked])
        return DONE, {
            "fhir_url": record.fhir_url,
            "patient_id": record.patient_id,
            "outcome": outcome(DONE),
            "revoked": revoked,
        }

    code, reports = each(open_, verb, max_wait_s=max_wait, renewed_client=registration, to_disconnect=True)
    if json_output:
        emit({"outcome": outcome(code), "connections": reports})
    return code
