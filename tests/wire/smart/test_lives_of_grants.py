"""Every kind of client at the reference server, from registration to the grant's end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from s4s_lab import sandbox
from s4s_lab.connection import Connection, connect, prepare_launch, reopen
from s4s_lab.errors import GrantExpired, LaunchRefused, NotDeclared, NotReachable, NotSmart, ScopeNarrowed, UsageError
from s4s_lab.sandbox import Sandbox
from s4s_lab.sandbox.browser import answer_consent
from s4s_lab.smart import EhrLaunch, jwks_of
from s4s_lab.values import PrivateKey, Registration, Secret

SCOPE = "patient/*.read launch/patient offline_access"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with sandbox.start() as server:
        yield server


@pytest.fixture
def registration(server: Sandbox, free_redirect_uri: str) -> Registration:
    return _registered(server, free_redirect_uri, token_endpoint_auth_method="client_secret_basic")


def _registered(server: Sandbox, redirect_uri: str, **metadata: object) -> Registration:
    """Register by plain HTTP, with none of the client's code."""
    root = server.fhir_url.removesuffix("/fhir")
    body = {"redirect_uris": [redirect_uri], "scope": f"{SCOPE} launch openid fhirUser"} | metadata
    answer = httpx2.post(f"{root}/oauth/register", json=body, trust_env=False).raise_for_status().json()
    secret = answer.get("client_secret")
    return Registration(answer["client_id"], Secret(secret) if secret else None, redirect_uri)


def _connected(server: Sandbox, registration: Registration, grants_file: Path | None = None) -> Connection:
    return connect(server.fhir_url, registration, show=server.approve, timeout_s=10, grants_file=grants_file)


def _status(link: Connection) -> int:
    with link.client() as client:
        return client.get(f"{link.fhir_url}/Patient/{link.patient_id}", accept="application/fhir+json").status


def _renew(link: Connection) -> None:
    link.grants.renew(link.grants.read().generation, link._renewed)


def _key(kind: str) -> PrivateKey:
    made = rsa.generate_private_key(65537, 2048) if kind == "RS384" else ec.generate_private_key(ec.SECP384R1())
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return PrivateKey(Secret(pem.decode()), key_id=f"{kind}-key")


@pytest.mark.clause("S4S-2")
@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_client_with_a_key_launches_renews_asks_and_ends(
    server: Sandbox, free_redirect_uri: str, tmp_path: Path, algorithm: str
) -> None:
    key = _key(algorithm)
    assert jwks_of(key)["keys"][0]["alg"] == algorithm
    known = _registered(server, free_redirect_uri, token_endpoint_auth_method="private_key_jwt", jwks=jwks_of(key))
    link = _connected(server, replace(known, private_key=key), tmp_path / "grants" / "one.json")
    _renew(link)
    again = reopen(tmp_path / "grants" / "one.json")
    assert again.registration.private_key == key
    assert again.introspect().active
    assert _status(again) == 200
    assert again.disconnect()


def test_another_key_is_no_proof(server: Sandbox, free_redirect_uri: str) -> None:
    jwks = jwks_of(_key("ES384"))
    known = _registered(server, free_redirect_uri, token_endpoint_auth_method="private_key_jwt", jwks=jwks)
    with pytest.raises(LaunchRefused, match="client id and secret or key") as caught:
        _connected(server, replace(known, private_key=_key("ES384")))
    assert caught.value.error == "invalid_client"


@pytest.mark.clause("S4S-16")
def test_a_public_client_returns_to_any_port_where_that_is_registered(server: Sandbox) -> None:
    known = _registered(server, "http://127.0.0.1/callback", token_endpoint_auth_method="none")
    first, second = (prepare_launch(server.fhir_url, known) for _ in range(2))
    assert first.start_url != second.start_url
    server.approve(second)
    server.approve(first)
    link = first.wait(10)
    assert second.wait(10).registration == link.registration == known
    _renew(link)
    assert _status(link) == 200


def test_a_confidential_client_keeps_its_port(server: Sandbox, registration: Registration) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        elsewhere = replace(registration, redirect_uri=f"http://127.0.0.1:{taken.getsockname()[1]}/callback")
    pending = prepare_launch(server.fhir_url, elsewhere)
    with pytest.raises(LaunchRefused, match="consent page cannot be used"):
        server.approve(pending)
    pending.close()


def test_the_server_says_what_a_token_is_good_for(server: Sandbox, registration: Registration) -> None:
    link = _connected(server, registration)
    told = link.introspect()
    assert (told.active, told.client_id, told.patient_id) == (True, registration.client_id, link.patient_id)
    assert set(told.scope.split()) == set(SCOPE.split())
    assert told.expires_at is not None
    assert abs((told.expires_at - link.grants.read().expires_at).total_seconds()) < 5


@pytest.mark.parametrize("in_file", [False, True])
def test_disconnecting_ends_the_grant_there_and_here(
    server: Sandbox, registration: Registration, tmp_path: Path, in_file: bool
) -> None:
    link = _connected(server, registration, tmp_path / "grants" / "one.json" if in_file else None)
    token = link.grants.read().access_token.reveal()
    assert (link.state, link.refreshable) == ("connected", True)
    assert link.disconnect()
    patient = f"{server.fhir_url}/Patient/{link.patient_id}"
    assert httpx2.get(patient, headers={"Authorization": f"Bearer {token}"}, trust_env=False).status_code == 401
    assert (link.state, link.refreshable, link.minutes_left) == ("ended", False, 0)
    with pytest.raises(GrantExpired):
        _status(link)
    left = {one.name: one.read_bytes() for one in tmp_path.glob("grants/*")}
    assert set(left) == ({"one.json", "one.json.lock"} if in_file else set())
    assert token.encode() not in b"".join(left.values())
    assert not link.disconnect()


def test_a_disconnection_that_the_server_does_not_answer_still_forgets(
    server: Sandbox, registration: Registration
) -> None:
    link = _connected(server, registration)
    nowhere = replace(link, configuration=replace(link.configuration, revocation_endpoint="http://127.0.0.1:9/revoke"))
    assert not nowhere.disconnect()
    assert link.state == "ended"


def test_a_server_without_these_services_is_told_apart(server: Sandbox, registration: Registration) -> None:
    link = _connected(server, registration)
    plain = replace(link.configuration, revocation_endpoint=None, introspection_endpoint=None)
    with pytest.raises(NotSmart, match="offers no introspection"):
        replace(link, configuration=plain).introspect()
    assert not replace(link, configuration=plain).disconnect()


def test_a_failed_renewal_is_seen_in_the_state(server: Sandbox, registration: Registration) -> None:
    link = _connected(server, registration)
    broken = replace(link, configuration=replace(link.configuration, token_endpoint="http://127.0.0.1:9/token"))
    with pytest.raises(NotReachable):
        _renew(broken)
    assert (link.state, type(link.renewal_error)) == ("refresh failed", NotReachable)
    _renew(link)
    assert (link.state, link.renewal_error) == ("connected", None)


def test_what_the_participant_ended_at_the_server_is_ended_here(server: Sandbox, registration: Registration) -> None:
    link = _connected(server, registration)
    for approval in server._running.grants.approvals():
        server._running.grants.end(approval.approval_id)
    with pytest.raises(GrantExpired, match="Connect again"):
        _status(link)
    assert link.state == "ended"


@pytest.mark.clause("S4S-16")
def test_an_ehr_opens_the_app_with_a_patient(server: Sandbox, registration: Registration) -> None:
    opened = EhrLaunch.from_url("http://127.0.0.1:8723/launch" + server.ehr_launch(1))
    pending = prepare_launch(opened.fhir_url, registration, launch_token=opened.token)
    assert "scope=launch+patient" in pending.authorize_url.replace("%20", "+")
    server.approve(pending, participant=1)
    link = pending.wait(10)
    assert link.patient_id == server.participants[1].patient_id
    assert _status(link) == 200


def test_an_ehr_launch_is_about_no_other_patient(server: Sandbox, registration: Registration) -> None:
    opened = EhrLaunch.from_url(server.ehr_launch(1))
    pending = prepare_launch(opened.fhir_url, registration, launch_token=opened.token)
    with pytest.raises(LaunchRefused):
        server.approve(pending, participant=0)
    pending.close()


def test_a_launch_that_no_ehr_began_is_refused(server: Sandbox, registration: Registration) -> None:
    forged = prepare_launch(server.fhir_url, registration, launch_token="forged")
    server.approve(forged)
    with pytest.raises(LaunchRefused, match="EHR launch needs"):
        forged.wait(10)


@pytest.mark.parametrize(
    "url", ["/launch", "?iss=https://e/fhir", "?launch=x", "?iss=https://e&iss=https://f&launch=x"]
)
def test_an_address_that_is_no_ehr_launch_is_said_so(url: str) -> None:
    with pytest.raises(UsageError, match="iss=… and launch=…"):
        EhrLaunch.from_url(url)


def test_an_unencrypted_ehr_is_refused() -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        EhrLaunch.from_url("?iss=http://ehr.example/fhir&launch=x")


@pytest.mark.clause("S4S-16")
def test_who_signed_in_is_known_when_that_is_asked(server: Sandbox, registration: Registration, tmp_path: Path) -> None:
    asking = replace(registration, scope=f"{SCOPE} openid fhirUser")
    link = _connected(server, asking, tmp_path / "grants" / "one.json")
    _renew(link)
    assert link.fhir_user == f"{server.fhir_url}/Patient/{link.patient_id}"
    assert link.not_granted == []
    assert _connected(server, registration).fhir_user is None


def test_a_registration_of_our_own_is_kept_per_issuer(
    server: Sandbox, free_redirect_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S4S_HOME", str(tmp_path / "home"))
    first, second = (
        connect(server.fhir_url, show=server.approve, timeout_s=10, redirect_uri=free_redirect_uri) for _ in range(2)
    )
    assert first.registration == second.registration
    kept = next((tmp_path / "home" / "clients").glob("*.json"))  # a lock lies beside it
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with sandbox.start() as other:
        elsewhere = connect(other.fhir_url, show=other.approve, timeout_s=10, redirect_uri=free_redirect_uri)
    assert elsewhere.registration.client_id != first.registration.client_id
    assert len(list(kept.parent.glob("*.json"))) == 2


def test_a_kept_registration_that_the_server_forgot_is_dropped(
    server: Sandbox, free_redirect_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S4S_HOME", str(tmp_path / "home"))
    pending = prepare_launch(server.fhir_url, redirect_uri=free_redirect_uri)
    kept = next((tmp_path / "home" / "clients").glob("*.json"))
    for forged in ("error=unauthorized_client", "error=invalid_client", "error=unauthorized_client&state=forged"):
        with pytest.raises(LaunchRefused):
            pending.answer(forged)
        assert kept.exists()
    with pytest.raises(LaunchRefused):
        pending.answer(f"error=unauthorized_client&state={pending._launch.state.reveal()}")
    assert not kept.exists()


def test_what_a_server_does_not_declare_is_said_before_anybody_is_sent(
    server: Sandbox, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = prepare_launch(server.fhir_url, registration)
    assert pending.lacks == ()
    pending.close()
    asking = replace(registration, client_secret=None, scope=f"{SCOPE} openid")
    configuration = replace(pending._launch.configuration, capabilities=frozenset({"launch-ehr"}))
    monkeypatch.setattr("s4s_lab.connection.launching.discover", lambda *_, **__: configuration)
    with pytest.warns(NotDeclared, match=r"launch-standalone.*permission-offline.*client-public.*sso-openid"):
        poor = prepare_launch(server.fhir_url, asking)
    assert len(poor.lacks) == 6
    poor.close()


def test_threads_that_disconnect_and_renew_at_once_leave_no_grant(server: Sandbox, registration: Registration) -> None:
    link = _connected(server, registration)
    failures: list[Exception] = []

    def renew() -> None:
        try:
            _renew(link)
        except GrantExpired as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for one in (renew, link.disconnect, renew)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(GrantExpired):
        link.grants.read()
    approvals = server._running.grants.approvals()
    assert [one for one in approvals if one.client_id == registration.client_id] == []


def test_a_code_lives_for_a_hundred_seconds(
    server: Sandbox, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age_s, late in ((99, False), (101, True)):
        pending = prepare_launch(server.fhir_url, replace(registration, redirect_uri=registration.redirect_uri))
        redirected = _redirected(pending.authorize_url, server.participants[0].patient_id)
        monkeypatch.setattr(server._running.grants, "now", lambda age=age_s: time.time() + age)
        if late:
            with pytest.raises(LaunchRefused, match=r"older than 100 s.*finish within a minute"):
                pending.answer(redirected)
        else:
            assert pending.answer(redirected).patient_id == server.participants[0].patient_id
        monkeypatch.undo()


def _redirected(authorize_url: str, patient_id: str) -> str:
    """Go through the consent page; where the browser would be sent."""
    return answer_consent(authorize_url, {"participant": patient_id, "decision": "approve"})


def test_less_than_asked_is_named(server: Sandbox, registration: Registration) -> None:
    asking = replace(registration, scope="patient/*.read patient/*.write launch/patient")
    with pytest.warns(ScopeNarrowed, match=r"patient/\*\.write"):
        link = _connected(server, asking)
    assert link.not_granted == ["patient/*.write"]
    assert not link.refreshable
