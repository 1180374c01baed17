"""A process that asks and waits, and is interrupted: it says `ready` before and `freed` after each interrupt.

Usage: python -m tests.wire.net.interrupted SCENE SERVER DEAF_PORT COUNT
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from s4s_lab.net import HttpClient, Patience
from s4s_lab.net.traffic import REQUESTS_AT_ONCE

Scene = Callable[[HttpClient, str, str], None]
_resolve = socket.getaddrinfo


def _slow_names(host: str, *args: Any, **kwargs: Any) -> Any:
    if host == "ehr.example":
        time.sleep(60)
    return _resolve(host, *args, **kwargs)


def _get(path: str, client: HttpClient, server: str, _: str) -> None:
    client.get(f"{server}{path}", accept="*/*")


def _asking(client: HttpClient, server: str, _: str) -> None:
    while True:
        client.get(f"{server}/ImagingStudy/ok", accept="*/*")


def _streaming(client: HttpClient, server: str, _: str) -> None:
    with client.stream(f"{server}/studies/drip", accept="*/*") as stream:
        for _chunk in stream.chunks():
            pass


def _connecting(client: HttpClient, _: str, deaf_port: str) -> None:
    client.get(f"http://127.0.0.1:{deaf_port}/", accept="*/*")


def _looking_up(client: HttpClient, _: str, __: str) -> None:
    client.get("https://ehr.example/", accept="*/*")


def _queueing(client: HttpClient, server: str, _: str) -> None:
    crowd = server.replace("127.0.0.1", "localhost")  # the same server as another origin, whose places are all taken
    for _number in range(REQUESTS_AT_ONCE):
        threading.Thread(target=client.get, args=(f"{crowd}/stall",), kwargs={"accept": "*/*"}, daemon=True).start()
    client.get(f"{crowd}/ok", accept="*/*")


SCENES: dict[str, Scene] = {
    "waiting": partial(_get, "/ImagingStudy/busy"),
    "reading": partial(_get, "/ImagingStudy/stall"),
    "asking": _asking,
    "streaming": _streaming,
    "connecting": _connecting,
    "looking up": _looking_up,
    "queueing": _queueing,
}


def main(scene: str, server: str, deaf_port: str, count: int) -> None:
    """Go through a scene until it was interrupted `count` times; the next interrupt ends the process."""
    vars(socket)["getaddrinfo"] = _slow_names
    with HttpClient(patience=Patience(budget_s=1e9)) as client:
        for _ in range(count):
            try:
                sys.stdout.write("ready\n")
                sys.stdout.flush()
                SCENES[scene](client, server, deaf_port)
            except KeyboardInterrupt:
                # What the interrupted request held is free again: places, holds, connections.
                for kind in ("ImagingStudy", "studies"):
                    for _number in range(REQUESTS_AT_ONCE + 1):
                        client.get(f"{server}/{kind}/ok", accept="*/*")
                for _number in range(3):
                    with client.stream(f"{server}/studies/ok", accept="*/*") as stream:
                        assert b"".join(stream.chunks()) == b"done"
                sys.stdout.write("freed\n")
                sys.stdout.flush()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        SCENES[scene](client, server, deaf_port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
