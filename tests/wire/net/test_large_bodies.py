"""Large bodies come whole however HTTP frames them; a connection is used again only when it is in order."""

from __future__ import annotations

import random
import socket
import time

import pytest

from s4s_lab.errors import NotReachable
from s4s_lab.net import HttpClient, Limits
from tests.wire.net.conftest import talking
from tests.wire.net.servers import Request, Script, Server, reply

LARGE = random.Random(9).randbytes(9_000_003)  # noqa: S311  data, no secret


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)] + [b""]
    framed = b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces)
    return b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


def sending(*answers: bytes, then_close: bool = False, noting: list[int] | None = None) -> Script:
    """Send the answers in turn; note the port that each request came from."""
    left = list(answers)

    def script(_: Request, connection: socket.socket) -> None:
        if noting is not None:
            noting.append(connection.getpeername()[1])
        connection.sendall(left.pop(0))
        if then_close:
            connection.close()

    return script


def streamed(server: Server, client: HttpClient) -> bytes:
    with client.stream(f"{server.url}/studies/1.2", accept="*/*") as stream:
        return b"".join(stream.chunks())


@pytest.mark.parametrize("size", [1, 70_000, 4 << 20, (4 << 20) + 1, len(LARGE)])
@pytest.mark.parametrize("framing", ["length", "chunks", "end of the connection"])
def test_a_body_comes_whole_however_it_is_framed(framing: str, size: int) -> None:
    body = LARGE[:size]
    whole = {
        "length": reply(200, body=body),
        "chunks": chunked(body, 60_000),
        "end of the connection": b"HTTP/1.1 200 X\r\n\r\n" + body,
    }
    script = sending(whole[framing], then_close=framing == "end of the connection")
    with talking(script) as (server, client):
        assert streamed(server, client) == body


@pytest.mark.parametrize("came", [2_000_000, len(LARGE) - 1])
def test_a_large_body_that_ends_too_early_says_so(came: int) -> None:
    script = sending(reply(200, body=LARGE[:came], length=len(LARGE)), then_close=True)
    with (
        talking(script) as (server, client),
        pytest.raises(NotReachable, match=f"broke off: the connection ended {len(LARGE) - came} bytes before"),
    ):
        streamed(server, client)


def test_what_comes_beyond_a_large_bodys_length_is_dropped_with_its_connection() -> None:
    ports: list[int] = []
    beyond = reply(200, body=LARGE) + reply(200, body=b"smuggled")
    with talking(sending(beyond, reply(200, body=b"honest"), noting=ports)) as (server, client):
        assert streamed(server, client) == LARGE
        assert client.get(f"{server.url}/next", accept="*/*").body == b"honest"
    assert len(set(ports)) == 2


@pytest.mark.parametrize("size", [0, 1, 100, 60_000, 300_000])
@pytest.mark.parametrize("late_s", [0.0, 0.2], ids=["at once", "later"])
def test_what_comes_beyond_a_small_body_is_no_answer_to_the_next_request(size: int, late_s: float) -> None:
    smuggled = reply(200, body=b"smuggled")
    answers = [reply(200, body=LARGE[:size]), reply(200, body=b"honest"), reply(200, body=b"honest")]

    def script(_: Request, connection: socket.socket) -> None:
        answer = answers.pop(0)
        connection.sendall(answer + smuggled if not late_s else answer)
        if late_s:
            time.sleep(late_s)
            connection.sendall(smuggled)

    with talking(script) as (server, client):
        assert client.get(f"{server.url}/first", accept="*/*").body == LARGE[:size]
        time.sleep(2 * late_s)
        assert client.get(f"{server.url}/next", accept="*/*").body == b"honest"
        time.sleep(2 * late_s)
        assert client.get(f"{server.url}/last", accept="*/*").body == b"honest"


@pytest.mark.parametrize("beyond", [b"\0", reply(200, body=b"smuggled")[:30], reply(200, body=b"smuggled")])
def test_a_connection_with_bytes_beyond_an_answer_is_not_used_again(beyond: bytes) -> None:
    ports: list[int] = []
    first = chunked(b"first", 2) + beyond
    with talking(sending(first, reply(200, body=b"honest"), noting=ports)) as (server, client):
        assert client.get(f"{server.url}/first", accept="*/*").body == b"first"
        assert client.get(f"{server.url}/next", accept="*/*").body == b"honest"
    assert len(set(ports)) == 2


@pytest.mark.parametrize("came", [100, 2_000_000], ids=["by the HTTP layer", "straight"])
@pytest.mark.parametrize("framing", ["length", "end of the connection"])
def test_a_server_that_falls_silent_within_a_body_ends_it_by_the_timeout(framing: str, came: int) -> None:
    head = f"Content-Length: {len(LARGE)}\r\n" if framing == "length" else ""

    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 200 X\r\n{head}\r\n".encode() + LARGE[:came])
        connection.recv(1)

    got: list[bytes] = []
    with (
        talking(script, limits=Limits(read_s=0.3)) as (server, client),
        client.stream(f"{server.url}/1.2", accept="*/*") as stream,
        pytest.raises(NotReachable, match=r"nothing came for 0\.3 s"),
    ):
        got.extend(stream.chunks())
    # What came before is handed on.
    assert b"".join(got) == LARGE[:came]


@pytest.mark.parametrize(("size", "connections"), [(100_000, 1), (4_000_000, 1), (len(LARGE), 2)])
def test_only_a_large_body_takes_its_connection_along(size: int, connections: int) -> None:
    ports: list[int] = []
    body = LARGE[:size]
    with talking(sending(reply(200, body=body), reply(200, body=body), noting=ports)) as (server, client):
        assert [streamed(server, client), streamed(server, client)] == [body, body]
    assert len(set(ports)) == connections


def test_a_large_body_stops_when_it_is_left() -> None:
    with talking(sending(reply(200, body=LARGE), reply(200, body=b"next"))) as (server, client):
        with client.stream(f"{server.url}/studies/1.2", accept="*/*") as stream:
            chunks = stream.chunks()
            first = next(chunks) + next(chunks)
        assert LARGE.startswith(first)
        assert client.get(f"{server.url}/next", accept="*/*").body == b"next"
