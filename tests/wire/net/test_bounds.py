"""Names, connections, handshakes, lengths and certificates that are not what they should be: all end in time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from s4s_lab.errors import NotReachable, UnexpectedAnswer
from s4s_lab.net import HttpClient, Limits, Patience
from tests.wire.net.conftest import Slept, server_context, talking
from tests.wire.net.servers import Request, Script, Server, answers, reply, serving

ONE_TRY = Patience(budget_s=0)
TIGHT = Limits(connect_s=0.4, read_s=0.4, attempt_s=0.8, stream_s=2.0, slow_s=0.4)
HEAD = b"HTTP/1.1 200 X\r\n"


@contextmanager
def ending_in(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer, a second of grace included."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + 1


def test_a_name_that_nobody_answers_for_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def never(*_: object, **__: object) -> list[Any]:
        asked.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    with ending_in(TIGHT.connect_s), HttpClient(patience=ONE_TRY, limits=TIGHT) as client:
        with pytest.raises(NotReachable, match="could not be looked up within"):
            client.get("https://ehr.example/fhir?patient=secret-id", accept="*/*")
        asked.set()


def test_a_name_that_is_not_known_says_so(no_proxies: None) -> None:
    with HttpClient(patience=ONE_TRY) as client, pytest.raises(NotReachable, match="the name is not known"):
        client.get("https://ehr.invalid/fhir", accept="*/*")


def test_the_lookup_counts_towards_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> list[Any]:
        time.sleep(0.3)
        return [(0, 0, 0, "", (f"127.0.0.{number}", 9)) for number in range(2, 60)]

    with full_backlog() as port, monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", slow)
        with (
            ending_in(TIGHT.attempt_s),
            HttpClient(patience=ONE_TRY, limits=TIGHT) as client,
            pytest.raises(NotReachable),
        ):
            client.get(f"https://ehr.example:{port}/", accept="*/*")


@contextmanager
def full_backlog() -> Iterator[int]:
    """Listen on all of loopback without ever accepting, the queue full: a connection is neither made nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("0.0.0.0", 0))  # noqa: S104  all of 127.0.0.0/8 is meant, and nothing is ever accepted
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def test_a_connection_that_is_never_made_ends_in_time() -> None:
    with (
        full_backlog() as port,
        ending_in(TIGHT.connect_s),
        HttpClient(patience=ONE_TRY, limits=TIGHT) as client,
        pytest.raises(NotReachable, match="timed out"),
    ):
        client.get(f"http://127.0.0.1:{port}/", accept="*/*")


@pytest.mark.parametrize("drop", [b"", b"\x16"], ids=["silent", "dripping"])
def test_a_handshake_that_has_no_end_ends_in_time(drop: bytes) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KiB is promised
                while not stop.wait(0.05):
                    connection.sendall(drop)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with (
            ending_in(TIGHT.connect_s),
            HttpClient(patience=ONE_TRY, limits=TIGHT) as client,
            pytest.raises(NotReachable),
        ):
            client.get(url, accept="*/*")
        stop.set()
        thread.join(5)


def closing_after(answer: bytes) -> Script:
    """Send an answer and close the connection."""

    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.close()

    return script


CUT = {
    "length too large": reply(200, body=b"x" * 10, length=11),
    "length far too large": reply(200, body=b"x" * 10, length=10**18),
    "chunk cut": HEAD + b"Transfer-Encoding: chunked\r\n\r\nA\r\nxxxx",
    "last chunk missing": HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nxxxx\r\n",
    "chunk without end of line": HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nxxxxx\r\n0\r\n\r\n",
    "chunk size of letters": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxxxx\r\n0\r\n\r\n",
    "chunk size beyond all": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 40 + b"\r\nxxxx",
    "two lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nxxxxx",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\nxxxxx",
    "length of letters": HEAD + b"Content-Length: abc\r\n\r\nxxxxx",
    "unknown transfer coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\nxxxxx",
    "gzip cut": reply(200, "Content-Encoding: gzip", body=b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab", length=40),
    "status of letters": b"HTTP/1.1 abc X\r\nContent-Length: 0\r\n\r\n",
    "a header of no form": HEAD + b"no colon here\r\n\r\n",
    "a null in a header": HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_lies_about_itself_is_no_answer(name: str) -> None:
    with (
        talking(closing_after(CUT[name]), ONE_TRY, TIGHT) as (server, client),
        ending_in(TIGHT.attempt_s),
        pytest.raises(NotReachable) as caught,
    ):
        client.get(f"{server.url}/fhir?patient=secret-id", accept="*/*")
    assert "no colon" not in str(caught.value)
    assert "secret-id" not in str(caught.value)


@pytest.mark.parametrize("name", ["length too large", "last chunk missing", "chunk cut", "chunk size of letters"])
def test_a_stream_that_lies_about_itself_ends_with_an_error(name: str) -> None:
    with (
        talking(closing_after(CUT[name]), limits=TIGHT) as (server, client),
        client.stream(server.url, accept="*/*") as stream,
        pytest.raises(NotReachable, match="broke off"),
    ):
        list(stream.chunks())


def test_what_comes_beyond_a_length_is_not_read_as_the_next_answer(slept: Slept) -> None:
    lying = reply(200, body=b"done and more", length=4)
    with talking(answers(lying, reply(200, body=b"next")), slept.patience(), TIGHT) as (server, client):
        assert client.get(server.url, accept="*/*").body == b"done"
        assert client.get(server.url, accept="*/*").body == b"next"


def test_a_body_that_ends_with_its_connection_is_taken_as_it_came() -> None:
    # HTTP cannot tell whether it is whole (RFC 9112, section 8): FHIR JSON and multipart can, one layer above.
    with talking(closing_after(HEAD + b'\r\n{"resourceType": "Bun'), ONE_TRY) as (server, client):
        answer = client.get(server.url, accept="*/*")
    assert (answer.body, "content-length" in answer.headers) == (b'{"resourceType": "Bun', False)


def test_a_connection_whose_answer_named_two_lengths_is_not_used_again() -> None:
    ports: list[int] = []
    both = HEAD + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n"

    def script(request: Request, connection: socket.socket) -> None:
        ports.append(connection.getpeername()[1])
        connection.sendall(both if request.target == "/both" else reply(200, body=b"done"))

    with talking(script, ONE_TRY) as (server, client):
        for path in ("/", "/", "/both", "/", "/"):
            assert client.get(f"{server.url}{path}", accept="*/*").body == b"done"
    assert [ports[0] == ports[1] == ports[2], ports[2] == ports[3], ports[3] == ports[4]] == [True, False, True]


def test_a_chunk_bomb_is_refused_before_it_is_held() -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    with talking(script, ONE_TRY) as (server, client), pytest.raises(UnexpectedAnswer, match="more than 1048576"):
        client.get(server.url, accept="*/*", max_bytes=1 << 20)


def test_chunks_of_one_byte_with_long_extensions_end_in_time() -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1;" + b"x" * 60_000 + b"\r\ny\r\n")

    with talking(script, ONE_TRY, TIGHT) as (server, client), ending_in(TIGHT.attempt_s), pytest.raises(NotReachable):
        client.get(server.url, accept="*/*", max_bytes=1 << 20)


def test_trailers_without_end_end_in_time() -> None:
    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
        while True:
            connection.sendall(b"X: y\r\n" * 1000)

    with talking(script, ONE_TRY, TIGHT) as (server, client), ending_in(TIGHT.attempt_s), pytest.raises(NotReachable):
        client.get(server.url, accept="*/*")


def _certificate_server(case: str, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer = trustme.CA() if case == "unknown authority" else authority
    name = "ehr.example" if case == "another name" else "127.0.0.1"
    ended = datetime.now(UTC) - timedelta(days=1) if case == "expired" else None
    issuer.issue_cert(name, not_after=ended).configure_cert(context)
    if case == "TLS 1.1":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("expired", "expired"),
        ("another name", "mismatch|not valid for"),
        ("unknown authority", "unable to get|self-signed"),
        ("TLS 1.1", "protocol|handshake|EOF"),
    ],
)
def test_a_certificate_or_protocol_that_cannot_be_trusted_is_refused(
    case: str, reason: str, authority: trustme.CA
) -> None:
    context = _certificate_server(case, authority)
    with (
        serving(answers(reply(200)), context=context) as server,
        HttpClient(patience=ONE_TRY) as client,
        pytest.raises(NotReachable, match=f"(?i){reason}"),
    ):
        client.get(f"{server.url}/?token=secret", accept="*/*")
    assert server.requests == []


def test_a_certificate_that_signs_itself_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    own = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = tmp_path / "self.pem"
    certificate.write_bytes(own.cert_pem.bytes() + own.private_key_pem.bytes())
    context.load_cert_chain(certificate)
    with (
        serving(answers(reply(200)), context=context) as server,
        HttpClient(patience=ONE_TRY) as client,
        pytest.raises(NotReachable),
    ):
        client.get(server.url, accept="*/*")
    assert server.requests == []


def chain(servers: list[Server], hops: int) -> Script:
    """Redirect from one server to the next and back, `hops` times."""
    left = [hops]

    def script(_: Request, connection: socket.socket) -> None:
        left[0] -= 1
        there = servers[left[0] % len(servers)].url
        connection.sendall(reply(302, f"Location: {there}/{left[0]}") if left[0] >= 0 else reply(200, body=b"end"))

    return script


@pytest.mark.parametrize(("hops", "followed"), [(1, True), (3, True), (4, False), (1000, False)])
def test_chains_of_redirects_over_two_servers_end(hops: int, followed: bool) -> None:
    servers: list[Server] = []
    script = chain(servers, hops)
    with serving(script) as one, serving(script) as two, HttpClient(patience=ONE_TRY) as client:
        servers += [one, two]
        if followed:
            assert client.get(one.url, accept="*/*").body == b"end"
        else:
            with pytest.raises(UnexpectedAnswer, match="more than 3 times"):
                client.get(one.url, accept="*/*")
    assert len(one.requests) + len(two.requests) == min(hops, 3) + 1


def test_a_chain_of_slow_redirects_has_one_deadline() -> None:
    def script(request: Request, connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(reply(302, f"Location: {request.target}x"))

    with (
        talking(script, ONE_TRY, Limits(attempt_s=0.5)) as (server, client),
        ending_in(0.5),
        pytest.raises(NotReachable, match="longer than"),
    ):
        client.get(f"{server.url}/a", accept="*/*")


def test_a_trusted_server_is_reached_by_tls(authority: trustme.CA) -> None:
    context = server_context(authority, "127.0.0.1")
    with serving(answers(reply(200, body=b"done")), context=context) as server, HttpClient() as client:
        assert client.get(server.url, accept="*/*").body == b"done"
