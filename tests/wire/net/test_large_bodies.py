"""Large bodies come whole however HTTP frames them; a connection is used again only when it is in order."""

from __future__ import annotations

import random
import socket

import pytest

from s4s_lab.errors import NotReachable
from s4s_lab.net import HttpClient
from tests.wire.net.conftest import talking
from tests.wire.net.servers import Request, Script, Server, reply

LARGE = random.Random(9).randbytes(5_000_003)  # noqa: S311  data, no secret


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


@pytest.mark.parametrize("size", [1, 70_000, 1 << 20, (1 << 20) + 1, len(LARGE)])
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


@pytest.mark.parametrize(("size", "connections"), [(100_000, 1), (len(LARGE), 2)])
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
