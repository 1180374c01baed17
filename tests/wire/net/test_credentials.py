"""The token goes to the servers it is meant for, and to nobody else, whatever redirects and environments say."""

from __future__ import annotations

import logging
import pickle
import socket
import threading
import traceback
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from s4s_lab.errors import GrantExpired, OriginRefused, S4SError, UnexpectedAnswer, UsageError
from s4s_lab.net import HttpClient, Patience
from s4s_lab.values.origins import origin_of
from tests.wire.net.conftest import server_context
from tests.wire.net.servers import Request, Script, Server, answers, reply, serving

TOKEN = "canary-7f31c0ffee"
KEY = "canary-key-90b1"
PATIENT = "canary-patient-4711"
NEW_TOKEN = reply(200, body=b'{"access_token": "new"}')
ONCE = Patience(budget_s=0)


class Signed(httpx2.Auth):
    """Signs with a header that every library knows and one that none does."""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        request.headers["X-Api-Key"] = KEY
        yield request


def signing(*origins: str, auth: httpx2.Auth | None = None) -> HttpClient:
    """Open a client that signs requests to these origins."""
    return HttpClient(
        auth=auth or Signed(), auth_origins=frozenset(origin_of(origin) for origin in origins), patience=ONCE
    )


def moved(status: int, location: str) -> Script:
    return answers(reply(status, f"Location: {location}"))


def test_requests_to_allowed_origins_are_signed_and_no_others() -> None:
    with serving(answers(reply(200))) as ours, serving(answers(reply(200))) as other, signing(ours.url) as client:
        for server in (ours, other):
            client.get(f"{server.url}/x", accept="*/*")
            with client.stream(f"{server.url}/x", accept="*/*"):
                pass
    assert (ours.seen(TOKEN), other.seen(TOKEN), len(other.requests)) == (2, 0, 2)


def test_posts_are_never_signed() -> None:
    with serving(answers(reply(200))) as server, signing(server.url) as client:
        client.post_form(server.url, {"a": "b"}, headers={"Authorization": "Basic eDp5"})
        client.post_json(server.url, {})
    assert server.seen(TOKEN) == 0
    assert server.requests[0].headers["authorization"] == "Basic eDp5"
    assert server.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert server.requests[1].headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_port_leaves_the_credentials_behind(status: int) -> None:
    with (
        serving(answers(reply(200, body=b"there"))) as other,
        serving(moved(status, f"{other.url}/landing")) as ours,
        signing(ours.url, other.url) as client,
    ):
        answer = client.get(f"{ours.url}/ImagingStudy?patient=p", accept="application/json")
        with client.stream(f"{ours.url}/studies/1.2", accept="*/*") as stream:
            assert b"".join(stream.chunks()) == b"there"
    assert (answer.body, answer.url) == (b"there", f"{other.url}/landing")
    assert (ours.seen(TOKEN), other.seen(TOKEN), other.seen(KEY), len(other.requests)) == (2, 0, 0, 2)


def test_credentials_left_behind_do_not_come_back() -> None:
    def home(request: Request, connection: socket.socket) -> None:
        connection.sendall(reply(200) if request.target == "/end" else reply(302, f"Location: {away.url}/"))

    def abroad(_: Request, connection: socket.socket) -> None:
        connection.sendall(reply(302, f"Location: {ours.url}/end"))

    with serving(home) as ours, serving(abroad) as away, signing(ours.url, away.url) as client:
        assert client.get(f"{ours.url}/start", accept="*/*").status == 200
    assert [TOKEN in str(request.headers) for request in ours.requests] == [True, False]
    assert away.seen(TOKEN) == 0


def test_a_redirect_at_home_keeps_the_credentials() -> None:
    script = answers(reply(307, "Location: ../fhir/Patient"), reply(200))
    with serving(script) as server, signing(server.url) as client:
        assert client.get(f"{server.url}/base/Patient", accept="*/*").url == f"{server.url}/fhir/Patient"
    assert [request.target for request in server.requests] == ["/base/Patient", "/fhir/Patient"]
    assert server.seen(TOKEN) == 2


def test_redirects_without_end_end() -> None:
    with (
        serving(moved(302, "/again")) as server,
        signing(server.url) as client,
        pytest.raises(UnexpectedAnswer, match="redirects more than 3 times"),
    ):
        client.get(f"{server.url}/x?patient={PATIENT}", accept="*/*")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:1/", "http://user@127.0.0.1:1/", "ftp://127.0.0.1/", "https://[::1", "//169.254.169.254/latest",
     "https://127.0.0.1:99999/", "http://ehr.example/", "file:///etc/passwd"],
)  # fmt: skip
def test_a_redirect_out_of_encryption_or_out_of_the_web_is_not_followed(location: str, authority: trustme.CA) -> None:
    context = server_context(authority, "127.0.0.1")
    with (
        serving(moved(302, location), context=context) as server,
        signing(server.url) as client,
        pytest.raises(OriginRefused) as caught,
    ):
        client.get(f"{server.url}/x?patient={PATIENT}", accept="*/*")
    assert len(server.requests) == 1
    assert PATIENT not in str(caught.value)


def test_posts_are_never_redirected() -> None:
    with serving(answers(reply(200))) as other, serving(moved(307, other.url)) as server, HttpClient() as client:
        answer = client.post_form(server.url, {"refresh_token": TOKEN})
    assert (answer.status, len(other.requests)) == (307, 0)


class Renewing(httpx2.Auth):
    """Renews at another server when refused, and reads every answer whole."""

    requires_response_body = True

    def __init__(self, token_url: str) -> None:
        self.token_url = token_url
        self.renewed = ""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = "Bearer old"
        response = yield request
        if response.status_code == 401:
            renewal = yield httpx2.Request("POST", self.token_url, data={"grant_type": "refresh_token"})
            self.renewed = renewal.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self.renewed}"
            if (yield request).status_code == 401:
                raise GrantExpired("Refused twice.")


@contextmanager
def renewing(token_answer: bytes, script: Script) -> Iterator[tuple[Server, Server, HttpClient]]:
    """Serve an issuer of tokens and a server of records, and open a client that knows both."""
    with (
        serving(answers(token_answer)) as issuer,
        serving(script) as ours,
        signing(ours.url, auth=Renewing(issuer.url)) as client,
    ):
        yield issuer, ours, client


def test_an_auth_flow_may_renew_and_repeat() -> None:
    script = answers(reply(401), reply(200, body=b"x" * (2 << 20)))
    with renewing(NEW_TOKEN, script) as (issuer, ours, client):
        assert len(client.get(ours.url, accept="*/*").body) == 2 << 20
    assert [request.headers["authorization"] for request in ours.requests] == ["Bearer old", "Bearer new"]
    assert [(request.method, request.body) for request in issuer.requests] == [("POST", b"grant_type=refresh_token")]


def test_an_auth_flow_does_not_read_a_stream_before_the_caller_does() -> None:
    opened = threading.Event()

    def script(_: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 3\r\n\r\n")
        connection.sendall(b"yes" if opened.wait(3) else b"late")

    with renewing(NEW_TOKEN, script) as (_, ours, client), client.stream(ours.url, accept="*/*") as stream:
        opened.set()
        assert b"".join(stream.chunks()) == b"yes"


def test_what_an_auth_flow_raises_reaches_the_caller() -> None:
    with renewing(NEW_TOKEN, answers(reply(401))) as (_, ours, client), pytest.raises(GrantExpired):
        client.get(ours.url, accept="*/*")


def test_a_renewal_without_end_is_cut_off() -> None:
    endless = reply(200, body=b" " * (2 << 20))
    with (
        renewing(endless, answers(reply(401))) as (_, ours, client),
        pytest.raises(UnexpectedAnswer, match="more than"),
    ):
        client.get(ours.url, accept="*/*")


def test_a_renewal_never_leaves_encryption() -> None:
    with (
        serving(answers(reply(401))) as ours,
        signing(ours.url, auth=Renewing("http://ehr.example/token")) as client,
        pytest.raises(UsageError, match="not encrypted"),
    ):
        client.get(ours.url, accept="*/*")


def test_threads_may_share_a_client() -> None:
    def echo(request: Request, connection: socket.socket) -> None:
        connection.sendall(reply(200, body=request.target.encode()))

    with serving(echo) as server, signing(server.url) as client, ThreadPoolExecutor(8) as pool:
        asked = [f"{server.url}/{number}" for number in range(80)]
        bodies = pool.map(lambda url: client.get(url, accept="*/*").body.decode(), asked)
        assert [f"{server.url}{body}" for body in bodies] == asked
    assert server.seen(TOKEN) == 80


def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {TOKEN}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(answers(reply(200))) as server, HttpClient() as client:
        client.get(server.url, accept="*/*")
    assert "authorization" not in server.requests[0].headers


def test_cookies_are_not_kept() -> None:
    with serving(answers(reply(200, f"Set-Cookie: session={TOKEN}"))) as server, HttpClient() as client:
        client.get(server.url, accept="*/*")
        client.get(server.url, accept="*/*")
    assert server.seen(TOKEN) == 0


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, f"Location: /fhir?patient={PATIENT}", f"Set-Cookie: {PATIENT}"),
        f"{PATIENT}\r\n\r\n".encode(),
        reply(302, f"Location: /fhir?patient={PATIENT}"),
    ],
    ids=["answered", "garbled", "redirected"],
)
def test_neither_logs_nor_errors_hold_a_token_or_a_patient(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "httpx2", "httpcore2", "httpcore2.http11", "httpcore2.connection"):
        caplog.set_level(logging.DEBUG, logger=name)
    said = ""
    with serving(answers(answer)) as server, signing(server.url) as client:
        try:
            client.get(f"{server.url}/fhir/Patient/{PATIENT}?patient={PATIENT}", accept="*/*")
        except S4SError as error:
            said = "".join(traceback.format_exception(error)) + repr(error)
    for canary in (PATIENT, TOKEN, KEY):
        assert canary not in caplog.text + said


def test_a_client_with_credentials_cannot_be_pickled_or_shown() -> None:
    with signing("https://ehr.example") as client:
        assert TOKEN not in repr(client)
        with pytest.raises(TypeError):
            pickle.dumps(client)


def test_an_address_with_a_user_name_is_refused() -> None:
    with HttpClient() as client, pytest.raises(UsageError) as caught:
        client.get("https://user:canary@ehr.example/fhir", accept="*/*")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://ehr.example/fhir", "ehr.example/fhir", "ftp://ehr.example", "https://", ""])
def test_what_is_no_encrypted_web_address_is_refused(url: str) -> None:
    with HttpClient() as client:
        with pytest.raises(UsageError):
            client.get(url, accept="*/*")
        with pytest.raises(UsageError):
            client.post_form(url, {})
