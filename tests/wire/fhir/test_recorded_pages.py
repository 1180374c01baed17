"""Pages that real servers sent, replayed byte for byte by a plain file server: nothing of it is ours.

The pages are found by the links inside them, so they are served under the names that the links say. Expected counts are
counted from the files, by the standard library.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from s4s_lab.errors import IncompletePull, OriginRefused
from s4s_lab.fhir import Page, search
from tests.conftest import missing
from tests.wire.fhir.conftest import TOKEN, server_context, serving, signing, tunnel_to
from tests.wire.net.servers import answers, reply

Choose = Callable[[str, dict[str, str]], bytes | None]
EMPTY_LAST_PAGE = b'{"resourceType": "Bundle", "type": "searchset"}'


class FileServer(ThreadingHTTPServer):
    """Sends files as they are; `choose` names the file by path and query."""

    daemon_threads = True

    def __init__(self, choose: Choose, *, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), FileHandler)
        self.choose = choose
        self.asked: list[str] = []
        self.tokens = 0
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)


class FileHandler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.tokens += self.headers.get("Authorization") == f"Bearer {TOKEN}"
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = self.server.choose(parts.path, query)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/json+fhir")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def file_server(choose: Choose, *, port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[FileServer]:
    """Serve files until the block ends."""
    try:
        server = FileServer(choose, port=port, context=context)
    except OSError:
        missing(f"needs port {port} of 127.0.0.1, which is taken: the links of the recorded pages lead there")
        raise
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def counted(*paths: Path) -> list[dict[str, Any]]:
    """Give the resources of Bundles, read by the standard library."""
    bundles = [json.loads(path.read_bytes()) for path in paths]
    return [entry["resource"] for bundle in bundles for entry in bundle.get("entry", [])]


def received(pages: list[Page]) -> list[dict[str, Any]]:
    return [json.loads(entry.raw) for page in pages for entry in page.entries]


# --- AB2D (CMS): links to http://localhost:8083, pages told apart by startIndex ---------------------------------------

AB2D = "http://localhost:8083/v1/fhir"


def ab2d_page(folder: Path, query: dict[str, str]) -> bytes | None:
    start = query.get("startIndex", "0")
    path = folder / f"{query.get('patient')}{'' if start == '0' else f'_{start}'}.json"
    return path.read_bytes() if path.is_file() else None


@pytest.fixture
def ab2d(test_data: Path) -> Path:
    return test_data / "fhir" / "stu3" / "cms-ab2d-pages"


@pytest.mark.clause("S4S-8")
def test_the_four_pages_of_ab2d_arrive_whole(ab2d: Path) -> None:
    files = [ab2d / f"20140000008325{part}.json" for part in ("", "_10", "_20", "_30")]
    expected = counted(*files)
    assert len({resource["id"] for resource in expected}) == len(expected) == 32
    with file_server(lambda _, query: ab2d_page(ab2d, query), port=8083) as server, signing(AB2D) as client:
        pages = list(search(client, AB2D, "ExplanationOfBenefit", {"patient": "20140000008325"}))
    assert received(pages) == expected
    assert [len(page.entries) for page in pages] == [10, 10, 10, 2]
    assert all(
        entry.raw in file.read_bytes() for page, file in zip(pages, files, strict=True) for entry in page.entries
    )
    links = [
        link["url"] for file in files for link in json.loads(file.read_bytes())["link"] if link["relation"] == "next"
    ]
    assert [f"http://localhost:8083{asked}" for asked in server.asked[1:]] == links
    assert (pages[0].total, pages[0].bundle_time is not None, server.tokens) == (None, True, 4)


def test_the_empty_page_of_ab2d_is_not_the_end(ab2d: Path) -> None:
    one_more = json.dumps({"resourceType": "Bundle", "entry": [{"resource": counted(ab2d / "20140000009893.json")[0]}]})

    def choose(_: str, query: dict[str, str]) -> bytes | None:
        return one_more.encode() if query.get("startIndex") == "10" else ab2d_page(ab2d, query)

    with file_server(choose, port=8083) as server, signing(AB2D) as client:
        pages = list(search(client, AB2D, "ExplanationOfBenefit", {"patient": "20010000001115"}))
    assert [len(page.entries) for page in pages] == [0, 1]
    assert received(pages) == counted(ab2d / "20140000009893.json")
    assert len(server.asked) == 2


def test_an_empty_page_whose_next_is_not_there_is_begun_anew_and_then_incomplete(ab2d: Path) -> None:
    with file_server(lambda _, query: ab2d_page(ab2d, query), port=8083) as server, signing(AB2D) as client:
        pages = search(client, AB2D, "ExplanationOfBenefit", {"patient": "20010000001115"})
        assert [len(next(pages).entries), len(next(pages).entries)] == [0, 0]
        with pytest.raises(IncompletePull, match="HTTP 404"):
            next(pages)
    assert [parse_qs(urlsplit(asked).query).get("startIndex") for asked in server.asked] == [None, ["10"], None, ["10"]]


# --- HAPI (SMART sandbox): links to https://r4.smarthealthit.org?_getpages=…, without a path -------------------------

HAPI = "https://r4.smarthealthit.org"


@pytest.mark.usefixtures("no_proxies")
def test_the_pages_of_hapi_arrive_under_their_own_host_name(
    test_data: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [test_data / "fhir" / "r4" / "smart-launcher-hapi" / f"PatientBundlePage{number}.json" for number in (1, 2)]

    def choose(path: str, query: dict[str, str]) -> bytes | None:
        if path == "/Patient" and "_getpages" not in query:
            return files[0].read_bytes()
        # The third page was not recorded: an empty one without a next link stands for it.
        return {"50": files[1].read_bytes(), "100": EMPTY_LAST_PAGE}.get(query.get("_getpagesoffset", ""))

    context = server_context(authority, "r4.smarthealthit.org")
    with (
        file_server(choose, context=context) as server,
        serving(tunnel_to(server.server_port)) as proxy,
        signing(HAPI) as client,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        pages = list(search(client, HAPI, "Patient", {"_format": "json"}))
    assert received(pages) == counted(*files)
    assert [len(page.entries) for page in pages] == [50, 50, 0]
    links = [
        link["url"] for file in files for link in json.loads(file.read_bytes())["link"] if link["relation"] == "next"
    ]
    assert [page.next_url for page in pages] == [*links, None]
    assert server.asked == ["/Patient?_format=json", *(link.replace(HAPI, "/") for link in links)]
    assert {request.target for request in proxy.requests} == {"r4.smarthealthit.org:443"}
    assert (server.tokens, proxy.seen(TOKEN)) == (3, 0)


# --- RSNA: a next link to another host --------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_proxies")
def test_the_page_of_rsna_whose_next_names_another_host_ends_there(
    test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = test_data / "fhir" / "stu3" / "rsna-broker" / "bug147-bundle-dstu3.json"
    named: list[str] = []
    resolve = socket.getaddrinfo

    def noted(host: str, *rest: Any, **more: Any) -> Any:
        named.append(host)
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    with serving(answers(reply(200))) as proxy, file_server(lambda *_: file.read_bytes()) as server:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        base = f"http://127.0.0.1:{server.server_port}/baseDstu2"
        with signing(base) as client:
            pages = search(client, base, "Patient", {"_id": "1702"})
            assert received([next(pages)]) == counted(file)
            with pytest.raises(OriginRefused, match=r"fhirtest\.uhn\.ca"):
                next(pages)
    assert len(counted(file)) == 11
    assert (server.asked, server.tokens) == (["/baseDstu2/Patient?_id=1702"], 1)
    assert (set(named), proxy.requests) == ({"127.0.0.1"}, [])
