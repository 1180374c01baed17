"""A static FHIR server on raw sockets: the kernel sends prepared files, so that it takes next to no processor time.

`python -m benchmarks.static_server FOLDER` prints its port and serves until its standard input closes. A base URL is
`http://127.0.0.1:PORT/N/fhir`: N is how many resources of each type it has. What has `_lastUpdated` in it finds
nothing, as on a server where nothing changed.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.pages import PAGE


def _answer(connection: socket.socket, folder: Path, target: str) -> None:
    """Send one page."""
    url = urlsplit(target)
    count, _, kind = url.path.strip("/").split("/")
    query = parse_qs(url.query)
    number = int(query.get("page", ["1"])[0])
    file = folder / f"{kind}-{number}.json"
    known = file.is_file() and "_lastUpdated" not in query
    total = int(count) if known else 0
    origin = "http://{}:{}".format(*connection.getsockname())
    links = [f'{{"relation":"self","url":"{origin}{target}"}}']
    if total > number * PAGE:
        links.append(
            f'{{"relation":"next","url":"{origin}{url.path}?patient={query["patient"][0]}&page={number + 1}"}}'
        )
    head = f'{{"resourceType":"Bundle","type":"searchset","total":{total},"link":[{",".join(links)}],'.encode()
    rest = file.stat().st_size if known else len(b'"entry":[]}')
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nDate: "
        + formatdate(usegmt=True).encode()
        + f"\r\nContent-Length: {len(head) + rest}\r\n\r\n".encode()
        + head
    )
    if not known:
        connection.sendall(b'"entry":[]}')
        return
    with file.open("rb") as content:
        sent = 0
        while sent < rest:
            sent += os.sendfile(connection.fileno(), content.fileno(), sent, rest - sent)


def _converse(connection: socket.socket, folder: Path) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending = b""
        while True:
            while b"\r\n\r\n" not in pending:
                received = connection.recv(65536)
                if not received:
                    return
                pending += received
            head, _, pending = pending.partition(b"\r\n\r\n")
            _answer(connection, folder, head.split(b" ", 2)[1].decode())


def serve(folder: Path) -> None:
    """Serve a folder of pages on a free port of 127.0.0.1, which is written to standard output.

    Parameters
    ----------
    folder : Path
        As `pages.pages_of` gives it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_converse, args=(connection, folder), daemon=True).start()


if __name__ == "__main__":
    threading.Thread(target=serve, args=(Path(sys.argv[1]),), daemon=True).start()
    sys.stdin.read()
