"""Orthanc, an image archive of another maker, on the loopback with an empty store of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_S, STOP_S = 60.0, 30.0


# SHA-256 of files by study and instance UID.
Held = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Parameters
    ----------
    url : str
        Its base address.
    """

    url: str

    @property
    def wado_base(self) -> str:
        """The address of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """GET a path, or POST a body to it; return the status and the JSON."""
        request = urllib.request.Request(self.url + path, data=body)  # noqa: S310  the address is this machine's own
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, None

    def store(self, data: bytes) -> bool:
        """Hand over a file; return whether it was new and taken."""
        status, answer = self.ask("/instances", data)
        return status == 200 and answer["Status"] == "Success"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _configuration(store: Path, port: int) -> dict[str, object]:
    return {
        "Name": "PEER",
        "StorageDirectory": str(store),
        "IndexDirectory": str(store),
        "StorageCompression": False,
        "Plugins": [str(PLUGIN)],
        "HttpServerEnabled": True,
        "HttpPort": port,
        # Debian's Orthanc listens on every interface and can only refuse others after accepting them.
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpCompressionEnabled": False,
        "DicomServerEnabled": False,
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Ssl": False},
    }


def _wait_until_it_answers(orthanc: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text(errors="replace")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if orthanc.ask("/dicom-web/studies")[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"Orthanc did not answer within {START_S} s: {log.read_text(errors='replace')}")


@contextlib.contextmanager
def running_orthanc(program: str, folder: Path) -> Iterator[Orthanc]:
    """Run Orthanc for the block, with its store in `folder`; it is ended by its own process id."""
    port, store, log = _free_port(), folder / "store", folder / "log"
    store.mkdir()
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_configuration(store, port)))
    with (
        log.open("wb") as output,
        subprocess.Popen([program, str(configuration)], stdout=output, stderr=output) as process,
    ):
        try:
            orthanc = Orthanc(f"http://127.0.0.1:{port}")
            _wait_until_it_answers(orthanc, process, log)
            yield orthanc
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
