"""Servers that drip, stall, flood or blow up: each try ends in time, in bounds, with a sentence."""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from s4s_lab.errors import NotReachable, UnexpectedAnswer, UsageError
from s4s_lab.net import Limits, Patience
from tests.wire.net.conftest import talking
from tests.wire.net.servers import Request, Script, answers, reply

ONE_TRY = Patience(budget_s=0)
TIGHT = Limits(read_s=0.4, attempt_s=0.6, stream_s=2.0, slow_s=0.4, slow_bytes_per_s=1000)
HEAD = b"HTTP/1.1 200 X\r\n"


def dripping(start: bytes, drop: bytes, *, every_s: float = 0.05) -> Script:
    """Send `start`, then `drop` again and again until the client has had enough."""

    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(every_s)

    return script


HOSTILE: dict[str, Script] = {
    "drips a body": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "drips a status line": dripping(b"HTTP/1.1 200 ", b"x"),
    "drips headers": dripping(HEAD, b"X: y\r\n"),
    "drips chunk sizes": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "drips early hints": dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "floods early hints": dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, every_s=0),
    "floods headers": dripping(HEAD, b"X: y\r\n" * 1000, every_s=0),
    "floods one header": dripping(HEAD + b"X: ", b"y" * 10000, every_s=0),
    "says nothing": dripping(b"", b"", every_s=0.2),
    "stalls in its body": dripping(HEAD + b"Content-Length: 9\r\n\r\nx", b"", every_s=0.2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_try_ends_in_time(name: str) -> None:
    with talking(HOSTILE[name], ONE_TRY, TIGHT) as (server, client):
        began = time.monotonic()
        with pytest.raises(NotReachable) as caught:
            client.get(f"{server.url}/ImagingStudy?patient=secret-id", accept="*/*")
        assert time.monotonic() - began < TIGHT.attempt_s + 1
    assert "/ImagingStudy?…: " in str(caught.value)
    assert "secret-id" not in str(caught.value)


def test_a_try_that_ran_out_of_time_is_repeated_like_a_lost_one() -> None:
    patience = Patience(sleep=lambda _: None)
    with talking(HOSTILE["drips a body"], patience, TIGHT) as (server, client):
        with pytest.raises(NotReachable, match=r"longer than 0\.6 s"):
            client.get(server.url, accept="*/*")
        assert len(server.requests) == 5


@pytest.mark.parametrize("name", ["drips a body", "drips chunk sizes", "stalls in its body"])
def test_a_stream_slower_than_allowed_ends(name: str) -> None:
    with (
        talking(HOSTILE[name], limits=TIGHT) as (server, client),
        client.stream(server.url, accept="*/*") as stream,
    ):
        began = time.monotonic()
        with pytest.raises(NotReachable, match=r"broke off: (it came slower|nothing came)"):
            for _ in stream.chunks():
                pass
        assert time.monotonic() - began < TIGHT.stream_s


def test_a_stream_may_take_longer_than_a_page() -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 40000\r\n\r\n")
        for _number in range(8):
            connection.sendall(b"x" * 5000)
            time.sleep(0.15)

    with (
        talking(script, limits=Limits(attempt_s=0.5, slow_s=0.4)) as (server, client),
        client.stream(server.url, accept="*/*") as stream,
    ):
        assert sum(len(chunk) for chunk in stream.chunks()) == 40000


def test_a_slow_reader_does_not_make_a_stream_slow() -> None:
    with (
        talking(answers(reply(200, body=b"x" * 200_000)), limits=TIGHT) as (server, client),
        client.stream(server.url, accept="*/*") as stream,
    ):
        received = 0
        for chunk in stream.chunks():
            received += len(chunk)
            time.sleep(0.2)
    assert received == 200_000


def test_a_stream_has_a_last_hour_too() -> None:
    limits = Limits(stream_s=0.5, slow_bytes_per_s=0)
    with (
        talking(HOSTILE["drips a body"], limits=limits) as (server, client),
        client.stream(server.url, accept="*/*") as stream,
        pytest.raises(NotReachable, match=r"longer than 0\.5 s"),
    ):
        for _ in stream.chunks():
            pass


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(200, body=b"x" * 10, length=20), "peer closed"),
        (reply(200, "Content-Encoding: gzip", body=b"nope"), "incorrect header"),
    ],
)
def test_a_stream_that_breaks_off_says_so(answer: bytes, reason: str) -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.close()

    with (
        talking(script) as (server, client),
        client.stream(f"{server.url}/studies/1.2?token=secret", accept="*/*") as stream,
        pytest.raises(NotReachable, match=reason) as caught,
    ):
        list(stream.chunks())
    assert "/studies/1.2?… broke off" in str(caught.value)


def test_a_stream_can_be_read_once_inside_its_block() -> None:
    with talking(answers(reply(200, body=b"x"))) as (server, client):
        with client.stream(server.url, accept="*/*") as stream:
            assert list(stream.chunks()) == [b"x"]
            with pytest.raises(UsageError, match="read once"):
                list(stream.chunks())
        with client.stream(server.url, accept="*/*") as late:
            pass
        with pytest.raises(UsageError, match="inside the block"):
            list(late.chunks())


def test_a_stream_without_a_server_says_so() -> None:
    with talking(answers(b"")) as (server, client):
        pass
    with pytest.raises(NotReachable, match="refused"), client.stream(server.url, accept="*/*"):
        pass


def squeezed(times: int) -> bytes:
    """Give 64 MiB of zeros, compressed as often as told."""
    data = bytes(64 << 20)
    for _ in range(times):
        data = gzip.compress(data)
    return data


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: reply(200, "Content-Encoding: gzip", body=squeezed(1)),
    "x-gzip": lambda: reply(200, "Content-Encoding: x-gzip", body=squeezed(1)),
    "deflate": lambda: reply(200, "Content-Encoding: deflate", body=zlib.compress(bytes(64 << 20))),
    "gzip twice": lambda: reply(200, "Content-Encoding: gzip, gzip", body=squeezed(2)),
    "gzip in two headers": lambda: reply(200, "Content-Encoding: gzip", "Content-Encoding: gzip", body=squeezed(2)),
    "plain": lambda: reply(200, body=bytes(8 << 20)),
    "endless": lambda: HEAD + b"\r\n" + bytes(8 << 20),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_body_that_blows_up_is_refused_before_it_does(name: str) -> None:
    script = answers(BOMBS[name]())
    with talking(script, ONE_TRY) as (server, client):
        tracemalloc.start()
        tracemalloc.reset_peak()
        with pytest.raises(UnexpectedAnswer, match=r"more than 1048576 bytes|content coding"):
            client.get(f"{server.url}/fhir?patient=secret-id", accept="*/*", max_bytes=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 << 20
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
def test_compressed_bodies_are_read(coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = b'{"resourceType": "Bundle"}' * 1000
    with talking(answers(reply(200, f"Content-Encoding: {coding}", body=pack(body)))) as (server, client):
        assert client.get(server.url, accept="*/*", max_bytes=len(body)).body == body
        assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_a_stream_asks_for_no_compression_and_gets_its_bytes() -> None:
    body = bytes(range(256)) * 5000
    with (
        talking(answers(reply(200, "Content-Type: multipart/related", body=body))) as (server, client),
        client.stream(server.url, accept='multipart/related; type="application/dicom"') as stream,
    ):
        assert (stream.status, stream.headers["content-type"]) == (200, "multipart/related")
        assert b"".join(stream.chunks()) == body
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert server.requests[0].headers["accept"] == 'multipart/related; type="application/dicom"'


def test_an_unknown_content_coding_is_refused() -> None:
    with (
        talking(answers(reply(200, "Content-Encoding: br", body=b"x"))) as (server, client),
        pytest.raises(UnexpectedAnswer, match="content coding"),
    ):
        client.get(server.url, accept="*/*")


def test_an_answer_tells_its_headers_and_the_servers_time() -> None:
    stamped = reply(200, "DATE: Fri, 15 Apr 2016 10:00:00 GMT", "X-One: 1", "x-one: 2", body=b"b")
    with talking(answers(stamped)) as (server, client):
        answer = client.get(f"{server.url}/fhir/Patient/secret-id?x=secret-id", accept="*/*")
    assert answer.headers["x-one"] == "1, 2"
    assert answer.server_time is not None
    assert answer.server_time.isoformat() == "2016-04-15T10:00:00+00:00"
    assert answer.url == f"{server.url}/fhir/Patient/secret-id?x=secret-id"
    assert 0 < answer.elapsed_s < 5
    assert "secret-id" not in repr(answer)
