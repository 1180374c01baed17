"""What a pull tells: in its report, in the ledger, on the command line; and the trace for those who run the server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.cli.app import app
from s4s_lab.cli.output import run_application
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything
from s4s_lab.net import Trace
from s4s_lab.sync.ledger import last_pull
from tests.wire.sync.conftest import TYPES, connection
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import LONG_AGO, now, only

PATIENT = "patient-7731"
S4s = Callable[..., tuple[int, Any]]


@pytest.fixture
def s4s(data: Dataset, capsys: pytest.CaptureFixture[str]) -> S4s:
    """Run a command on the dataset; gives the exit code and the JSON on stdout."""

    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = run_application(app, [str(word) for word in (*words, "--dataset", data.path(), "--json")])
        return code, json.loads(capsys.readouterr().out)

    return run


def eventful(server: FhirServer, link: Connection, data: Dataset) -> None:
    """Pull three times: first, an update after which a filter is known, and a broad pull with differences."""
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    server.put(study(3, now()))
    pull(link, data, types=TYPES)
    del server.resources["s2"]
    server.put(study(4, LONG_AGO))


def test_the_ledger_gives_back_the_very_report(server: FhirServer, link: Connection, data: Dataset) -> None:
    eventful(server, link, data)
    server.busy = 1
    report = pull(link, data, mode="broad", types=(*TYPES, "Coverage"))
    kept = last_pull(data, data.connection(link.fhir_url, "p1"))
    assert kept == report
    assert kept is not None
    assert (kept.types, kept.to_json(), repr(kept)) == (report.types, report.to_json(), repr(report))
    assert kept.table().equals(report.table())
    assert kept.differences.equals(report.differences)
    assert sorted(kept.differences["kind"]) == ["fallen out", "late"]
    assert kept.types[0].waited_s >= 1


def test_the_ledger_gives_back_waits_and_failures(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.waiting = {"ImagingStudy": "3600"}
    server.failing = {"ExplanationOfBenefit": 400}
    with pytest.warns(NotEverything):
        report = pull(link, data, types=(*TYPES, "ExplanationOfBenefit"), max_wait_s=1)
    assert [item.outcome for item in report.types] == ["waiting", "failed"]
    assert last_pull(data, data.connection(link.fhir_url, "p1")) == report


def test_the_last_pull_of_each_type_counts(server: FhirServer, link: Connection, data: Dataset) -> None:
    record = data.connection(link.fhir_url, "p1")
    assert last_pull(data, record) is None
    pull(link, data, types=(*TYPES, "Patient"))
    second = pull(link, data, types=TYPES)
    kept = last_pull(data, record)
    assert kept is not None
    assert [item.resource_type for item in kept.types] == ["Patient", "ImagingStudy"]
    assert (kept.types[1], kept.run_id) == (only(second), second.run_id)


def test_a_report_says_what_was_asked_without_the_patient(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    assert only(pull(link, data, types=TYPES)).query == "ImagingStudy?patient={patientId}"
    update = only(pull(link, data, types=TYPES))
    asked = server.requests[-1].removeprefix("/fhir/").replace("=p1", "={patientId}")
    assert update.query == asked
    assert "_lastUpdated=gt" in asked
    assert only(pull(link, data, types=["Patient"])).query == "Patient/{patientId}"


def test_a_report_prints_small_and_its_table_has_everything(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    report = pull(link, data, types=TYPES)
    (row,) = report.table().to_dict("records")
    told = only(report)
    for name in ("query", "filter", "waited_s", "requests", "pages", "unchanged", "overlap_s"):
        assert row[name] == getattr(told, name)
    assert (row["last_check"], row["next_broad"]) == (told.last_check, told.next_broad)
    assert max(map(len, repr(report).splitlines())) <= 100
    assert "mode" in report._repr_html_()


def test_status_says_the_same_as_the_pull(server: FhirServer, link: Connection, data: Dataset, s4s: S4s) -> None:
    eventful(server, link, data)
    report = pull(link, data, mode="broad", types=TYPES)
    code, told = s4s("status")
    assert (code, told["pulls"]) == (0, [json.loads(json.dumps(report.to_json()))])
    (row,) = told["status"]
    assert row["resource_type"] == "ImagingStudy"


def test_status_prints_the_last_pull_for_people(
    server: FhirServer, link: Connection, data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put(study(1, LONG_AGO))
    pull(link, data, types=TYPES)
    capsys.readouterr()
    assert run_application(app, ["status", "--dataset", str(data.path())]) == 0
    out = capsys.readouterr().out
    assert "last_check" in out
    assert f"Last pull of patient p1 at {link.fhir_url}: done" in out


def kept(server: FhirServer, data: Dataset, patient_id: str = "p1") -> None:
    """Keep a grant in the dataset, as `s4s connect` does."""
    record = data.connection(server.url, patient_id)
    record.grants_path.parent.mkdir(mode=0o700, exist_ok=True)
    connection(server.url, patient_id).kept_at(record.grants_path)


def test_a_run_that_waits_ends_with_3_and_the_next_one_goes_on(server: FhirServer, data: Dataset, s4s: S4s) -> None:
    kept(server, data)
    server.put(study(1, LONG_AGO))
    server.waiting = {"ImagingStudy": "2"}
    code, told = s4s("pull", "--types", "ImagingStudy,Patient", "--max-wait", "0")
    types = told["connections"][0]["types"]
    assert (code, told["outcome"]) == (3, "waiting")
    assert [types[name]["outcome"] for name in ("ImagingStudy", "Patient")] == ["waiting", "done"]
    server.waiting.clear()
    code, told = s4s("pull", "--types", "ImagingStudy")
    assert (code, told["connections"][0]["types"]["ImagingStudy"]["new"]) == (0, 1)


def test_a_trace_shows_each_exchange_and_neither_patient_nor_token(server: FhirServer, data: Dataset) -> None:
    server.put(study(1, LONG_AGO, patient={"reference": f"Patient/{PATIENT}"}))
    report = pull(connection(server.url, PATIENT), data, types=TYPES, trace=True)
    assert report.trace is not None
    assert [exchange.status for exchange in report.trace] == [200]
    text = repr(report.trace) + str([exchange.to_json() for exchange in report.trace])
    assert "ImagingStudy" in text
    assert PATIENT not in text
    assert "token" not in text.lower().replace("requires-access-token", "")
    assert pull(connection(server.url, PATIENT), data, types=TYPES).trace is None


def test_a_trace_of_ones_own_is_there_when_the_pull_ends_in_an_error(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    trace = Trace()
    server.failing = {"ImagingStudy": 400}
    with pytest.warns(NotEverything):
        assert pull(link, data, types=TYPES, trace=trace).trace is trace
    assert [exchange.status for exchange in trace] == [400]


def test_the_command_line_writes_the_trace_of_every_connection(
    server: FhirServer, data: Dataset, s4s: S4s, tmp_path: Path
) -> None:
    for patient_id in ("p1", PATIENT):
        kept(server, data, patient_id)
    code, _ = s4s("pull", "--types", "ImagingStudy", "--trace", tmp_path / "trace.jsonl")
    lines = (tmp_path / "trace.jsonl").read_text().splitlines()
    assert (code, len(lines)) == (0, 2)
    assert all("ImagingStudy" in json.loads(line)["url"] for line in lines)
    assert PATIENT not in "".join(lines)


@pytest.mark.parametrize(
    "words",
    [
        ["pull", "--json"],
        ["pull", "--dataset", "x", "--json", "--no-such-option"],
        ["pull", "--dataset", "x", "--mode", "all", "--json"],
        ["pull", "--dataset", "x", "--types", "Observation", "--json"],
        ["status", "--json"],
        ["fetch", "--json", "--dataset", "x"],
        ["fetch", "--json", "--dataset", "x", "--max-wait", "soon"],
        ["no-such-command", "--json"],
    ],
    ids=" ".join,
)
def test_wrong_words_are_told_as_one_json_object_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_application(app, words) == 2
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["outcome"] == "failed"
    assert told["error"]
    assert said.err


def test_without_json_wrong_words_leave_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_application(app, ["pull", "--no-such-option"]) == 2
    assert capsys.readouterr().out == ""
