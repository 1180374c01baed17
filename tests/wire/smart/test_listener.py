"""The redirect listener: the registered address to the letter, strangers and slow clients kept off."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from s4s_lab.errors import LaunchNotTried, LaunchRefused, S4SError, UsageError
from s4s_lab.smart import Launch, RedirectListener, SmartConfiguration, begin_launch
from s4s_lab.smart.refusals import without_state
from s4s_lab.values import Registration
from tests.wire.smart.browser import visit

CONFIGURATION = SmartConfiguration(
    "http://127.0.0.1:1/fhir", "http://127.0.0.1:1/authorize", "http://127.0.0.1:1/token"
)


class Caught:
    """A launch, and the answers that a listener handed over for it."""

    def __init__(self, redirect_uri: str) -> None:
        self.launch: Launch = begin_launch(CONFIGURATION, Registration("app", redirect_uri=redirect_uri))
        self.answers: list[str] = []
        self.result: S4SError | None = None
        self.listener = RedirectListener(redirect_uri)
        self.listener.listen(self.launch, self._take)

    @property
    def good(self) -> str:
        return f"{self.launch.registration.redirect_uri}?code=c0de&state={self.launch.state.reveal()}"

    def _take(self, answer: str) -> S4SError | None:
        self.answers.append(answer)
        return self.result


@pytest.fixture
def caught(free_redirect_uri: str) -> Iterator[Caught]:
    caught = Caught(free_redirect_uri)
    with caught.listener:
        yield caught


@pytest.mark.clause("S4S-3")
def test_the_start_address_leads_to_the_server(caught: Caught) -> None:
    page = visit(caught.listener.start_url)
    assert (page.status, page.headers["location"]) == (302, caught.launch.authorize_url)
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")


def test_a_good_answer_is_handed_over_and_the_page_sends_back_to_where_one_began(caught: Caught) -> None:
    page = visit(caught.good)
    assert page.status == 200
    assert len(caught.answers) == 1
    assert "go back to where you began" in page.body
    assert "c0de" not in page.body
    assert caught.launch.state.reveal() not in page.body
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_page_says_what_went_wrong_and_escapes_it(caught: Caught) -> None:
    caught.result = LaunchRefused("The <b>server</b> refuses.", error="invalid_client", hint="Check it.")
    page = visit(caught.good)
    assert "The &lt;b&gt;server&lt;/b&gt; refuses." in page.body
    assert "Check it." in page.body


def test_a_denial_has_a_page_of_its_own(caught: Caught) -> None:
    caught.result = LaunchRefused("no", error="access_denied")
    assert "Nothing was shared" in visit(caught.good).body


def test_wrong_states_and_strange_visits_do_not_end_the_wait(caught: Caught) -> None:
    base = caught.launch.registration.redirect_uri
    assert visit(f"{base}?code=c&state=forged").status == 404
    assert visit(f"{base}?error=access_denied&state=forged").status == 404
    assert visit(base).status == 400
    assert visit(base.replace("/callback", "/favicon.ico")).status == 404
    assert visit(base.replace("/callback", "/start-guess")).status == 404
    assert caught.answers == []
    assert visit(caught.good).status == 200
    assert len(caught.answers) == 1


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    {"Origin": "null", "Sec-Fetch-Mode": "cors"},
    {"Origin": "http://127.0.0.1:1.evil.example"},
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Mode": "websocket"},
]
OWN = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Origin": "null", "Sec-Fetch-Mode": "navigate"},
    {"Origin": "http://127.0.0.1:1"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_what_another_page_asks_for_is_refused(caught: Caught, headers: dict[str, str]) -> None:
    callback = caught.launch.registration.redirect_uri
    for url in (
        caught.good,
        caught.listener.start_url,
        f"{callback}?error=server_error",
        f"{callback}?error=x&state=y",
    ):
        assert visit(url, headers=headers).status == 403
    assert caught.answers == []


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_a_browser_that_goes_along_the_launch_is_let_in(caught: Caught, headers: dict[str, str]) -> None:
    assert visit(caught.listener.start_url, headers=headers).status == 302
    assert visit(caught.good, headers=headers).status == 200


def test_an_error_without_a_state_has_a_page_that_quotes_nothing(caught: Caught) -> None:
    caught.result = without_state("access_denied")
    page = visit(f"{caught.launch.registration.redirect_uri}?error=access_denied&error_description=call+555")
    assert len(caught.answers) == 1
    assert "error without state: access_denied" in page.body
    assert "Launch again if that was you" in page.body
    assert "555" not in page.body


def test_only_get_is_answered(caught: Caught) -> None:
    page = visit(caught.good, method="POST")
    assert (page.status, page.headers["allow"]) == (405, "GET")
    assert visit(caught.good, method="HEAD").status == 405
    assert caught.answers == []


@pytest.mark.parametrize("host", ["evil.example", "localhost:{port}", "127.0.0.1", "127.0.0.1:{port}.evil.example"])
def test_another_host_name_is_refused(caught: Caught, host: str) -> None:
    port = urlsplit(caught.good).port
    assert visit(caught.good, host=host.format(port=port)).status == 421
    assert visit(caught.listener.start_url, host=host.format(port=port)).status == 421
    assert caught.answers == []


def test_behind_a_jupyter_proxy_only_the_public_name_is_served(free_redirect_uri: str) -> None:
    port = urlsplit(free_redirect_uri).port
    public = f"https://hub.example/user/ann/proxy/{port}"
    caught = Caught(f"{public}/callback")
    here = caught.good.replace(public, f"http://127.0.0.1:{port}")
    with caught.listener:
        assert caught.listener.start_url.startswith(f"{public}/start-")
        start = caught.listener.start_url.replace(public, f"http://127.0.0.1:{port}")
        assert visit(start, host="hub.example").headers["location"] == caught.launch.authorize_url
        assert visit(here).status == 421  # a page that names this machine itself is not the proxy
        assert visit(here, host="evil.example").status == 421
        assert caught.answers == []
        assert visit(here, host="hub.example:443").status == 200
    assert len(caught.answers) == 1


def _raw(caught: Caught, request: bytes) -> bytes:
    port = urlsplit(caught.good).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request)
        return sock.makefile("rb").readline()


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /callback?" + b"a" * 9000 + b" HTTP/1.1",
        b"GET http://127.0.0.1/ HTTP/1.1",
        b"GET /callback",
        b"\x16\x03\x01",
    ],
)
def test_a_malformed_or_overlong_request_line_is_a_bad_request(caught: Caught, request_line: bytes) -> None:
    host = urlsplit(caught.good).netloc.encode()
    assert b" 400 " in _raw(caught, request_line + b"\r\nHost: " + host + b"\r\n\r\n")


def test_two_host_headers_are_a_bad_request(caught: Caught) -> None:
    host = urlsplit(caught.good).netloc.encode()
    assert b" 400 " in _raw(caught, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nhost: evil\r\n\r\n")


def test_endless_headers_are_cut_off(caught: Caught) -> None:
    assert b" 431 " in _raw(caught, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 7000)


def test_a_hundred_silent_clients_do_not_keep_the_answer_out(caught: Caught) -> None:
    port = urlsplit(caught.good).port
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
    try:
        for sock in silent:
            sock.sendall(b"GET /callback?code=")
        began = time.monotonic()
        assert visit(caught.good).status == 200
        assert time.monotonic() - began < 1.0
    finally:
        for sock in silent:
            sock.close()


def _closed_within(sock: socket.socket, seconds: float) -> bool:
    sock.settimeout(seconds)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_of_many_silent_clients_the_oldest_are_cut_off_at_once(caught: Caught) -> None:
    port = urlsplit(caught.good).port
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(200)]
    try:
        assert all(_closed_within(sock, 2.0) for sock in silent[:136])
        assert not any(_closed_within(sock, 0.001) for sock in silent[136:])
        assert visit(caught.good).status == 200
    finally:
        for sock in silent:
            sock.close()


@pytest.mark.parametrize("said", [b"", b"GET /callback?code=c HTTP/1.1\r\n"])
def test_a_client_that_falls_silent_is_cut_off_in_time(caught: Caught, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(caught.good).port or 0), timeout=10) as sock:
        sock.sendall(said)
        began = time.monotonic()
        assert _closed_within(sock, 15.0)
        assert 4.0 < time.monotonic() - began < 12.0


def test_only_the_one_loopback_address_listens(caught: Caught) -> None:
    # Whatever listens on all addresses of a machine answers on this one too.
    with pytest.raises(OSError):  # noqa: PT011  # refused on Linux, unreachable on macOS: the type says enough
        socket.create_connection(("127.0.0.2", urlsplit(caught.good).port or 0), timeout=2).close()


def test_a_taken_port_is_named_with_what_to_do(free_redirect_uri: str) -> None:
    port = urlsplit(free_redirect_uri).port
    assert port is not None
    said = f"Port {port} .*used by another program"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(LaunchNotTried, match=said) as caught:
        RedirectListener(free_redirect_uri)
    assert "redirect URI with another port" in caught.value.hint
    assert "redirect_uri=" in caught.value.hint
    assert "--redirect-port" in caught.value.hint


def test_launches_of_one_process_share_a_port(free_redirect_uri: str) -> None:
    first, second = Caught(free_redirect_uri), Caught(free_redirect_uri)
    with first.listener, second.listener:
        assert visit(second.listener.start_url).headers["location"] == second.launch.authorize_url
        assert visit(first.listener.start_url).headers["location"] == first.launch.authorize_url
        visit(f"{free_redirect_uri}?error=access_denied")  # most likely of the newest
        assert (len(first.answers), len(second.answers)) == (0, 1)
        assert visit(first.good).status == 200
        assert (len(first.answers), len(second.answers)) == (1, 1)
        first.listener.close()
        assert visit(second.good).status == 200
    assert len(second.answers) == 2


def test_a_closed_listener_frees_its_port_at_once_and_closes_twice(free_redirect_uri: str) -> None:
    for _ in range(3):
        listener = RedirectListener(free_redirect_uri)
        listener.close()
        listener.close()
    port = urlsplit(free_redirect_uri).port
    assert port is not None
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_page_still_arrives_when_the_answer_closes_the_listener(free_redirect_uri: str) -> None:
    caught = Caught(free_redirect_uri)

    def take(answer: str) -> None:
        caught.listener.close()

    caught.listener.listen(caught.launch, take)
    assert visit(caught.good).status == 200
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(one.name.startswith("s4s redirect") for one in threading.enumerate()):
        time.sleep(0.01)
    assert not [one for one in threading.enumerate() if one.name.startswith("s4s redirect")]


@pytest.mark.parametrize(
    "redirect_uri",
    ["https://127.0.0.1:1/cb", "http://ehr.example:80/cb", "http://127.0.0.1.evil.example/cb", "http://10.0.0.1/cb"],
)
def test_a_redirect_uri_that_leads_elsewhere_is_not_listened_at(redirect_uri: str) -> None:
    with pytest.raises(UsageError, match="does not lead to this machine"):
        RedirectListener(redirect_uri)


def test_ipv6_loopback_is_served_or_said_to_be_missing() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as probe:
            port = probe.getsockname()[1]
    except OSError:
        with pytest.raises(LaunchNotTried, match="::1"):
            RedirectListener("http://[::1]:8723/callback")
        return
    caught = Caught(f"http://[::1]:{port}/callback")
    with caught.listener:
        assert visit(caught.good).status == 200
