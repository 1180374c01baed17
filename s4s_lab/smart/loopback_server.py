"""A very small HTTP server on this machine's own address: GET only, every size and time bounded, one thread."""

from __future__ import annotations

import asyncio
import atexit
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

_MAX_HEAD_BYTES = 32 << 10
_MAX_TARGET_CHARACTERS = 8 << 10
_HEAD_TIMEOUT_S = 5.0
_FAREWELL_S = 45.0
_LAST_WORDS_S = 5.0
_BACKLOG = 128
# The kernel's file descriptors are not for strangers to use up; a browser sends its request at once.
_MAX_SILENT = 64
_REQUEST_LINE = re.compile(r"(?P<method>[A-Z]{1,16}) (?P<target>/[\x21-\x7e]*) HTTP/1\.[01]", re.ASCII)
# Nothing is loaded, kept, framed or told to the next page (RFC 9700, section 4.2.4: no leak by Referer).
_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Content-Type": "text/html; charset=utf-8",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Request:
    """The part of an HTTP request that matters here.

    Parameters
    ----------
    method : str
        In capitals.
    target : str
        Path and query, from `/` on; hidden from reprs, as the query holds a code.
    host : str
        The one `Host` header, in lower case.
    origin : str or None
        The `Origin` header, in lower case: which page asks. Links that are followed have none.
    fetch_mode : str or None
        The `Sec-Fetch-Mode` header, in lower case: `navigate` for what becomes the page of a tab.
    """

    method: str
    target: str = field(repr=False)
    host: str
    origin: str | None = None
    fetch_mode: str | None = None


@dataclass(frozen=True)
class Reply:
    """What is sent back.

    Parameters
    ----------
    status : HTTPStatus
        The status.
    body : bytes
        HTML, UTF-8.
    headers : mapping of str to str
        Besides those that every reply has.
    """

    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the reply as it goes over the wire."""
        head = [f"HTTP/1.1 {self.status.value} {self.status.phrase}", f"Content-Length: {len(self.body)}"]
        head += [f"{name}: {value}" for name, value in (_HEADERS | dict(self.headers)).items()]
        return "\r\n".join([*head, "", ""]).encode() + self.body


def parse_request(head: bytes) -> Request | None:
    """Read the head of a request; None when it is none that a browser would send to us.

    Parameters
    ----------
    head : bytes
        Up to and including the empty line.

    References
    ----------
    RFC 9112, sections 3 and 3.2: origin-form, exactly one `Host`. RFC 6454, section 7: at most one `Origin`.
    """
    try:
        first, *lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    except UnicodeDecodeError:
        return None
    match = _REQUEST_LINE.fullmatch(first)
    if match is None or len(match["target"]) > _MAX_TARGET_CHARACTERS:
        return None
    hosts, origins, modes = (_values(lines, name) for name in ("host", "origin", "sec-fetch-mode"))
    if len(hosts) != 1 or len(origins) > 1 or len(modes) > 1:
        return None
    return Request(match["method"], match["target"], hosts[0], "".join(origins) or None, "".join(modes) or None)


def _values(lines: list[str], header: str) -> list[str]:
    fields = (line.partition(":") for line in lines)
    return [value.strip().lower() for name, _, value in fields if name.lower() == header]


class LoopbackServer:
    """Listens on one loopback address until it is closed; slow and silent clients cost a task each, not a thread.

    Parameters
    ----------
    host : str
        `127.0.0.1` or `::1`.
    port : int
        0 takes a free one.
    handle : callable
        Makes the reply; called in a thread of its own, so it may take its time.

    Raises
    ------
    OSError
        If the port cannot be had.
    """

    def __init__(self, host: str, port: int, handle: Callable[[Request], Reply]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._handle = handle
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._stopped = threading.Event()
        self._talks: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # no request yet; the oldest first
        self._thread = threading.Thread(target=self._run, name=f"s4s redirect {self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Free the port; replies that are being made are still sent."""
        if not self._stopped.is_set():
            # The program may end right after this: the page on its way to the participant still goes out.
            atexit.register(self._thread.join, _LAST_WORDS_S)
            self._loop.call_soon_threadsafe(self._stop.set)
            self._stopped.wait()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._stopped.set()
            self._loop.close()
            atexit.unregister(self._thread.join)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket, limit=_MAX_HEAD_BYTES, backlog=_BACKLOG)
        await self._stop.wait()
        server.close()
        self._stopped.set()
        if self._talks:
            _, late = await asyncio.wait(self._talks, timeout=_FAREWELL_S)
            for talk in late:
                talk.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = self._loop.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        self._silent[talk] = writer
        talk.add_done_callback(lambda done: self._silent.pop(done, None))
        if len(self._silent) > _MAX_SILENT:
            oldest = next(iter(self._silent))
            self._silent.pop(oldest).close()  # a task that has not begun yet ends without its last words
            oldest.cancel()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await self._reply(reader)
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                writer.write(reply.encoded())
                await writer.drain()
        except (TimeoutError, EOFError, ConnectionError):
            pass  # whoever is slow or gone gets nothing
        finally:
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._silent.pop(asyncio.current_task(), None)  # type: ignore[arg-type]  # None outside of tasks only
        request = parse_request(head)
        if request is None:
            return Reply(HTTPStatus.BAD_REQUEST)
        return await asyncio.to_thread(self._handle, request)
