"""Waiting over the wire: as long as asked, as often as sensible, and no longer than allowed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from s4s_lab.errors import NotReachable, Waiting
from s4s_lab.net import HttpClient, Patience
from tests.wire.net.conftest import Slept, talking
from tests.wire.net.servers import Request, Script, answers, reply, serving

OK = reply(200, body=b"done")
STAMP = "Date: Fri, 15 Apr 2016 10:00:00 GMT"


def closing_once(first: bytes) -> Script:
    """Send `first` and close the connection; answer properly from the second request on."""
    cut = [first]

    def script(_: Request, connection: socket.socket) -> None:
        if cut:
            connection.sendall(cut.pop())
            connection.close()
        else:
            connection.sendall(OK)

    return script


@pytest.mark.clause("S4S-5")
@pytest.mark.parametrize("status", [503, 429, 413])
@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        (["Retry-After: 300"], 300),
        (["Retry-AFter: 300"], 300),
        (["retry-after:   7  "], 7),
        (["Retry-After: 0"], 1),
        (["Retry-After: 2.5"], 3),
        (["Retry-After: 10", "Retry-After: 20"], 20),
        (["Retry-After: soon", "Retry-After: 20"], 20),
        ([STAMP, "Retry-After: Fri, 15 Apr 2016 10:02:00 GMT"], 120),
        ([STAMP, "Retry-After: Friday, 15-Apr-16 10:02:00 GMT"], 120),
        ([STAMP, "Retry-After: Fri Apr 15 10:02:00 2016"], 120),
        ([STAMP, "Retry-After: Fri, 15 Apr 2016 09:00:00 GMT"], 1),
    ],
)
def test_a_busy_server_is_asked_again_no_earlier_than_it_said(
    status: int, headers: list[str], asked: float, slept: Slept
) -> None:
    busy = reply(status, *headers)
    with talking(answers(busy, busy, OK), slept.patience()) as (server, client):
        answer = client.get(f"{server.url}/ImagingStudy?patient=p", accept="application/json")
    assert (answer.status, answer.body, len(server.requests)) == (200, b"done", 3)
    assert len(slept.seconds) == 2
    assert all(asked <= seconds <= asked * 1.1 for seconds in slept.seconds)


@pytest.mark.clause("S4S-5")
def test_the_wait_is_a_real_one() -> None:
    times: list[float] = []

    def script(_: Request, connection: socket.socket) -> None:
        times.append(time.monotonic())
        connection.sendall(OK if len(times) > 1 else reply(503, "Retry-After: 1"))

    with talking(script) as (server, client):
        assert client.get(server.url, accept="*/*").status == 200
    assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize(("status", "shortest"), [(503, [2.5, 5, 10, 20, 30, 30]), (429, [1, 2, 4, 8, 16, 30])])
def test_a_busy_server_that_names_no_time_is_asked_at_growing_distances(
    status: int, shortest: list[float], slept: Slept
) -> None:
    busy = [reply(status, "Retry-After: whenever")] * 6
    with talking(answers(*busy, OK), slept.patience()) as (server, client):
        assert client.get(server.url, accept="*/*").status == 200
    assert all(least <= waited <= 2 * least for least, waited in zip(shortest, slept.seconds, strict=True))


@pytest.mark.parametrize("status", [503, 429])
def test_beyond_the_budget_the_caller_learns_when_to_come_back(status: int, slept: Slept) -> None:
    with (
        talking(answers(reply(status, "Retry-After: 600")), slept.patience(budget_s=1000)) as (server, client),
        pytest.raises(Waiting) as caught,
    ):
        client.get(f"{server.url}/ImagingStudy?patient=secret-id", accept="*/*")
    assert len(server.requests) == 2
    left = caught.value.not_before - datetime.now(UTC)
    assert timedelta(seconds=595) < left < timedelta(seconds=700)
    assert "secret-id" not in str(caught.value)
    assert "600 s" in str(caught.value)


def test_waits_are_announced_without_the_query(slept: Slept) -> None:
    with talking(answers(reply(503, "Retry-After: 5"), OK), slept.patience()) as (server, client):
        client.get(f"{server.url}/ImagingStudy?patient=secret-id", accept="*/*")
    assert slept.waits[0].url == f"{server.url}/ImagingStudy?…"
    assert "5 s" in slept.waits[0].reason


@pytest.mark.parametrize(
    ("status", "tries"), [(502, 5), (504, 5), (408, 5), (500, 2), (413, 1), (404, 1), (401, 1), (200, 1)]
)
def test_other_failures_are_repeated_as_often_as_sensible_then_returned(status: int, tries: int, slept: Slept) -> None:
    with talking(answers(reply(status, body=b"why")), slept.patience()) as (server, client):
        answer = client.get(server.url, accept="*/*")
    assert (answer.status, answer.body, len(server.requests)) == (status, b"why", tries)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 X\r\nContent-Le",
        reply(200, body=b"do", length=4),
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndo",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ],
    ids=["closed", "half a head", "short body", "short chunk", "another protocol"],
)
def test_an_answer_that_broke_off_is_asked_for_again(first: bytes, slept: Slept) -> None:
    with talking(closing_once(first), slept.patience()) as (server, client):
        assert client.get(server.url, accept="*/*").body == b"done"
    assert len(server.requests) == 2


def test_answers_that_always_break_off_end_after_five_tries(slept: Slept) -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.close()

    with talking(script, slept.patience()) as (server, client), pytest.raises(NotReachable, match="disconnected"):
        client.get(f"{server.url}/fhir?patient=secret-id", accept="*/*")
    assert len(server.requests) == 5


def test_an_address_that_never_answered_is_not_waited_for(slept: Slept) -> None:
    with serving(answers(OK)) as server:
        pass
    with HttpClient(patience=slept.patience()) as client, pytest.raises(NotReachable, match="refused") as caught:
        client.get(f"{server.url}/metadata", accept="*/*")
    assert slept.waits == []
    assert f"127.0.0.1:{server.port}/metadata" in str(caught.value)


def test_a_server_that_restarts_is_waited_for(slept: Slept) -> None:
    with ExitStack() as later:

        def restart(_: float) -> None:
            later.enter_context(serving(answers(OK), port=server.port))

        client = HttpClient(patience=Patience(on_wait=slept.waits.append, sleep=restart))
        with serving(answers(reply(200, "Connection: close"))) as server:
            client.get(server.url, accept="*/*")
        assert client.get(server.url, accept="*/*").body == b"done"
        client.close()
    assert len(slept.waits) == 1


def test_a_wait_can_be_interrupted() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    busy, patience = answers(reply(503, "Retry-After: 300")), Patience(sleep=interrupted)
    with talking(busy, patience) as (server, client), pytest.raises(KeyboardInterrupt):
        client.get(server.url, accept="*/*")


def test_a_read_can_be_interrupted() -> None:
    stalled = threading.Event()

    def script(_: Request, connection: socket.socket) -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        stalled.wait(20)

    began = time.monotonic()
    with talking(script) as (server, client), pytest.raises(KeyboardInterrupt):
        client.get(server.url, accept="*/*")
    stalled.set()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [503, 502, 500])
def test_what_is_sent_by_post_is_sent_once(status: int, slept: Slept) -> None:
    with talking(answers(reply(status, "Retry-After: 1")), slept.patience()) as (server, client):
        assert client.post_form(server.url, {"grant_type": "refresh_token"}).status == status
        assert client.post_json(server.url, {"client_name": "S4S Lab"}).status == status
    assert [request.body for request in server.requests] == [
        b"grant_type=refresh_token",
        b'{"client_name": "S4S Lab"}',
    ]
    assert slept.waits == []


def test_a_post_that_gets_no_answer_is_not_repeated(slept: Slept) -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.close()

    with talking(script, slept.patience()) as (server, client), pytest.raises(NotReachable):
        client.post_form(server.url, {"code": "c"})
    assert len(server.requests) == 1


def test_each_post_has_a_connection_of_its_own() -> None:
    connections: set[int] = set()

    def script(_: Request, connection: socket.socket) -> None:
        connections.add(connection.getpeername()[1])
        connection.sendall(OK)

    with talking(script) as (server, client):
        for _ in range(3):
            client.get(server.url, accept="*/*")
        assert len(connections) == 1
        for _ in range(3):
            client.post_form(server.url, {"code": "c"})
        assert len(connections) == 4


@pytest.mark.clause("S4S-5")
@pytest.mark.parametrize(("header", "least"), [("Retry-After: 300", 300), ("X: y", 1)])
def test_a_stream_that_is_not_ready_says_when_to_come_back(header: str, least: float) -> None:
    with (
        talking(answers(reply(503, header))) as (server, client),
        pytest.raises(Waiting) as caught,
        client.stream(f"{server.url}/studies/1.2", accept="*/*"),
    ):
        pass
    assert caught.value.not_before >= datetime.now(UTC) + timedelta(seconds=least - 1)
    assert len(server.requests) == 1
