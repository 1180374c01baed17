"""`s4s connect` and `s4s disconnect`: which client it is, a pasted answer, and the end of an access."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from s4s_lab import sandbox
from s4s_lab.connection import reopen
from s4s_lab.errors import GrantExpired
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
    assert not grant.exists()
    with reopen(copy).client() as stolen, pytest.raises(GrantExpired):
        stolen.get(f"{synthetic.fhir_url}/Patient/{patient}", accept="application/fhir+json")
    pulled = s4s("pull", "--dataset", connected)
    assert (pulled.returncode, "onnect again" in pulled.stderr) == (4, True)
    assert json.loads(s4s("tables", "--dataset", connected, "--json").stdout)["imaging_study"]["rows"] == 6


def test_what_cannot_be_disconnected_is_said_and_the_grant_stays_for_another_try(tmp_path: Path) -> None:
    with sandbox.start() as server:
        assert connect(server, tmp_path / "study").returncode == 0
        patient = server.participants[0].patient_id
    words = ("--dataset", tmp_path / "study")
    refused(s4s("disconnect", "nobody", *words), 1, "no connection of this patient")
    refused(s4s("disconnect", patient, *words, "--fhir-url", "https://other.example/fhir"), 1, "at that server")
    refused(s4s("disconnect", patient, *words), 1, f"answer from {server.fhir_url}")
    assert len([*(tmp_path / "study" / "grants").glob("*.json")]) == 1
