"""Raw servers on loopback that answer as a script says, byte by byte, and remember what they were asked."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Request, socket.socket], None]
"""Answers one request; closing the socket ends the connection."""


@dataclass
class Server:
    """A listening server; `requests` is what it was asked, in order."""

    host: str
    port: int
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def seen(self, canary: str) -> int:
        """Count the requests that carried `canary` anywhere."""
        return sum(canary in f"{r.target}{r.headers}{r.body!r}" for r in self.requests)


def reply(status: int, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """Give the bytes of an answer with a Content-Length, its own or another."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def answers(*replies: bytes) -> Script:
    """Answer the first request with the first reply, and so on; the last one again and again."""
    left = list(replies)

    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return script


def tunnel_to(port: int) -> Script:
    """Act as a CONNECT proxy for which every host is a port of this machine."""

    def script(_: Request, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            pairs = {connection: onward, onward: connection}
            while True:
                for source in select.select(list(pairs), [], [], 10)[0]:
                    data = source.recv(65536)
                    if not data:
                        connection.close()
                        return
                    pairs[source].sendall(data)

    return script


def _request(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, target, _ = first.split(" ")
    return Request(method, target, headers, body)


def _converse(server: Server, script: Script, connection: socket.socket) -> None:
    # A client that goes away, or refuses the certificate, is part of many tests.
    with suppress(OSError), connection:
        while (request := _request(connection)) is not None:
            server.requests.append(request)
            script(request, connection)


@contextmanager
def serving(
    script: Script, *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Server]:
    """Serve on loopback, encrypted when a context is given, until the block ends."""
    listener = socket.create_server(("127.0.0.1", port))
    server = Server(host, listener.getsockname()[1], "https" if context else "http")
    stopped = threading.Event()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            if stopped.is_set():
                connection.close()
                return
            connection.settimeout(10)
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    def converse(connection: socket.socket) -> None:
        with suppress(OSError):
            _converse(server, script, context.wrap_socket(connection, server_side=True) if context else connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stopped.set()
        socket.create_connection(("127.0.0.1", server.port)).close()  # wakes the one who accepts
        thread.join()
        listener.close()
