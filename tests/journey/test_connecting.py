"""`s4s connect` and `s4s disconnect`: which client it is, a pasted answer, and the end of an access."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from s4s_lab import open_dataset, sandbox
from s4s_lab.cli.connect import _kept
from s4s_lab.connection import prepare_launch, reopen
from s4s_lab.errors import GrantExpired, UsageError
from s4s_lab.sandbox import Sandbox
from s4s_lab.sandbox.browser import answer_consent
from tests.journey.conftest import free_port
from tests.journey.test_command_line import S4S, connect, refused, s4s

Told = dict[str, str]


@pytest.fixture
def client(synthetic: Sandbox, tmp_path: Path) -> Path:
    """The sandbox's client, in a file for its owner."""
    registration = synthetic.registration
    assert registration.client_secret is not None
    told = {name: getattr(registration, name) for name in ("client_id", "redirect_uri", "scope")}
    path = tmp_path / "handed-over" / "client.json"
    path.parent.mkdir()
    path.touch(mode=0o600)
    path.write_text(json.dumps(told | {"client_secret": registration.client_secret.reveal()}))
    return path


@pytest.fixture
def connected(synthetic: Sandbox, tmp_path: Path) -> Path:
    assert connect(synthetic, tmp_path / "study").returncode == 0
    return tmp_path / "study"


def _pasted(server: Sandbox, *words: object, environment: Told | None = None) -> subprocess.CompletedProcess[str]:
    """Run `s4s connect`, answer the consent page in a browser that cannot come back, and paste where it ended."""
    command = [S4S, "connect", server.fhir_url, *map(str, words), "--print-url"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        choice = {"participant": server.participants[1].patient_id, "decision": "approve"}
        answer = answer_consent(url, choice) if url else ""
        out, err = running.communicate(f"nonsense\n{answer}\n", timeout=60)
    return subprocess.CompletedProcess(command, running.returncode, f"{url}\n{out}", err)


def test_the_answer_is_pasted_where_no_browser_can_come_back(synthetic: Sandbox, tmp_path: Path) -> None:
    ran = _pasted(synthetic, "--dataset", tmp_path / "study", "--redirect-port", free_port())
    assert ran.returncode == 0, ran.stderr
    assert "Copy the whole address" in ran.stderr  # of the nonsense that came first
    assert f"Connected: patient {synthetic.participants[1].patient_id}" in ran.stdout
    assert "min left, then renewed by itself" in ran.stdout


def test_a_file_or_the_environment_says_which_client_it_is(synthetic: Sandbox, client: Path, tmp_path: Path) -> None:
    told: Told = json.loads(client.read_text())
    environment = {"S4S_CLIENT_ID": told["client_id"], "S4S_CLIENT_SECRET": told["client_secret"]}
    port = ("--redirect-port", told["redirect_uri"].split(":")[2].split("/")[0])
    by_file = _pasted(synthetic, "--dataset", tmp_path / "one", "--registration", client)
    by_environment = _pasted(synthetic, "--dataset", tmp_path / "two", *port, environment=environment)
    for ran in (by_file, by_environment):
        assert ran.returncode == 0, ran.stderr
        assert f"client_id={told['client_id']}&" in ran.stdout
        assert told["client_secret"] not in ran.stdout + ran.stderr


def test_disconnecting_revokes_and_keeps_the_data(synthetic: Sandbox, connected: Path, tmp_path: Path) -> None:
    assert s4s("pull", "--dataset", connected).returncode == 0
    (grant,) = (connected / "grants").glob("*.json")
    copy = tmp_path / "handed-over" / "grant.json"
    copy.parent.mkdir(mode=0o700)
    shutil.copy2(grant, copy)
    patient = synthetic.participants[0].patient_id
    ran = s4s("disconnect", patient, "--dataset", connected, "--json")
    (report,) = json.loads(ran.stdout)["connections"]
    assert (ran.returncode, report["outcome"], report["revoked"]) == (0, "done", True)
    assert set(json.loads(grant.read_text())) == {"format", "disconnected_at"}
    with reopen(copy).client() as stolen, pytest.raises(GrantExpired):
        stolen.get(f"{synthetic.fhir_url}/Patient/{patient}", accept="application/fhir+json")
    pulled = s4s("pull", "--dataset", connected)
    assert (pulled.returncode, "onnect again" in pulled.stderr) == (4, True)
    assert s4s("verify", "--dataset", connected).returncode == 0
    assert json.loads(s4s("tables", "--dataset", connected, "--json").stdout)["imaging_study"]["rows"] == 6


def test_a_renewed_secret_is_told_to_the_commands_and_kept(synthetic: Sandbox, connected: Path, tmp_path: Path) -> None:
    (grant,) = (connected / "grants").glob("*.json")
    kept = json.loads(grant.read_text())
    client = kept["origin"]["registration"]
    told = tmp_path / "handed-over" / "client.json"
    told.parent.mkdir(exist_ok=True)
    told.write_text(json.dumps({name: client[name] for name in ("client_id", "client_secret")}))
    told.chmod(0o600)
    client["client_secret"] = "s4s_sandbox_before_it_was_renewed"
    kept["grant"]["expires_at"] = "2020-01-01T00:00:00Z"
    grant.write_text(json.dumps(kept))
    refused(s4s("pull", "--dataset", connected), 1, "--registration FILE")
    assert s4s("pull", "--dataset", connected, "--registration", told).returncode == 0
    assert s4s("pull", "--dataset", connected).returncode == 0


def test_an_access_whose_file_others_could_read_is_disconnected_all_the_same(
    synthetic: Sandbox, connected: Path
) -> None:
    (grant,) = (connected / "grants").glob("*.json")
    grant.chmod(0o644)
    refused(s4s("pull", "--dataset", connected), 1, "chmod 600")
    ran = s4s("disconnect", synthetic.participants[0].patient_id, "--dataset", connected, "--json")
    assert (ran.returncode, json.loads(ran.stdout)["connections"][0]["revoked"]) == (0, True)


def test_what_cannot_be_disconnected_is_said_and_the_grant_stays_for_another_try(tmp_path: Path) -> None:
    with sandbox.start() as server:
        assert connect(server, tmp_path / "study").returncode == 0
        patient = server.participants[0].patient_id
    words = ("--dataset", tmp_path / "study")
    refused(s4s("disconnect", "nobody", *words), 1, "no connection of this patient")
    refused(s4s("disconnect", patient, *words, "--fhir-url", "https://other.example/fhir"), 1, "at that server")
    refused(s4s("disconnect", patient, *words), 1, f"answer from {server.fhir_url}")
    assert len([*(tmp_path / "study" / "grants").glob("*.json")]) == 1


def test_status_tells_how_each_access_stands_and_never_asks_a_server(synthetic: Sandbox, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for number, name in enumerate(("P-1", "P-2")):
        assert connect(synthetic, study, "--participant", name, participant=number).returncode == 0
    first, second = (one.patient_id for one in synthetic.participants[:2])
    fresh = s4s("status", "--dataset", study).stdout
    assert f"Patient {first} (P-1) at {synthetic.fhir_url}: 60 min left, renewed by itself" in fresh
    assert "granted patient/*.read launch/patient offline_access" in fresh
    assert s4s("disconnect", "P-1", "--dataset", study).returncode == 0
    told = json.loads(s4s("status", "--dataset", study, "--json").stdout)["connections"]
    states = {one["patient_id"]: one["access"]["state"] for one in told}
    assert states == {first: "disconnected", second: "connected"}
    assert re.search(
        rf"Patient {first}.*disconnected on \d{{4}}-\d\d-\d\d; connect again", s4s("status", "--dataset", study).stdout
    )


def test_who_was_disconnected_is_left_out_of_a_nightly_pull_and_not_failed(synthetic: Sandbox, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for number in range(2):
        assert connect(synthetic, study, participant=number).returncode == 0
    first, second = (one.patient_id for one in synthetic.participants[:2])
    assert s4s("disconnect", first, "--dataset", study).returncode == 0
    nightly = s4s("pull", "--dataset", study, "--json")
    assert [one["patient_id"] for one in json.loads(nightly.stdout)["connections"]] == [second]
    assert (nightly.returncode, "left out: 1 disconnected" in nightly.stderr) == (0, True)
    named = s4s("pull", "--dataset", study, "--patient", first)
    assert (named.returncode, "given back on" in named.stderr) == (4, True)
    again = s4s("disconnect", first, "--dataset", study)
    assert (again.returncode, "was disconnected before" in again.stderr) == (0, True)
    assert connect(synthetic, study, participant=0).returncode == 0
    assert len(json.loads(s4s("pull", "--dataset", study, "--json").stdout)["connections"]) == 2


def test_with_json_the_address_stands_beside_the_one_object(synthetic: Sandbox, tmp_path: Path) -> None:
    command = [S4S, "connect", synthetic.fhir_url, "--dataset", str(tmp_path / "study"), "--print-url", "--json"]
    command += ["--redirect-port", str(free_port())]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        assert running.stderr is not None
        synthetic.approve(running.stderr.readline().strip(), 0)
        said, _ = running.communicate(timeout=60)
    assert (running.returncode, json.loads(said)["outcome"]) == (0, "done")


def test_a_patient_id_that_two_servers_know_is_not_disconnected_at_both(synthetic: Sandbox, tmp_path: Path) -> None:
    data = open_dataset(tmp_path / "study")
    for server in ("https://one.example/fhir", "https://two.example/fhir"):
        data.connection(server, "p1")
    refused(s4s("disconnect", "p1", "--dataset", data.path()), 2, "2 servers know this patient.*--fhir-url URL")


def test_a_pseudonym_that_another_patient_has_is_noted(synthetic: Sandbox, tmp_path: Path) -> None:
    said = [connect(synthetic, tmp_path / "study", "--participant", "P-1", participant=n).stderr for n in (0, 0, 1)]
    assert ["another patient's pseudonym" in one for one in said] == [False, False, True]
    refused(s4s("disconnect", "P-1", "--dataset", tmp_path / "study"), 2, "2 patients have this pseudonym")


def test_a_denial_that_names_no_launch_is_noted_and_the_launch_goes_on(synthetic: Sandbox, tmp_path: Path) -> None:
    """The S4S reference server sends a denial without state."""
    port = free_port()
    command = [S4S, "connect", synthetic.fhir_url, "--dataset", str(tmp_path / "study"), "--print-url"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--redirect-port", str(port)], text=True, stdin=pipe, stdout=pipe, stderr=pipe
    ) as running:
        assert running.stdout is not None
        address = running.stdout.readline().strip()
        httpx2.get(f"http://127.0.0.1:{port}/callback?error=access_denied", trust_env=False)
        synthetic.approve(address, 0)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said.count("without state")) == (0, 1), said


def test_connecting_again_replaces_a_grant_that_others_could_read(synthetic: Sandbox, connected: Path) -> None:
    (grant,) = (connected / "grants").glob("*.json")
    grant.chmod(0o644)
    again = connect(synthetic, connected)
    assert (again.returncode, "an earlier access" in again.stderr) == (0, True)
    assert grant.stat().st_mode & 0o777 == 0o600


def test_a_machine_without_a_keyring_is_told_before_anybody_is_asked(synthetic: Sandbox, tmp_path: Path) -> None:
    around = os.environ | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    command = [S4S, "connect", synthetic.fhir_url, "--dataset", str(tmp_path / "study"), "--keyring", "--print-url"]
    ran = subprocess.run(command, capture_output=True, text=True, env=around, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "keyring" in ran.stderr


def test_who_connects_again_is_told_that_the_earlier_access_stands(synthetic: Sandbox, tmp_path: Path) -> None:
    said = [connect(synthetic, tmp_path / "study").stderr for _ in range(2)]
    assert ["an earlier access" in one for one in said] == [False, True]


def test_a_folder_that_is_open_to_others_is_told_before_anybody_is_asked(synthetic: Sandbox, tmp_path: Path) -> None:
    grants = open_dataset(tmp_path / "study").path() / "grants"
    grants.mkdir()
    grants.chmod(0o755)
    ran = s4s("connect", synthetic.fhir_url, "--dataset", tmp_path / "study", "--print-url")
    refused(ran, 2, "chmod 700")


def test_a_grant_that_cannot_be_kept_is_given_back(tmp_path: Path) -> None:
    with sandbox.start(redirect_uri=f"http://127.0.0.1:{free_port()}/callback") as server:
        with closing(prepare_launch(server.fhir_url, server.registration)) as pending:
            server.approve(pending)
            link = pending.wait(10)
        record = open_dataset(tmp_path / "study").connection(link.fhir_url, link.patient_id)
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o755)
        assert len(server._running.grants.approvals()) == 1
        with pytest.raises(UsageError, match="chmod 700"):
            _kept(link, replace(record, grants_path=tmp_path / "open" / "one.json"), keyring=False)
        assert server._running.grants.approvals() == []


def test_of_several_connections_the_one_that_fails_is_named(synthetic: Sandbox, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for number in range(2):
        assert connect(synthetic, study, participant=number).returncode == 0
    data = open_dataset(study)
    lost = data.connections()[1]
    lost.grants_path.unlink()
    ran = s4s("pull", "--dataset", study)
    assert ran.returncode == 4
    assert f"s4s: patient {lost.patient_id}: The dataset keeps no grant" in ran.stderr


def test_nobody_who_comes_and_nobody_who_waits_is_told_what_to_do(synthetic: Sandbox, tmp_path: Path) -> None:
    words = ["connect", synthetic.fhir_url, "--dataset", tmp_path / "study", "--print-url"]
    late = s4s(*words, "--timeout", 1, "--redirect-port", free_port())
    assert (late.returncode, "--timeout gives the participant longer" in late.stderr) == (1, True)
    command = [S4S, *map(str, words), "--redirect-port", str(free_port())]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.PIPE
    ) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline().startswith(synthetic.fhir_url.removesuffix("/fhir"))
        ran.send_signal(signal.SIGINT)
        _, said = ran.communicate(timeout=60)
    assert (ran.returncode, said) == (130, "s4s: Interrupted; nobody was connected.\n")
