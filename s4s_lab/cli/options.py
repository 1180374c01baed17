"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DatasetFolder = Annotated[Path, typer.Option("--dataset", metavar="DIR", help="The dataset's folder.")]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
MaxWait = Annotated[
    float,
    typer.Option(
        "--max-wait",
        metavar="S",
        min=0,
        help="The most to wait in all for servers that ask for time, in seconds.",
    ),
]
Patient = Annotated[
    str | None, typer.Option("--patient", metavar="ID", help="Only this patient: FHIR id or pseudonym.")
]
RenewedClient = Annotated[
    Path | None,
    typer.Option(
        "--registration",
        metavar="F",
        help="A JSON file with a client's renewed secret or key, kept for the connections of that client.",
    ),
]
