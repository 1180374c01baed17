"""A whole launch and a renewal where the way out is a proxy and the certificates are a hospital's own."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from s4s_lab.connection import Connection, prepare_launch
from s4s_lab.errors import NotReachable
from tests.wire.net.servers import Server, serving, tunnel_to
from tests.wire.smart.server import CLIENT_SECRET, PATIENT, Asked, SmartServer

HOST = "https://ehr.example"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return authority


@pytest.fixture
def far(authority: trustme.CA) -> Iterator[SmartServer]:
    """A server of another name, encrypted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("ehr.example").configure_cert(context)
    with SmartServer(context=context, origin=HOST) as far:
        yield far


@pytest.fixture
def proxy(far: SmartServer) -> Iterator[Server]:
    with serving(tunnel_to(far.port)) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "S4S_PROXY", "S4S_CA_FILE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _launched(far: SmartServer) -> Connection:
    pending = prepare_launch(far.fhir_url, far.registration, capture="paste")
    query = dict(parse_qsl(urlsplit(pending.authorize_url).query))
    return pending.answer(far.answer(Asked("GET", "/authorize", query, {}, {})).headers["Location"])


@pytest.mark.parametrize("names", [("S4S_PROXY", "S4S_CA_FILE"), ("HTTPS_PROXY", "SSL_CERT_FILE")])
def test_launch_and_renewal_go_through_the_proxy_and_trust_the_own_authority(
    far: SmartServer, proxy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    monkeypatch.setenv(names[0], proxy.url)
    monkeypatch.setenv(names[1], str(tmp_path / "authority.pem"))
    link = _launched(far)
    far.access_tokens.clear()
    with link.client() as client:
        assert client.get(f"{link.fhir_url}/Patient/{PATIENT}", accept="application/json").status == 200
    assert len(far.asked_for("/token")) == 2
    assert {(request.method, request.target) for request in proxy.requests} == {("CONNECT", "ehr.example:443")}
    assert [
        proxy.seen(secret) for secret in ("s4s_sandbox_access_1", "s4s_sandbox_refresh_1", CLIENT_SECRET, "Basic")
    ] == [0] * 4


def test_an_authority_that_nobody_named_is_not_trusted(
    far: SmartServer, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S4S_PROXY", proxy.url)
    with pytest.raises(NotReachable, match="certificate"):
        _launched(far)
    assert far.asked == []


def test_the_setting_of_our_own_goes_before_the_general_one(
    far: SmartServer, proxy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S4S_CA_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setenv("S4S_PROXY", proxy.url)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert _launched(far).patient_id == PATIENT


def test_this_machine_is_reached_without_any_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        near = stack.enter_context(SmartServer())
        proxy = stack.enter_context(serving(tunnel_to(near.port)))
        monkeypatch.setenv("S4S_PROXY", proxy.url)
        assert _launched(near).patient_id == PATIENT
        assert proxy.requests == []
