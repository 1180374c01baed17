"""`s4s sandbox`: run the reference server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from s4s_lab import sandbox
from s4s_lab.cli.output import command, say
from s4s_lab.values import DEMO_REDIRECT_URI


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "sandbox",
        help="Run the reference S4S server: SMART authorization, STU3 FHIR, WADO-RS.",
        epilog="Example: s4s sandbox --port 8080 --dicom ~/studies --ready-file ready.json",
    )(command(run))


def run(
    host: Annotated[str, typer.Option(help="The address to listen on; anything but loopback shows it to others.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 0,
    profile: Annotated[str, typer.Option(help="How to behave; a wrong name lists what there is.")] = "s4s",
    seed: Annotated[int, typer.Option(help="Makes the synthetic people, claims and images.")] = 20,
    fhir: Annotated[Path | None, typer.Option(metavar="DIR", help="Serve the FHIR JSON files below this folder.")] = (
        None
    ),
    dicom: Annotated[Path | None, typer.Option(metavar="DIR", help="Serve the DICOM files below this folder.")] = None,
    link: Annotated[
        Path | None, typer.Option(metavar="FILE", help='JSON: {"DICOM PatientID": "FHIR Patient id"}.')
    ] = None,
    redirect_uri: Annotated[str, typer.Option(help="Where the demo registration returns to.")] = DEMO_REDIRECT_URI,
    retrieve_s: Annotated[
        float,
        typer.Option(
            "--retrieve-s", min=0, metavar="S", help="How long a study's first retrieval is put off, in seconds."
        ),
    ] = 1.0,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="F", help="Written when the server answers: its URLs and a registration.")
    ] = None,
) -> None:
    """Serve until interrupted."""
    sandbox.serve(
        host=host,
        port=port,
        profile=profile,
        seed=seed,
        fhir=fhir,
        dicom=dicom,
        link=link,
        redirect_uri=redirect_uri,
        retrieve_s=retrieve_s,
        ready_file=ready_file,
        on_ready=_tell,
    )


def _tell(server: sandbox.Sandbox) -> None:
    say(f"An S4S reference server runs at {server.fhir_url}, its images at {server.wado_url}.")
    count = len(server.participants)
    say(f"{'1 participant' if count == 1 else f'{count} participants'} can be connected:")
    say(f"  s4s connect {server.fhir_url} --dataset study")
    say("Ctrl-C ends it.")
    sys.stdout.flush()
