"""Proxies, certificates and addresses: what the environment says is done, where nobody should go is refused."""

from __future__ import annotations

import base64
import socket
from pathlib import Path

import pytest
import trustme

from s4s_lab.errors import NotReachable, OriginRefused, UsageError
from s4s_lab.net import HttpClient, Limits, Patience
from s4s_lab.net.backend import leads_astray
from s4s_lab.values.origins import origin_of
from tests.wire.net.conftest import server_context
from tests.wire.net.servers import answers, reply, serving, tunnel_to

ONCE = Patience(budget_s=0)
ANY = "0.0.0.0"  # noqa: S104  nothing is bound to it here


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_of_the_environment_is_used(
    variable: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = server_context(authority, "ehr.example")
    with serving(answers(reply(200, body=b"far")), context=context) as far, serving(tunnel_to(far.port)) as proxy:
        monkeypatch.setenv(variable, f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        with HttpClient(patience=ONCE) as client:
            assert client.get("https://ehr.example/fhir?patient=secret-id", accept="*/*").body == b"far"
    assert (proxy.requests[0].method, proxy.requests[0].target) == ("CONNECT", "ehr.example:443")
    credentials = base64.b64encode(b"user:p@ss").decode()
    assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {credentials}"
    assert far.requests[0].target == "/fhir?patient=secret-id"
    assert "proxy-authorization" not in far.requests[0].headers


@pytest.mark.usefixtures("no_proxies")
def test_loopback_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answers(reply(200))) as proxy, serving(answers(reply(200, body=b"near"))) as near:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        with HttpClient(patience=ONCE) as client:
            assert client.get(near.url, accept="*/*").body == b"near"
            assert client.get(f"http://localhost:{near.port}", accept="*/*").body == b"near"
    assert proxy.requests == []


@pytest.mark.usefixtures("no_proxies")
def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answers(reply(200))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", ".invalid")
        with HttpClient(patience=ONCE) as client, pytest.raises(NotReachable, match="name is not known"):
            client.get("https://ehr.invalid/fhir", accept="*/*")
    assert proxy.requests == []


@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_refuses_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answers(reply(407))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary@127.0.0.1:{proxy.port}")
        with HttpClient(patience=ONCE) as client, pytest.raises(NotReachable, match=r"proxy.*407") as caught:
            client.get("https://ehr.example/fhir?patient=secret-id", accept="*/*")
    assert "canary" not in str(caught.value)
    assert "secret-id" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://127.0.0.1:port"])
@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_cannot_be_used_is_said_so(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with HttpClient(patience=ONCE) as client, pytest.raises(UsageError, match="HTTPS_PROXY"):
        client.get("https://ehr.example/fhir", accept="*/*")


def test_a_trusted_certificate_is_accepted(authority: trustme.CA) -> None:
    context = server_context(authority, "127.0.0.1")
    with serving(answers(reply(200)), context=context) as server, HttpClient(patience=ONCE) as client:
        assert client.get(server.url, accept="*/*").status == 200


@pytest.mark.parametrize("case", ["unknown authority", "another name", "no TLS"])
def test_a_wrong_certificate_is_refused(case: str, authority: trustme.CA) -> None:
    issuer = trustme.CA() if case == "unknown authority" else authority
    context = server_context(issuer, "other.example" if case == "another name" else "127.0.0.1")
    with (
        serving(answers(reply(200)), context=None if case == "no TLS" else context) as server,
        HttpClient(patience=ONCE, limits=Limits(connect_s=0.5)) as client,
        pytest.raises(NotReachable) as caught,
    ):
        client.get(f"https://127.0.0.1:{server.port}/", accept="*/*")
    assert server.requests == []
    assert "_ssl.c" not in str(caught.value)


def test_certificates_that_cannot_be_read_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with HttpClient(patience=ONCE) as client, pytest.raises(UsageError, match="SSL_CERT_FILE"):
        client.get("https://127.0.0.1:1/", accept="*/*")


@pytest.mark.parametrize(
    ("address", "astray"),
    [("169.254.169.254", True), (ANY, True), ("::", True), ("fe80::1", True), ("::ffff:169.254.169.254", True),
     ("224.0.0.1", True), ("127.0.0.1", False), ("10.0.0.7", False), ("192.0.2.1", False), ("2001:db8::1", False)],
)  # fmt: skip
def test_addresses_that_no_server_has_are_known(address: str, astray: bool) -> None:
    assert leads_astray(address) is astray


@pytest.mark.parametrize(
    ("address", "astray"),
    [("127.0.0.1", True), ("10.0.0.7", True), ("172.16.0.1", True), ("192.168.1.1", True), ("100.100.100.200", True),
     ("::1", True), ("fd00:ec2::254", True), ("64:ff9b::a9fe:a9fe", True), ("::ffff:10.0.0.1", True),
     ("93.184.216.34", False), ("2606:2800:220:1:248:1893:25c8:1946", False), ("64:ff9b::5db8:d822", False)],
)  # fmt: skip
def test_what_lies_inside_is_no_place_for_a_server_outside_to_name(address: str, astray: bool) -> None:
    assert leads_astray(address, from_outside=True) is astray


@pytest.mark.parametrize(("home", "led"), [("93.184.216.34", False), ("10.1.2.3", True), ("127.0.0.1", True)])
@pytest.mark.usefixtures("no_proxies")
def test_only_a_server_of_this_network_may_name_another_one_of_it(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, home: str, led: bool
) -> None:
    resolve = socket.getaddrinfo
    places = {"ehr.example": home, "archive.example": "127.0.0.1"}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **named: resolve(places.get(host, host), *rest, **named)
    )
    with serving(answers(reply(200)), context=server_context(authority, "archive.example")) as server:
        url = f"https://archive.example:{server.port}/studies/1.2.3"
        with HttpClient(auth_origins=frozenset({"https://ehr.example:443"}), patience=ONCE) as client:
            if led:
                assert client.get(url, accept="*/*").status == 200
            else:
                with pytest.raises(OriginRefused, match="no server of records"):
                    client.get(url, accept="*/*")
        # The user's own word for an origin is enough.
        allowed = frozenset({"https://ehr.example:443", f"https://archive.example:{server.port}"})
        with HttpClient(auth_origins=allowed, patience=ONCE) as client:
            assert client.get(url, accept="*/*").status == 200


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", ANY, "[fe80::1]"])
@pytest.mark.usefixtures("no_proxies")
def test_nobody_is_led_to_an_address_that_no_server_has(host: str) -> None:
    with HttpClient(patience=ONCE) as client:
        with pytest.raises(OriginRefused, match="no server"):
            client.get(f"https://{host}/latest/meta-data?x=y", accept="*/*")
        with pytest.raises(OriginRefused), client.stream(f"https://{host}/", accept="*/*"):
            pass


@pytest.mark.usefixtures("no_proxies")
def test_the_users_own_server_may_have_any_address(authority: trustme.CA) -> None:
    with serving(answers(reply(200)), context=server_context(authority, ANY), host=ANY) as server:
        with HttpClient(auth_origins=frozenset({origin_of(server.url)}), patience=ONCE) as client:
            assert client.get(server.url, accept="*/*").status == 200
        with HttpClient(patience=ONCE) as client, pytest.raises(OriginRefused):
            client.get(server.url, accept="*/*")
    assert len(server.requests) == 1


@pytest.mark.usefixtures("no_proxies")
def test_the_address_that_was_checked_is_the_one_connected_to(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    resolve = socket.getaddrinfo

    def rebinding(host: str, *rest: object, **named: object) -> object:
        if host == "ehr.example":
            looked_up.append(host)
            host = "127.0.0.1" if len(looked_up) == 1 else "169.254.169.254"
        return resolve(host, *rest, **named)  # type: ignore[arg-type]  # passed on as it came

    with serving(answers(reply(200)), context=server_context(authority, "ehr.example")) as server:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        with HttpClient(patience=ONCE) as client:
            assert client.get(f"https://ehr.example:{server.port}/", accept="*/*").status == 200
    assert looked_up == ["ehr.example"]
