"""Starting, telling where, and stopping."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from s4s_lab import sandbox
from s4s_lab.cli.app import app as application
from s4s_lab.cli.output import run_application
from s4s_lab.errors import LaunchNotTried, LaunchRefused, NotReachable, UsageError
from tests.sandbox.app import App, query_of


class Listener(BaseHTTPRequestHandler):
    """An app's redirect URI: keeps the address it was called with."""

    seen: list[str] = []  # noqa: RUF012 - one list for every request is what is wanted

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def listening() -> Iterator[str]:
    """An app that listens; gives its redirect URI."""
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/callback"
        server.shutdown()
        thread.join()


def test_it_starts_fast_and_answers_at_once(http: httpx2.Client) -> None:
    begun = time.monotonic()
    with sandbox.start() as server:
        assert http.get(f"{server.fhir_url}/metadata").status_code == 200
        assert time.monotonic() - begun < 1.5
        assert server.fhir_url == server.wado_url.replace("/wado", "/fhir")
        assert server.fhir_url.startswith("http://127.0.0.1:")


def test_it_stops_and_frees_its_port(http: httpx2.Client) -> None:
    with sandbox.start() as server:
        port = int(server.fhir_url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(httpx2.ConnectError):
        http.get(f"{server.fhir_url}/metadata")
    with sandbox.start(port=port) as again:
        assert again.fhir_url == server.fhir_url
    again.stop()


def test_it_listens_on_this_machine_only(http: httpx2.Client) -> None:
    with sandbox.start() as server:
        port = int(server.fhir_url.rpartition(":")[2].partition("/")[0])
        for address in {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), port)} - {"127.0.0.1"}:
            with socket.socket() as probe:
                assert probe.connect_ex((str(address), port)) != 0


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port}: address already in use\. Choose another port"):
            sandbox.start(port=port)


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("192.0.2.1", 0), ("a" * 70, 0)])
def test_an_address_that_is_none_is_told_in_a_sentence(host: str, port: int) -> None:
    with pytest.raises(UsageError, match=host):
        sandbox.start(host=host, port=port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_number_that_is_no_port_is_told_in_a_sentence(port: int) -> None:
    with pytest.raises(UsageError, match=f"{port} is no port"):
        sandbox.start(port=port)


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no profile 'rsna'\. Known profiles: s4s"):
        sandbox.start(profile="rsna")


def test_a_link_without_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="link file"):
        sandbox.start(link=tmp_path / "link.json")


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_missing_dependencies_are_named_with_the_command_that_installs_them(name: str) -> None:
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "from s4s_lab import sandbox\n"
        "from s4s_lab.errors import UsageError\n"
        "try:\n    sandbox.start()\n"
        "except UsageError as error:\n    sys.stdout.write(str(error))\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told == f'The sandbox needs {name}, which is not installed. Install it with: pip install "s4s-lab[sandbox]".'


def test_importing_it_loads_no_server() -> None:
    heavy = "{'starlette', 'uvicorn', 'numpy', 'pydicom'}"
    code = f"import sys, s4s_lab.sandbox; sys.exit(not {heavy}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_its_repr_is_the_same_from_run_to_run() -> None:
    with sandbox.start() as first, sandbox.start() as second:
        assert repr(first) == repr(second) == "<Sandbox: profile s4s, 4 participants, 22 imaging studies>"


def test_what_it_says_of_itself_is_what_the_ready_file_holds() -> None:
    with sandbox.start(redirect_uri="http://127.0.0.1:9999/back") as server:
        ready = server.ready()
        assert list(ready) == ["fhir_url", "wado_url", "registration", "participants"]
        assert list(ready["registration"]) == ["client_id", "client_secret", "redirect_uri", "scope"]
        assert ready["registration"]["redirect_uri"] == "http://127.0.0.1:9999/back"
        assert ready["registration"]["scope"] == "patient/*.read launch/patient offline_access"
        assert [list(one) for one in ready["participants"]] == [["patient_id", "name"]] * 4
        assert ready["registration"]["client_secret"] not in repr(server.registration)


def until(path: Path, process: subprocess.Popen[bytes]) -> dict[str, object]:
    """The content of a ready-file, once it is there; whatever is there must be complete."""
    for _ in range(600):
        assert process.poll() is None
        if path.exists():
            content: dict[str, object] = json.loads(path.read_text())
            return content
        time.sleep(0.05)
    raise AssertionError("the ready-file did not appear")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_serve_tells_where_it_is_and_ends_when_asked(
    tmp_path: Path, http: httpx2.Client, ending: signal.Signals
) -> None:
    ready_file = tmp_path / "ready.json"
    ready_file.write_text("stale")
    code = f"import pathlib; from s4s_lab import sandbox; sandbox.serve(ready_file=pathlib.Path({str(ready_file)!r}))"
    # Whatever runs the tests may ignore interrupts, and children inherit that.
    start = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {code}"
    process = subprocess.Popen([sys.executable, "-c", start])
    try:
        while ready_file.exists() and ready_file.read_text() == "stale":
            assert process.poll() is None
            time.sleep(0.02)
        ready = until(ready_file, process)
        assert stat.S_IMODE(ready_file.stat().st_mode) == 0o600
        assert http.get(f"{ready['fhir_url']}/metadata").status_code == 200
        os.kill(process.pid, ending)
        assert process.wait(20) == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.wait()


def test_a_ready_file_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ready-file .* cannot be written: no such file or directory"):
        sandbox.serve(ready_file=tmp_path / "missing" / "ready.json")


def test_approve_acts_as_the_browser_and_returns_to_the_app(http: httpx2.Client) -> None:
    with listening() as redirect_uri, sandbox.start(redirect_uri=redirect_uri) as server:
        app = App(server, http)
        for choice in (1, server.participants[1].patient_id, server.participants[1].name):
            Listener.seen.clear()
            server.approve(app.authorize_url(), choice)
            assert len(Listener.seen) == 1
            told = query_of(Listener.seen[0])
            assert app.exchange(told["code"]).json()["patient"] == server.participants[1].patient_id
        server.deny(app.authorize_url())
        assert query_of(Listener.seen[-1])["error"] == "access_denied"


def test_approve_tells_what_is_wrong(app: App) -> None:
    with pytest.raises(UsageError, match=r"no participant 9\. Choose by position \(0 to 3\)"):
        app.server.approve(app.authorize_url(), 9)
    with pytest.raises(UsageError, match="no participant 'nobody'"):
        app.server.change("nobody")
    with pytest.raises(LaunchRefused, match="HTTP 400"):
        app.server.approve(app.authorize_url(client_id="no-such-app"))
    with pytest.raises(LaunchNotTried, match="does not listen at 127"):
        app.server.approve(app.authorize_url())
    with pytest.raises(NotReachable):
        app.server.approve("http://127.0.0.1:9/oauth/authorize")


def test_a_slow_reader_does_not_keep_others_waiting(app: App) -> None:
    port = int(app.root.rpartition(":")[2])
    with socket.socket() as idle, socket.socket() as slow:
        for one in (idle, slow):
            one.connect(("127.0.0.1", port))
        slow.sendall(b"GET /fhir/metadata HTTP/1.1\r\nHost: 127.")
        begun = time.monotonic()
        assert app.http.get(f"{app.server.fhir_url}/metadata").status_code == 200
        assert time.monotonic() - begun < 1


def test_a_body_that_is_too_large_is_refused(app: App) -> None:
    answered = app.http.post(f"{app.root}/oauth/register", content=b"x" * (1 << 20 | 1))
    assert answered.status_code == 413


def test_the_command_passes_on_how_slow_the_archive_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr("s4s_lab.sandbox.serve", given.update)
    assert run_application(application, ["sandbox", "--retrieve-s", "2.5"]) == 0
    assert given["retrieve_s"] == 2.5
