"""Raw asyncio sockets on the loopback: honest answers of an application, and faults that take an answer's place."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def base(self) -> str:
        """The FHIR base URL that the client used."""
        return f"http://{self.headers['host']}/fhir"


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()

    def head(self, *more: str) -> bytes:
        """Give status line and headers, and the empty line after them."""
        return "\r\n".join([f"HTTP/1.1 {self.status} X", *self.headers, *more, "", ""]).encode("latin-1")

    def wire(self) -> bytes:
        """Give all bytes, with the right Content-Length."""
        return self.head(f"Content-Length: {len(self.body)}") + self.body


class Exchange(NamedTuple):
    """One line of the byte log: what was asked, what the server meant to send, how it ended."""

    target: str
    sent: bytes
    ending: str


class Talk:
    """One exchange with a client; `turn` counts the exchanges that the same fault struck before.

    What is sent after the client has left is logged all the same: so the log says what the server does, not how long
    the client listened, and is the same for the same seed.
    """

    def __init__(self, request: Request, answer: Reply, chance: random.Random, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self.honest = answer
        self.chance = chance
        self.turn = 0
        self.ending = "open"
        self._sent: list[bytes] = []
        self._writer = writer
        self._gone = False

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sent.append(data)
        if not self._gone:
            try:
                self._writer.write(data)
                await self._writer.drain()
            except ConnectionError:
                self._gone = True

    async def pause(self, seconds: float) -> None:
        """Let time pass [s], unless nobody listens any more."""
        if not (self._gone or self._writer.is_closing()):
            await asyncio.sleep(seconds)

    def close(self) -> None:
        """End the connection in good order after what was sent."""
        self.ending = "closed"
        self._writer.close()

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        self.ending = "reset"
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def told(self) -> Exchange:
        """Give the log line of this exchange."""
        return Exchange(self.request.target, b"".join(self._sent), self.ending)


App = Callable[[Request], Reply]
Fault = Callable[[Talk], Awaitable[None]]
"""Answers one request in place of the application."""


async def honest(talk: Talk) -> None:
    """Send the application's answer."""
    await talk.send(talk.honest.wire())


@dataclass
class FaultServer:
    """Serves an application; `fault` stands in for its answer to every request that `struck` picks."""

    app: App
    seed: int = 20
    port: int = 0
    fault: Fault = honest
    struck: Callable[[Request], bool] = lambda _: False
    log: list[Exchange] = field(default_factory=list)
    strikes: int = 0
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 - a repeatable choice of bytes, no secret

    @property
    def url(self) -> str:
        """The FHIR base URL."""
        return f"http://127.0.0.1:{self.port}/fhir"

    def begin(self, app: App, fault: Fault = honest, struck: Callable[[Request], bool] = lambda _: False) -> None:
        """Serve another application, with another fault, with an empty log."""
        self.app, self.fault, self.struck = app, fault, struck
        self.log, self.strikes = [], 0
        self.__post_init__()

    def mend(self) -> None:
        """Be honest from now on."""
        self.struck = lambda _: False

    def asked(self, part: str = "") -> list[str]:
        """Give the targets that hold `part`."""
        return [exchange.target for exchange in self.log if part in exchange.target]

    def trace(self) -> bytes:
        """Give every byte that was meant to be sent, with the port left out: it is another each time."""
        lines = (b"> %s\n%s\n< %s\n" % (e.target.encode(), e.sent, e.ending.encode()) for e in self.log)
        return b"".join(lines).replace(f":{self.port}".encode(), b":PORT")

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while (request := await _request(reader)) is not None:
                talk = Talk(request, self.app(request), self._chance, writer)
                try:
                    await self._answer(talk)
                finally:
                    self.log.append(talk.told())
                if talk.ending != "open":
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, talk: Talk) -> None:
        if not self.struck(talk.request):
            return await honest(talk)
        talk.turn, self.strikes = self.strikes, self.strikes + 1
        return await self.fault(talk)


async def _request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def _nothing(_: Request) -> Reply:
    return Reply(404)


@contextmanager
def serving(app: App = _nothing, seed: int = 20) -> Iterator[FaultServer]:
    """Serve an application on a free loopback port until the block ends."""
    server = FaultServer(app, seed)
    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(asyncio.start_server(server.converse, "127.0.0.1", 0, limit=1 << 20))
    server.port = listener.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end(listener), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listener: asyncio.Server) -> None:
    listener.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
