"""A trace of what went over the wire: enough for the people who run the server, nothing of the patient."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from s4s_lab.errors import NotReachable, UsageError
from s4s_lab.net import HttpClient, Limits, Patience, Trace
from tests.wire.net.conftest import Slept, talking
from tests.wire.net.servers import Request, answers, reply, serving

PATIENT, TOKEN, CODE = "canary-patient-7", "canary-token-8", "canary-code-9"
OK = reply(200, "Content-Type: application/fhir+json", body=b'{"patient": "canary-patient-7"}')


class Bearer(httpx2.Auth):
    """Signs with the canary token."""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        yield request


def test_a_trace_tells_what_was_asked_answered_and_waited(slept: Slept) -> None:
    trace = Trace()
    busy = reply(503, "Date: Fri, 15 Apr 2016 10:00:00 GMT", "Retry-After: 30", "Server: Cerner/1.0 (x)")
    with serving(answers(busy, OK)) as server, HttpClient(patience=slept.patience(), trace=trace) as client:
        url = f"{server.url}/fhir/ImagingStudy?patient={PATIENT}&_lastUpdated=gt2016-04-01T02:52:32.000Z&_count=50"
        client.get(url, accept="application/fhir+json")
    first, second = trace
    shown = f"{server.url}/fhir/ImagingStudy?patient={{patient}}&_lastUpdated=gt2016-04-01T02:52:32.000Z&_count=50"
    assert (first.method, first.url, second.url) == ("GET", shown, shown)
    assert (first.status, second.status, first.attempt, second.attempt) == (503, 200, 1, 2)
    assert first.response_headers["retry-after"] == "30"
    assert first.response_headers["date"] == "Fri, 15 Apr 2016 10:00:00 GMT"
    assert first.response_headers["server"] == "Cerner/1.0 (x)"
    assert first.request_headers["accept"] == "application/fhir+json"
    assert (first.waited_s, second.waited_s) == (0.0, slept.seconds[0])
    assert (second.bytes, second.ended, first.elapsed_s > 0) == (31, "whole", True)


def everything_talked(trace: Trace) -> None:
    """Send and receive canaries in every place that a request and an answer have."""
    headers = [
        f"{name}: {PATIENT}" for name in ("Server", "ETag", "Retry-After", "Date", "Location", "Set-Cookie", "X")
    ]
    loud = reply(
        401,
        *headers,
        f'Content-Type: text/{PATIENT}; boundary="{PATIENT}"; charset={PATIENT}',
        f'WWW-Authenticate: Bearer realm="{PATIENT}", error="invalid_token", error_description="{CODE}"',
        body=OK,
    )
    with serving(answers(loud)) as server:
        origins = frozenset({server.url})
        with HttpClient(auth=Bearer(), auth_origins=origins, patience=Patience(budget_s=0), trace=trace) as client:
            for path in (
                f"/fhir/Patient/{PATIENT}",
                f"/x/{PATIENT}/y",
                f"/v/{TOKEN}/fhir?{CODE}",
                f"/?a={CODE}&{CODE}=1",
            ):
                client.get(f"{server.url}{path}", accept=PATIENT)
            client.post_form(
                f"{server.url}/token?x={CODE}", {"code": CODE}, headers={"Authorization": f"Basic {TOKEN}"}
            )
            client.post_json(f"{server.url}/register", {"client_name": CODE})
            with client.stream(f"{server.url}/Patient/{PATIENT}/$wado-rs/studies/1.2.3", accept="*/*") as stream:
                list(stream.chunks())


def test_a_trace_holds_no_patient_token_code_or_body(tmp_path: Path) -> None:
    trace = Trace()
    everything_talked(trace)
    saved = trace.save(tmp_path / "trace.jsonl").read_text()
    everything = f"{trace!r}{trace._repr_html_()}{trace.table().to_csv()}{saved}{list(trace)}{vars(trace)}"
    assert len(trace) == 7
    for canary in (PATIENT, TOKEN, CODE, "1.2.3"):
        assert canary not in everything
    assert "Bearer {hidden}" in everything
    assert 'error=\\"invalid_token\\"' in saved
    assert "/Patient/{id}/$wado-rs/studies/{uid}" in everything


def test_words_that_are_to_be_hidden_are_hidden_in_what_would_be_shown() -> None:
    trace = Trace()
    trace.hide("ehr-seven", "1")
    with serving(answers(reply(200, "Server: ehr-seven/1.0"))) as server, HttpClient(trace=trace) as client:
        client.get(server.url, accept="*/*")
    assert next(iter(trace)).response_headers["server"] == "{hidden}/1.0"


def test_requests_without_an_answer_are_in_the_trace_too() -> None:
    trace = Trace()

    def script(request: Request, connection: socket.socket) -> None:
        connection.sendall(reply(200, body=b"x", length=5) if request.target == "/cut" else b"")
        if request.target != "/silent":
            connection.close()

    with (
        serving(script) as server,
        HttpClient(patience=Patience(budget_s=0), limits=Limits(read_s=0.3), trace=trace) as client,
    ):
        for path in ("/cut", "/lost", "/silent"):
            with pytest.raises(NotReachable):
                client.get(f"{server.url}{path}", accept="*/*")
    assert [exchange.status for exchange in trace] == [200, None, None]
    assert [exchange.bytes for exchange in trace] == [1, 0, 0]
    reasons = ("peer closed", "disconnected", "nothing came")
    assert all(reason in exchange.ended for reason, exchange in zip(reasons, trace, strict=True))


def test_redirects_are_steps_of_one_attempt() -> None:
    trace = Trace()
    with serving(answers(reply(302, "Location: /fhir/metadata"), OK)) as server, HttpClient(trace=trace) as client:
        client.get(f"{server.url}/fhir", accept="*/*")
    assert [(e.status, e.attempt, e.ended) for e in trace] == [(302, 1, "left"), (200, 1, "whole")]


def test_a_saved_trace_is_private_and_one_object_a_line(tmp_path: Path) -> None:
    target, trace = tmp_path / "trace.jsonl", Trace()
    target.write_text("older")
    target.chmod(0o644)
    with talking(answers(OK)) as (server, _), HttpClient(trace=trace) as client:
        client.get(server.url, accept="*/*")
        client.get(server.url, accept="*/*")
    assert trace.save(str(target)) == target
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(line["number"], line["status"], line["bytes"]) for line in lines] == [(1, 200, 31), (2, 200, 31)]
    assert [path.name for path in tmp_path.iterdir()] == ["trace.jsonl"]


def test_a_trace_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written to .*No such file"):
        Trace().save(tmp_path / "missing" / "trace.jsonl")


def test_a_trace_is_bounded_and_tells_what_it_dropped() -> None:
    trace = Trace(most=3)
    with serving(answers(OK)) as server, HttpClient(trace=trace) as client:
        for _ in range(5):
            client.get(server.url, accept="*/*")
    assert [exchange.number for exchange in trace] == [3, 4, 5]
    assert (len(trace), trace.dropped) == (3, 2)
    assert repr(trace).startswith("Trace: 3 exchanges (2 older ones dropped)")


def test_a_trace_is_a_table() -> None:
    trace = Trace()
    assert list(trace.table().columns)[:3] == ["at", "method", "url"]
    with serving(answers(OK)) as server, HttpClient(trace=trace) as client:
        client.get(f"{server.url}/fhir/metadata", accept="*/*")
    row = trace.table().loc[1]
    assert (row["status"], row["bytes"], row["ended"]) == (200, 31, "whole")
    assert f"200  GET {server.url}/fhir/metadata: 31 B in " in repr(trace)
