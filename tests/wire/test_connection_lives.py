"""What becomes of a connection: a renewed secret, a grant that cannot be kept, tokens that go nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from filelock import FileLock

from s4s_lab.connection import Connection, connect, prepare_launch, reopen
from s4s_lab.errors import DatasetBusy, GrantExpired, LaunchRefused, OriginRefused, PatientMismatch, UsageError
from s4s_lab.smart import FileGrants, Grant, MemoryGrants, grant_files
from s4s_lab.values import PrivateKey, Registration, Secret
from tests.wire.smart.browser import approve, redirected_to
from tests.wire.smart.server import CLIENT_ID, CLIENT_SECRET, Canned, SmartServer


@pytest.fixture
def server() -> Iterator[SmartServer]:
    with SmartServer() as server:
        assert server.well_known is not None
        server.well_known["revocation_endpoint"] = f"{server.origin}/revoke"
        server.canned["/revoke"].extend([Canned(200)] * 4)
        yield server


@pytest.fixture
def registration(server: SmartServer) -> Registration:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        redirect_uri = f"http://127.0.0.1:{probe.getsockname()[1]}/callback"
    return replace(server.registration, redirect_uri=redirect_uri)


@pytest.fixture
def grants_file(tmp_path: Path) -> Path:
    return tmp_path / "grants" / "one.json"


def _connected(server: SmartServer, registration: Registration, grants_file: Path | None = None) -> Connection:
    def show(url: str) -> None:
        approve(url)

    return connect(server.fhir_url, registration, show=show, timeout_s=10, grants_file=grants_file)


def _read(link: Connection) -> int:
    with link.client() as client:
        return client.get(f"{link.fhir_url}/Patient/{link.patient_id}", accept="application/json").status


def test_a_renewed_secret_is_given_once_and_kept_and_nobody_approves_again(
    server: SmartServer, registration: Registration, grants_file: Path
) -> None:
    link = _connected(server, registration, grants_file)
    old = replace(registration, client_secret=Secret("the old one"))
    assert isinstance(link.grants, FileGrants)
    link.grants.reregister(old)
    server.access_tokens.clear()
    with pytest.raises(LaunchRefused, match=r"nobody has to approve again: s4s_lab\.connection\.reopen"):
        _read(reopen(grants_file))
    renewed = Registration(CLIENT_ID, Secret(CLIENT_SECRET), "http://127.0.0.1:1/other", scope="launch/patient")
    assert _read(reopen(grants_file, registration=renewed)) == 200
    assert FileGrants(grants_file).origin.registration == registration
    assert _read(reopen(grants_file)) == 200
    assert len(server.asked_for("/authorize")) == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [(Registration("other", Secret("s")), "bound to client"), (Registration(CLIENT_ID), "neither secret nor key")],
)
def test_another_client_or_none_is_no_renewed_secret(
    server: SmartServer, registration: Registration, grants_file: Path, other: Registration, words: str
) -> None:
    _connected(server, registration, grants_file)
    with pytest.raises(UsageError, match=words):
        reopen(grants_file, registration=other)
    assert FileGrants(grants_file).origin.registration == registration


def test_an_access_whose_file_others_could_read_is_opened_to_end_it_only(
    server: SmartServer, registration: Registration, grants_file: Path
) -> None:
    link = _connected(server, registration, grants_file)
    grants_file.chmod(0o644)
    assert (link.state, link.minutes_left, link.scope) == ("ended", 0, "")
    with pytest.raises(UsageError, match="chmod 600"):
        reopen(grants_file)
    assert reopen(grants_file, to_disconnect=True).disconnect()
    assert [asked.form["token_type_hint"] for asked in server.asked_for("/revoke")] == ["refresh_token", "access_token"]
    assert FileGrants(grants_file).disconnected_at is not None


def test_what_cannot_be_kept_after_the_consent_is_given_back(
    server: SmartServer, registration: Registration, grants_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileGrants.__init__, "__kwdefaults__", {"lock_timeout_s": 0.05, "to_end": False})
    pending = prepare_launch(server.fhir_url, registration, grants_file=grants_file)
    with (
        FileLock(grants_file.with_name("one.json.lock")),
        pytest.raises(DatasetBusy, match=r"given back to the server.*launch again"),
    ):
        pending.answer(redirected_to(pending.authorize_url))
    assert server.asked_for("/revoke")[0].form["token"] == "s4s_sandbox_refresh_1"
    assert not grants_file.exists()


def test_a_locked_file_is_said_before_anybody_is_asked(
    server: SmartServer, registration: Registration, grants_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant_files, "_LOOK_TIMEOUT_S", 0.05)
    FileGrants.prepare(grants_file)
    with FileLock(grants_file.with_name("one.json.lock")), pytest.raises(DatasetBusy):
        prepare_launch(server.fhir_url, registration, grants_file=grants_file)
    assert server.asked == []


def _pem(curve: ec.EllipticCurve) -> str:
    key = ec.generate_private_key(curve)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("text", [_pem(ec.SECP256R1()), "not a key", '{"kty": "EC"}', '{"client_id": "x"}'])
def test_a_key_that_cannot_sign_is_said_before_anybody_is_asked(
    server: SmartServer, registration: Registration, text: str
) -> None:
    with pytest.raises(UsageError, match="private key"):
        prepare_launch(server.fhir_url, replace(registration, client_secret=None, private_key=PrivateKey(Secret(text))))
    assert server.asked == []


def test_a_scope_that_names_no_patient_is_said_before_anybody_is_asked(
    server: SmartServer, registration: Registration
) -> None:
    with pytest.raises(UsageError, match="Add launch/patient"):
        prepare_launch(server.fhir_url, replace(registration, scope="patient/*.read offline_access"))
    assert server.asked == []


def test_services_that_moved_to_another_origin_get_nothing(
    server: SmartServer, registration: Registration, grants_file: Path
) -> None:
    _connected(server, registration, grants_file)
    with SmartServer() as thief:
        assert server.well_known is not None
        server.well_known["revocation_endpoint"] = f"{thief.origin}/revoke"
        server.well_known["introspection_endpoint"] = f"{thief.origin}/introspect"
        again = reopen(grants_file)
        with pytest.raises(OriginRefused, match="introspection at"):
            again.introspect()
        thief.canned["/introspect"].append(Canned(200, b'{"active": true}'))
        allowing = replace(again, allowed_origins=frozenset({thief.origin}))
        assert allowing.introspect().active
        thief.asked.clear()
        assert not again.disconnect()
        assert thief.asked == []


def test_an_origin_that_was_allowed_for_images_is_no_token_endpoint(
    server: SmartServer, registration: Registration, grants_file: Path
) -> None:
    with SmartServer() as images:
        allowed = frozenset({images.origin})
        pending = prepare_launch(server.fhir_url, registration, grants_file=grants_file, allowed_origins=allowed)
        pending.answer(redirected_to(pending.authorize_url))
        assert server.well_known is not None
        server.well_known["token_endpoint"] = f"{images.origin}/token"
        server.statement = {"resourceType": "CapabilityStatement"}
        with pytest.raises(OriginRefused, match="did not give this grant"):
            reopen(grants_file)
        assert images.asked == []


def test_a_grant_is_not_renewed_while_it_moves_to_a_file(
    server: SmartServer, registration: Registration, grants_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, keep, outcomes = _connected(server, registration), FileGrants.keep, []

    def renew() -> None:
        try:
            link.grants.renew(1, link._renewed)
        except GrantExpired as error:
            outcomes.append(str(error))

    def slow(*args: object, **options: object) -> FileGrants:
        other.start()
        other.join(0.3)  # it waits for the lock, and loses
        return keep(*args, **options)  # type: ignore[arg-type]  # handed through as they came

    other = threading.Thread(target=renew)
    monkeypatch.setattr(FileGrants, "keep", slow)
    kept = link.kept_at(grants_file)
    other.join()
    assert kept.grants.read().refresh_token == Secret(server.refresh_token or "")
    assert "kept elsewhere" in outcomes[0]


def test_a_disconnection_counts_when_only_access_tokens_cannot_be_revoked(
    server: SmartServer, registration: Registration
) -> None:
    server.canned["/revoke"].clear()
    server.canned["/revoke"].extend([Canned(200), Canned(400, b'{"error": "unsupported_token_type"}')])
    assert _connected(server, registration).disconnect()


def _day(link: Connection) -> Connection:
    grant = replace(link.grants.read(), expires_at=datetime.now(UTC) + timedelta(minutes=70), lifetime_s=86_400)
    return replace(link, grants=MemoryGrants(grant))


def test_an_access_that_will_not_be_renewed_lasts_until_its_token_ends(
    server: SmartServer, registration: Registration
) -> None:
    link = _day(_connected(server, registration))
    server.refresh_token = "revoked"
    assert _read(link) == 200
    assert (link.state, link.minutes_left) == ("refresh failed", 70)
    assert isinstance(link.renewal_error, GrantExpired)
    server.access_tokens.clear()
    with pytest.raises(GrantExpired):
        _read(link)
    assert (link.state, link.minutes_left) == ("ended", 0)
    assert "0 min left" in repr(link)


def test_the_scope_follows_the_grant(server: SmartServer, registration: Registration) -> None:
    link = _connected(server, registration)

    def narrowed(grant: Grant) -> Grant:
        return replace(grant, scope="patient/Patient.read", generation=2)

    link.grants.renew(1, narrowed)
    assert link.scope == "patient/Patient.read"
    assert "scopes='patient/Patient.read'" in repr(link)
    link.disconnect()
    assert link.scope == ""


def test_a_renewal_for_another_patient_ends_the_access(server: SmartServer, registration: Registration) -> None:
    link = _connected(server, registration)
    server.token_extras["patient"] = "somebody-else"
    with pytest.raises(PatientMismatch, match=r"this access has ended.*connect again"):
        link.grants.renew(1, link._renewed)
    assert (link.state, link.minutes_left) == ("ended", 0)
