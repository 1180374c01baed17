"""The command line as a person and a program use it: the way through, and wrong input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from s4s_lab import open_dataset
from s4s_lab.sandbox import Sandbox
from tests.journey.conftest import free_port

S4S = str(Path(sys.executable).with_name("s4s"))
Ran = subprocess.CompletedProcess[str]


def s4s(*words: object, cwd: Path | None = None) -> Ran:
    command = [S4S, *map(str, words)]
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=120, stdin=subprocess.DEVNULL, check=False
    )
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stderr
    return ran


def refused(ran: Ran, code: int, sentence: str) -> None:
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stdout + ran.stderr
    assert re.search(sentence, ran.stderr), ran.stderr
    assert ran.stderr.startswith("s4s: ")


def connect(server: Sandbox, dataset: Path, *words: object, deny: bool = False, participant: int = 0) -> Ran:
    """Run `s4s connect --print-url` and answer its consent page, as a browser elsewhere would."""
    port = free_port()
    command = [S4S, "connect", server.fhir_url, "--dataset", str(dataset), "--redirect-port", str(port), "--print-url"]
    with subprocess.Popen(
        [*command, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as running:
        assert running.stdout is not None
        first = running.stdout.readline().strip()
        if first:
            server.deny(first) if deny else server.approve(first, participant)
        out, err = running.communicate(timeout=60)
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(command, running.returncode, f"{first}\n{out}", err)


@pytest.fixture
def connected(synthetic: Sandbox, tmp_path: Path) -> Path:
    ran = connect(synthetic, tmp_path / "study")
    assert ran.returncode == 0, ran.stderr
    return tmp_path / "study"


def told(ran: Ran) -> Any:
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_way_through_connect_pull_fetch_tables_export_status(connected: Path, tmp_path: Path) -> None:
    pulled = told(s4s("pull", "--dataset", connected, "--json"))
    (link,) = pulled["connections"]
    assert pulled["outcome"] == "done"
    assert link["types"]["ImagingStudy"]["mode"] == "first"
    fetched = told(s4s("fetch", "--dataset", connected, "--all", "--json"))
    assert {study["state"] for study in fetched["studies"]} == {"complete"}
    tables = told(s4s("tables", "--dataset", connected, "--json"))
    files = sum(study["instances"] for study in fetched["studies"])
    assert tables["imaging_study"]["rows"] == link["types"]["ImagingStudy"]["new"] == len(fetched["studies"])
    assert tables["dicom_instance"]["rows"] == files == len(list((connected / "dicom").rglob("*.dcm")))
    assert (
        tables["imaging_study"]["path"]
        == s4s("tables", "--dataset", connected, "imaging_study", "--path").stdout.strip()
    )
    written = told(s4s("export", "--dataset", connected, "--out", tmp_path / "out", "--json"))
    assert {name: row["rows"] for name, row in written.items()} == {name: row["rows"] for name, row in tables.items()}
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "out", capture_output=True, check=False)
    assert sums.returncode == 0
    status = told(s4s("status", "--dataset", connected, "--json"))
    assert {row["resource_type"] for row in status["status"]} >= {"ImagingStudy", "ExplanationOfBenefit"}


def test_what_people_see_is_tables_and_sentences(connected: Path) -> None:
    ran = s4s("pull", "--dataset", connected)
    assert ran.returncode == 0
    assert re.search(r"ImagingStudy +first +done +\d+ +\d+", ran.stdout)
    assert "imaging_study" in s4s("tables", "--dataset", connected).stdout
    assert (
        "lastCheck" in s4s("status", "--dataset", connected).stdout
        or "last_check" in s4s("status", "--dataset", connected).stdout
    )
    assert "study_uid" in s4s("tables", "--dataset", connected, "imaging_study").stdout


def test_one_participants_broken_grant_stops_no_other(synthetic: Sandbox, connected: Path) -> None:
    link = connect(synthetic, connected, participant=1)
    assert link.returncode == 0, link.stderr
    min((connected / "grants").glob("*.json")).chmod(0o644)
    ran = s4s("pull", "--dataset", connected, "--json")
    told = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert sorted(report["outcome"] for report in told["connections"]) == ["done", "failed"]


def test_the_grant_is_kept_for_its_owner_only(connected: Path) -> None:
    (grant,) = (connected / "grants").glob("*.json")
    assert grant.stat().st_mode & 0o777 == 0o600
    assert (connected / "grants").stat().st_mode & 0o777 == 0o700
    leaks = [path for path in connected.rglob("*") if path.stat().st_mode & 0o077]
    assert leaks == []


def test_the_reply_of_a_launch_names_the_server_with_its_port(synthetic: Sandbox, tmp_path: Path) -> None:
    ran = connect(synthetic, tmp_path / "study")
    patient = synthetic.participants[0].patient_id
    assert f"Connected: patient {patient} at {synthetic.fhir_url}\n" in ran.stdout


def test_a_denied_consent_says_so(synthetic: Sandbox, tmp_path: Path) -> None:
    ran = connect(synthetic, tmp_path / "study", deny=True)
    assert ran.returncode == 1
    assert re.search("said no|denied|refused|declined", ran.stderr)
    assert list((tmp_path / "study" / "grants").glob("*")) == []


def test_a_wrong_client_secret_says_so(synthetic: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not-the-secret")
    port = synthetic.registration.redirect_uri.split(":")[2].split("/")[0]
    words = ("--client-id", synthetic.registration.client_id, "--client-secret-file", secret, "--redirect-port", port)
    ran = connect(synthetic, tmp_path / "study", *words)
    assert ran.returncode == 1
    assert "client secret" in ran.stderr
    assert "not-the-secret" not in ran.stdout + ran.stderr


def test_a_wrong_address_says_so(tmp_path: Path) -> None:
    data = tmp_path / "study"
    refused(
        s4s("connect", f"http://127.0.0.1:{free_port()}/fhir", "--dataset", data), 1, "127.0.0.1.*Check the address"
    )
    refused(s4s("connect", "ehr.example/fhir", "--dataset", data), 2, "no http or https address")
    refused(s4s("connect", "http://ehr.example/fhir", "--dataset", data), 2, "not encrypted")
    assert not data.exists()


@pytest.fixture
def no_smart() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/fhir/metadata"
            body = b'{"resourceType": "CapabilityStatement", "fhirVersion": "3.0.1"}' if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/fhir"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_without_smart_says_so(no_smart: str, tmp_path: Path) -> None:
    refused(s4s("connect", no_smart, "--dataset", tmp_path / "study"), 1, "SMART")


def test_a_port_in_use_says_which(synthetic: Sandbox, tmp_path: Path) -> None:
    taken = synthetic.fhir_url.split(":")[2].split("/")[0]
    ran = s4s("connect", synthetic.fhir_url, "--dataset", tmp_path / "study", "--redirect-port", taken)
    refused(ran, 1, rf"{taken}.*used by another program")
    refused(s4s("sandbox", "--port", taken), 2, rf"{taken}.*(in use|taken)")


def test_a_folder_that_is_no_dataset_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for words in (["pull"], ["tables"], ["status"], ["fetch", "--all"], ["export", "--out", tmp_path / "out"]):
        refused(s4s(*words, "--dataset", tmp_path), 2, "no dataset")
    refused(s4s("pull", "--dataset", tmp_path / "nowhere"), 2, "no dataset")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_that_is_not_fhir_says_which_and_writes_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{ this is not JSON")
    refused(s4s("tabulate", "imaging_study", bad, "--out", tmp_path / "out.parquet"), 2, "bad.json")
    refused(s4s("tabulate", "imaging_study", tmp_path / "*.none", "--out", tmp_path / "out.parquet"), 2, "none")
    refused(s4s("tabulate", "imaging_studies", bad, "--out", tmp_path / "out.parquet"), 2, "imaging_studies")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


def test_a_dataset_without_connections_and_unknown_names_say_what_to_do(connected: Path, tmp_path: Path) -> None:
    refused(s4s("pull", "--dataset", connected, "--patient", "nobody"), 1, "s4s status names those it has")
    refused(s4s("pull", "--dataset", connected, "--mode", "all"), 2, "auto, first, update, broad")
    refused(s4s("tables", "--dataset", connected, "imaging_studies"), 1, "imaging_studies")
    refused(s4s("fetch", "--dataset", connected), 2, "--study UID, --modality CODE or --all")
    refused(s4s("fetch", "--dataset", connected, "--study", "../../etc"), 2, "no DICOM UID")
    refused(s4s("fetch", "--dataset", connected, "--all", "--modality", "CT"), 2, "--all means every study")
    early = s4s("fetch", "--dataset", connected, "--all")
    assert (early.returncode, "pull first" in early.stderr) == (0, True)
    refused(s4s("fetch", "--dataset", connected, "--study", "1.2.3"), 1, "not in the dataset")


def test_a_grant_that_is_gone_asks_to_connect_again(connected: Path) -> None:
    for grant in (connected / "grants").iterdir():
        grant.unlink()
    ran = s4s("pull", "--dataset", connected)
    assert ran.returncode == 4
    assert "Connect again" in ran.stderr


COMMANDS = ("demo", "sandbox", "connect", "pull", "fetch", "tables", "tabulate", "export", "status")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    ran = s4s(name, "--help")
    assert ran.returncode == 0
    assert f"Example: s4s {name}" in " ".join(ran.stdout.split())


def test_wrong_options_are_wrong_usage() -> None:
    assert s4s("pull").returncode == 2
    assert s4s("pull", "--dataset", "x", "--no-such-option").returncode == 2
    assert s4s("no-such-command").returncode == 2
    assert s4s("--version").stdout.startswith("s4s 0.")


def test_a_choice_of_studies_is_taken_at_its_word(synthetic: Sandbox, tmp_path: Path) -> None:
    study = tmp_path / "study"
    assert connect(synthetic, study, "--participant", "P-1").returncode == 0
    assert s4s("pull", "--dataset", study).returncode == 0
    rows = open_dataset(study).table("imaging_study").to_dict("records")
    ct = next(row["study_uid"] for row in rows if "CT" in row["modalities"])
    other = next(code for row in rows for code in row["modalities"] if "CT" not in row["modalities"])
    refused(s4s("fetch", "--dataset", study, "--study", ct, "--modality", other), 1, "none of what the other options")
    fetched = told(s4s("fetch", "--dataset", study, "--study", ct, "--modality", "ct", "--patient", "P-1", "--json"))
    assert [(one["study_uid"], one["state"]) for one in fetched["studies"]] == [(ct, "complete")]
