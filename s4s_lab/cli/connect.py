"""`s4s connect`: a standalone launch that ends with a grant in the dataset."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from s4s_lab.cli.options import DatasetFolder, JsonOutput, MaxWait
from s4s_lab.cli.output import command, emit, note, say
from s4s_lab.cli.registrations import Told
from s4s_lab.connection import Connection, PendingLaunch, kept_access, prepare_launch
from s4s_lab.errors import LaunchNotFinished, S4SError, UsageError
from s4s_lab.lake import ConnectionRecord, Dataset, open_dataset
from s4s_lab.net import Patience
from s4s_lab.smart import LAUNCH_PATIENCE, EhrLaunch, FileGrants, require_keyring
from s4s_lab.sync.progress import progress
from s4s_lab.values import S4S_SCOPE, Secret
from s4s_lab.values.origins import base_url, without_query


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "connect",
        help="Connect a participant: print the address to open, wait for their answer, keep the grant.",
        epilog="Example: s4s connect https://ehr.example/fhir --dataset study --client-id s4s "
        "--client-secret-file secret.txt",
    )(command(run))


# Its parameters are the command's options, each of which some registration or some place needs.
def run(
    fhir_url: Annotated[str, typer.Argument(metavar="FHIR_URL", help="The server's FHIR base URL.")],
    dataset: DatasetFolder,
    client_id: Annotated[
        str | None, typer.Option(help="As registered; without it the app registers itself where the server allows.")
    ] = None,
    client_secret_file: Annotated[
        Path | None,
        typer.Option(metavar="F", help="A file that holds the client secret, - to be asked; else S4S_CLIENT_SECRET."),
    ] = None,
    registration: Annotated[
        Path | None,
        typer.Option(metavar="F", help="A JSON file with client_id, client_secret or private_key_file, redirect_uri."),
    ] = None,
    redirect_port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="N", help="Return to http://127.0.0.1:N/callback.")
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="What a registered client asks for.", show_default=S4S_SCOPE)
    ] = None,
    ehr_launch: Annotated[
        str | None, typer.Option(metavar="URL", help="The address by which an EHR opened the app (iss=…&launch=…).")
    ] = None,
    participant: Annotated[
        str | None, typer.Option(metavar="ID", help="The study's own pseudonym for this person.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Another host that may be sent the token.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=600, metavar="S", help="How long to wait for the answer.")
    ] = 300.0,
    keyring: Annotated[bool, typer.Option("--keyring", help="Keep the grant in the system's keyring.")] = False,
    max_wait: MaxWait = LAUNCH_PATIENCE.budget_s,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the address alone on the first line; open no browser.")
    ] = False,
    json_output: JsonOutput = False,
) -> None:
    """Connect one participant."""
    data = _usable(dataset)
    if data is not None:
        FileGrants.prepare(data.path() / "grants" / "new.json", keyring=keyring)
    elif keyring:
        require_keyring()
    client = Told(client_id, client_secret_file, registration, redirect_port, scope)
    launch_token = _launch_token(ehr_launch, fhir_url)
    with _interruptible(), progress(total=1, unit="server") as bar:
        pending = prepare_launch(
            fhir_url,
            client.registration(),
            redirect_uri=client.redirect_uri,
            participant_id=participant,
            allowed_origins=frozenset(allow or ()),
            launch_token=launch_token,
            patience=Patience(max_wait, bar.waiting, bar.sleep),
        )
    with _interruptible(), closing(pending):
        _present(pending, print_url=print_url, json_output=json_output)
        data = data or open_dataset(dataset)
        link = _answered(pending, timeout)
    _note_a_shared_pseudonym(data, link, participant)
    record = data.connection(link.fhir_url, link.patient_id, participant)
    link = _kept(link, record, keyring=keyring)
    if json_output:
        emit({"outcome": "done", "fhir_url": link.fhir_url, "patient_id": link.patient_id, "scope": link.scope})
    else:
        _tell(link, dataset)


def _kept(link: Connection, record: ConnectionRecord, *, keyring: bool) -> Connection:
    """Keep the grant; one that cannot be kept is given back, since nobody could do so later."""
    earlier = _stands(record)
    try:
        kept = link.kept_at(record.grants_path, keyring=keyring)
    except S4SError:
        link.disconnect()
        raise
    if earlier:
        note("note: an earlier access of this patient stands at the server until it ends there")
    return kept


def _stands(record: ConnectionRecord) -> bool:
    """Say whether an earlier access may stand at the server: its grant is good, or others could read it."""
    try:
        return kept_access(record.grants_path).state == "connected"
    except UsageError:
        return True


def _tell(link: Connection, dataset: Path) -> None:
    # A connection's own repr leaves the port out, to be the same in every notebook.
    say(f"Connected: patient {link.patient_id} at {without_query(link.fhir_url)}")
    then = "then renewed by itself" if link.refreshable else "then the participant approves again"
    say(f"Granted:   {link.scope}; {link.minutes_left} min left, {then}")
    say(f"Next: s4s pull --dataset {dataset}")


def _answered(pending: PendingLaunch, timeout_s: float) -> Connection:
    """Wait for the answer; when none comes, this program ends, and its link with it."""
    try:
        return pending.wait(timeout_s)
    except LaunchNotFinished as error:
        again = "Run the command again; --timeout gives the participant longer."
        raise LaunchNotFinished(error.args[0], hint=again) from None


def _note_a_shared_pseudonym(data: Dataset, link: Connection, participant: str | None) -> None:
    """Say when a pseudonym is another patient's of the same server already; at two servers it may be one person."""
    others = [
        record.patient_id
        for record in data.connections()
        if participant is not None and record.participant_id == participant and record.fhir_url == link.fhir_url
    ]
    if [one for one in others if one != link.patient_id]:
        note(f"note: {participant} is another patient's pseudonym at this server already; both have it now")


def _note_a_stray(pending: PendingLaunch) -> None:
    """Tell of an error that names no launch, and so ends none; it may be this one's."""
    if pending.stray is not None and pending.status == "waiting":
        note(f"note: {pending.stray}")


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note("s4s: Interrupted; nobody was connected.")
        raise typer.Exit(130) from None


def _usable(dataset: Path) -> Dataset | None:
    """Open a dataset that is there, or find out whether it can be made, before anybody is sent anywhere.

    It is made once a server has answered.
    """
    if dataset.exists():
        return open_dataset(dataset)
    above = next(folder for folder in dataset.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"The dataset {dataset} cannot be made: {above} is no folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"The dataset {dataset} cannot be made: you may not write to {above}.")
    return None


def _launch_token(opened_at: str | None, fhir_url: str) -> Secret | None:
    """Return what an EHR said when it opened the app; it has to be the server that the researcher names."""
    if opened_at is None:
        return None
    said = EhrLaunch.from_url(opened_at)
    if said.fhir_url != base_url(fhir_url):
        raise UsageError(f"The launch was begun by {said.fhir_url}, not by {base_url(fhir_url)}.")
    return said.token


def _present(pending: PendingLaunch, *, print_url: bool, json_output: bool) -> None:
    """Show the address and what comes of it; open a browser where a person sits before one; take a pasted answer."""
    pending.watch(partial(_note_a_stray, pending))
    tell = note if json_output else say
    if print_url:
        tell(pending.authorize_url)
        sys.stdout.flush()
    else:
        tell("Open this address in a browser and answer the consent page:")
        tell(pending.authorize_url)
        tell("If the browser cannot come back here, paste the address it ended on:")
        # Without a way back here the browser is on another machine; one that opens here would fill the terminal.
        if sys.stdin.isatty() and pending.start_url:
            webbrowser.open(pending.authorize_url)
    threading.Thread(target=_take_pasted, args=(pending,), daemon=True).start()


def _take_pasted(pending: PendingLaunch) -> None:
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            pending.answer(line.strip())
        except S4SError as error:
            note(f"s4s: {error}")
        else:
            return
