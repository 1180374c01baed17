"""Raw servers on loopback that answer as a script says, byte by byte, and remember what they were asked."""

from __future__ import annotations

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
    listener.settimeout(0.05)
    server = Server(host, listener.getsockname()[1], "https" if context else "http")
    stopped = threading.Event()

    def accept() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(10)
                threading.Thread(target=handshake, args=(connection,), daemon=True).start()

    def handshake(connection: socket.socket) -> None:
        with suppress(OSError):
            secured = context.wrap_socket(connection, server_side=True) if context else connection
            _converse(server, script, secured)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stopped.set()
        thread.join()
        listener.close()
