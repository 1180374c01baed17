"""An image archive of the tests' own: raw sockets on the loopback, answers scripted byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from s4s_lab.dicom import StudyRequest
from tests.unit.dicom.multipart_bodies import body_of
from tests.unit.dicom.samples import STUDY

PATIENT = "smart-1288992"
BOUNDARY = b"gc0p4Jq0M2Yt08jU534c0p"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=' + BOUNDARY.decode()
Framing = Literal["close", "length", "chunked"]
FRAMINGS: tuple[Framing, ...] = ("close", "length", "chunked")


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    target: str
    headers: dict[str, str]


def answer(
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str | None = MULTIPART,
    headers: Iterable[str] = (),
    framing: Framing = "close",
    cut: int | None = None,
) -> bytes:
    """A whole answer as it goes over the wire; `cut` ends the connection after so many bytes of the body."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    sent = body if cut is None else body[:cut]
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        pieces = [sent[at : at + 1000] for at in range(0, len(sent), 1000)]
        sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" * (cut is None)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + sent


def study_answer(parts: Iterable[bytes], *, framing: Framing = "close", cut: int | None = None) -> bytes:
    """The answer that an archive gives for a study of these files."""
    return answer(body_of(parts, boundary=BOUNDARY), framing=framing, cut=cut)


@dataclass
class Archive:
    """A server that gives one scripted answer a request, the last one again and again; it lists nothing."""

    answers: Sequence[bytes | Iterable[bytes]]
    listener: socket.socket
    requests: list[Request] = field(default_factory=list)
    lists: int = 0

    @property
    def base(self) -> str:
        """The address that an Endpoint would name."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/Patient/{PATIENT}/$wado-rs"

    def request(self, *, expected: int | None = None, study_uid: str = STUDY) -> StudyRequest:
        """A request for a study at this archive."""
        return StudyRequest(self.base, study_uid, expected, "https://ehr.example/fhir", PATIENT, "P-0007")

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = connection.recv(65536)
            if not piece:
                # A client that was killed after it had connected.
                return
            head += piece
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        if lines[0].split(" ")[1].endswith("/metadata"):
            self.lists += 1
            connection.sendall(answer(b"", status="404 Not Found", content_type=None))
            return
        self.requests.append(Request(lines[0].split(" ")[1], {name.lower(): text for name, text in headers.items()}))
        script = self.answers[min(len(self.requests), len(self.answers)) - 1]
        for piece in [script] if isinstance(script, bytes) else script:
            connection.sendall(piece)


@contextlib.contextmanager
def archive(*answers: bytes | Iterable[bytes]) -> Iterator[Archive]:
    """Run an archive for the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Archive(answers, listener)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
