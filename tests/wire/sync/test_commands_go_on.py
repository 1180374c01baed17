"""Commands over several connections: what one server does stops no other, and is said in a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s4s_lab import Dataset
from s4s_lab.cli import connections
from s4s_lab.cli.app import app
from s4s_lab.cli.output import run_application
from s4s_lab.connection import Connection
from tests.wire.sync.conftest import connection
from tests.wire.sync.server import FhirServer, serving, study
from tests.wire.sync.test_pull import LONG_AGO

MASS = "too many vanished at once"
S4s = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def s4s(data: Dataset, capsys: pytest.CaptureFixture[str]) -> S4s:
    """Run a command on the dataset; gives the exit code, the JSON on stdout (or its text), and stderr."""

    def run(*words: object, as_json: bool = True) -> tuple[int, Any, str]:
        capsys.readouterr()
        told = ["--json"] if as_json else []
        code = run_application(app, [str(word) for word in (*words, "--dataset", data.path(), *told)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if as_json else out, err

    return run


@pytest.fixture
def busy() -> Iterator[FhirServer]:
    """A server that asks for more time than anybody gives, whatever it is asked."""
    with serving(FhirServer(busy=1_000_000, retry_after="20")) as running:
        yield running


def keep(data: Dataset, *links: Connection) -> None:
    for link in links:
        link.kept_at(data.connection(link.fhir_url, link.patient_id).grants_path)


@pytest.mark.parametrize("words", [["pull", "--types", "ImagingStudy"], ["fetch", "--all"]], ids=["pull", "fetch"])
def test_a_server_that_is_busy_before_anything_is_asked_waits_and_the_others_go_on(
    server: FhirServer, busy: FhirServer, data: Dataset, s4s: S4s, words: list[str]
) -> None:
    keep(data, connection(busy.url), connection(server.url))
    code, told, err = s4s(*words, "--max-wait", "1")
    assert (code, told["outcome"]) == (3, "waiting")
    assert len(busy.requests) == 1
    assert server.requests
    assert "asks to come back" in err or "asked for" in err


def test_each_busy_connection_says_in_json_that_it_waits(busy: FhirServer, data: Dataset, s4s: S4s) -> None:
    keep(data, connection(busy.url))
    _, told, _ = s4s("pull", "--max-wait", "1")
    (one,) = told["connections"]
    assert (one["outcome"], one["patient_id"]) == ("waiting", "p1")


def test_a_launch_waits_no_longer_than_allowed(busy: FhirServer, s4s: S4s) -> None:
    code, told, _ = s4s("connect", busy.url, "--max-wait", "1")
    assert (code, told["outcome"], len(busy.requests)) == (3, "waiting", 1)


def test_what_was_waited_to_find_the_server_is_no_longer_there_for_the_pull(
    server: FhirServer, data: Dataset, s4s: S4s
) -> None:
    keep(data, connection(server.url))
    server.busy, server.waiting = 1, {"ImagingStudy": "2"}
    code, told, _ = s4s("pull", "--types", "ImagingStudy", "--max-wait", "3")
    assert (code, len(server.asked("ImagingStudy"))) == (3, 1)
    assert told["connections"][0]["types"]["ImagingStudy"]["outcome"] == "waiting"


@pytest.mark.parametrize("name", ["nowhere/x.jsonl", "."], ids=["no folder", "a folder"])
def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_asked(
    server: FhirServer, data: Dataset, tmp_path: Path, s4s: S4s, name: str
) -> None:
    keep(data, connection(server.url))
    code, told, _ = s4s("pull", "--trace", tmp_path / name)
    assert (code, server.requests) == (2, [])
    assert "The trace cannot be written to" in told["error"]


def test_what_a_broad_pull_found_is_listed_by_id(server: FhirServer, data: Dataset, s4s: S4s) -> None:
    keep(data, connection(server.url))
    server.put(*(study(number, LONG_AGO) for number in range(30)))
    s4s("pull", "--types", "ImagingStudy")
    for number in range(12):
        del server.resources[f"s{number}"]
    _, told, _ = s4s("pull", "--types", "ImagingStudy", "--mode", "broad")
    found = told["connections"][0]["types"]["ImagingStudy"]["differences"]
    assert sorted(one["id"] for one in found) == sorted(f"s{number}" for number in range(12))
    assert {(one["type"], one["kind"], one["reason"]) for one in found} == {("ImagingStudy", "held", MASS)}


def test_a_person_is_shown_the_first_of_many_differences(server: FhirServer, data: Dataset, s4s: S4s) -> None:
    keep(data, connection(server.url))
    server.put(*(study(number, LONG_AGO) for number in range(30)))
    s4s("pull", "--types", "ImagingStudy")
    for number in range(12):
        del server.resources[f"s{number}"]
    _, out, _ = s4s("pull", "--types", "ImagingStudy", "--mode", "broad", as_json=False)
    assert out.count(f" ({MASS})") == 10
    assert "  and 2 more" in out


@pytest.mark.parametrize("verb", ["pull", "fetch"])
def test_a_defect_met_at_one_connection_is_told_in_a_sentence_and_the_others_go_on(
    server: FhirServer, data: Dataset, s4s: S4s, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def wrong(*_: object, **__: object) -> tuple[Connection, float]:
        monkeypatch.undo()
        raise ZeroDivisionError("Patient/p1")

    keep(data, connection(server.url, "p1"), connection(server.url, "p2"))
    monkeypatch.setattr(connections, "_reopened", wrong)
    code, told, err = s4s(verb, *(["--all"] if verb == "fetch" else []))
    assert (code, told["outcome"], bool(server.requests)) == (1, "failed", True)
    (said,) = told["errors"] if verb == "fetch" else [one["error"] for one in told["connections"] if "error" in one]
    assert said.startswith("ZeroDivisionError (test_commands_go_on.py, line ")
    assert said.endswith("report this.")
    assert "Traceback" not in err
    assert "Patient/p1" not in err


def test_a_modality_that_no_study_has_is_said_with_those_there_are(server: FhirServer, data: Dataset, s4s: S4s) -> None:
    keep(data, connection(server.url))
    server.put(*(study(n, LONG_AGO, modalityList=[{"code": code}]) for n, code in enumerate(["MR", "CT", "MR"])))
    s4s("pull", "--types", "ImagingStudy")
    code, told, err = s4s("fetch", "--modality", "XX")
    assert (code, told) == (0, {"outcome": "done", "studies": []})
    assert err == "note: No study has modality XX; there are CT, MR.\n"
    code, out, err = s4s("fetch", "--modality", "XX", as_json=False)
    assert (code, out, "no study" in err.lower()) == (0, "", True)


def test_a_dataset_that_cannot_be_made_is_said_before_the_server_is_asked(
    server: FhirServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    words = ["connect", server.url, "--dataset"]
    assert run_application(app, [*words, str(tmp_path / "file" / "x" / "y")]) == 2
    # Root may write everywhere: what a system says of others' folders is put in its mouth.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run_application(app, [*words, str(tmp_path / "nowrite" / "x")]) == 2
    out, err = capsys.readouterr()
    assert (out, server.requests) == ("", [])
    assert [line.partition("cannot be made: ")[2] for line in err.splitlines()] == [
        f"{tmp_path / 'file'} is no folder.",
        f"you may not write to {tmp_path}.",
    ]
