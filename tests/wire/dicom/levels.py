"""An image archive that gives studies, series and instances, counts its bytes and breaks off when it is told to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from s4s_lab.dicom import DeclaredSeries, StudyRequest
from tests.unit.dicom.samples import STUDY, image_file
from tests.wire.dicom.archive import PATIENT, answer, study_answer

Files = Mapping[str, Mapping[str, bytes]]


def study(series: int, instances: int, *, size: int = 16) -> Files:
    """Files of one study by series and instance UID."""
    return {
        f"1.2.{one}": {
            f"1.9.{one}.{number}": image_file(f"1.9.{one}.{number}", series=f"1.2.{one}", size=size, number=number)
            for number in range(1, instances + 1)
        }
        for one in range(1, series + 1)
    }


@dataclass
class LevelArchive:
    """Serves one study.

    Parameters
    ----------
    files : mapping
        By series and instance UID.
    listener : socket.socket
        Open already.
    levels : int
        How deep its addresses go: 0 the study alone, 1 its series too, 2 its instances too.
    cuts : list of int
        After how many bytes of the body to break off, for one answer after the other.
    pause_s : float
        Slept before each 64 KiB [s]: a slow line.
    listing : bytes or None
        The body that `/metadata` gets; None: there is no such address.
    empty : tuple of str
        Ends of addresses that get a multipart body without parts.
    """

    files: Files
    listener: socket.socket
    levels: int = 2
    cuts: list[int] = field(default_factory=list)
    pause_s: float = 0.0
    listing: bytes | None = None
    empty: tuple[str, ...] = ()
    lists: int = 0
    asked: list[str] = field(default_factory=list)
    sent: int = 0

    @property
    def base(self) -> str:
        """The address that an Endpoint would name."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/wado"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(data) for data in chain.from_iterable(one.values() for one in self.files.values()))

    def request(self, *, named: bool = True) -> StudyRequest:
        """A request for the study with what its record declares; instances by name where `named`."""
        series = tuple(
            DeclaredSeries(uid, len(files), frozenset(files) if named else frozenset())
            for uid, files in self.files.items()
        )
        expected = sum(len(files) for files in self.files.values())
        return StudyRequest(self.base, STUDY, expected, "https://ehr.example/fhir", PATIENT, None, series)

    def list_all(self) -> None:
        """List every instance at `/metadata` from now on."""
        keys = ("0020000D", "0020000E", "00080018")
        named = [(STUDY, series, uid) for series, files in self.files.items() for uid in files]
        listing = [
            {key: {"vr": "UI", "Value": [uid]} for key, uid in zip(keys, uids, strict=True)}
            | {"00280010": {"vr": "US", "Value": [16]}}
            for uids in named
        ]
        self.listing = json.dumps(listing).encode()

    def _found(self, path: list[str]) -> list[bytes]:
        if len(path) // 2 > self.levels:
            return []
        chosen = self.files if not path else {path[1]: self.files.get(path[1], {})}
        files = {uid: data for one in chosen.values() for uid, data in one.items()}
        return list(files.values()) if len(path) < 4 else [files[path[3]]] if path[3] in files else []

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            tail = head.split(b" ")[1].decode().partition(f"/studies/{STUDY}")[2]
            if tail == "/metadata":
                self.lists += 1
                found = self.listing is not None
                connection.sendall(answer(self.listing or b"", status="200 OK" if found else "404 Not Found"))
                return
            self.asked.append(tail)
            files = [] if tail in self.empty else self._found(tail.strip("/").split("/") if tail else [])
            whole = study_answer(files, cut=self.cuts.pop(0) if self.cuts else None)
            reply = whole if files or tail in self.empty else answer(b"", status="404 Not Found", content_type=None)
            for at in range(0, len(reply), 65536):
                time.sleep(self.pause_s)
                connection.sendall(reply[at : at + 65536])
                self.sent += min(65536, len(reply) - at)


@contextlib.contextmanager
def level_archive(files: Files, **settings: object) -> Iterator[LevelArchive]:
    """Run an archive for the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = LevelArchive(files, listener, **settings)  # type: ignore[arg-type]  # the dataclass's own fields
        threading.Thread(target=running.serve, daemon=True).start()
        try:
            yield running
        finally:
            listener.shutdown(socket.SHUT_RDWR)
