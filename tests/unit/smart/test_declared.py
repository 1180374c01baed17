"""What a server does not declare; where a launch returns to; where registrations are kept."""

from __future__ import annotations

import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab.errors import UsageError
from s4s_lab.fhir import Capability
from s4s_lab.net import HttpClient
from s4s_lab.smart import SmartConfiguration, not_declared, redirect_uri_of
from s4s_lab.smart.kept_clients import KeptClient, clients_folder
from s4s_lab.smart.registering import Registered
from s4s_lab.values import PrivateKey, Registration, Secret

ALL = frozenset(
    {
        "launch-standalone",
        "launch-ehr",
        "context-standalone-patient",
        "permission-patient",
        "permission-offline",
        "client-confidential-symmetric",
        "client-confidential-asymmetric",
        "client-public",
        "sso-openid-connect",
    }
)
SERVER = SmartConfiguration("https://ehr/fhir", "https://ehr/a", "https://ehr/t", capabilities=ALL)
APP = Registration("app", Secret("s"))
SIGNING = Registration("app", private_key=PrivateKey(Secret("k")))


@pytest.mark.parametrize("registration", [APP, SIGNING, Registration("app")])
def test_a_server_that_declares_all_lacks_nothing(registration: Registration) -> None:
    asking = replace(registration, scope=f"{registration.scope} openid fhirUser")
    assert not_declared(SERVER, asking) == not_declared(SERVER, asking, from_ehr=True) == []


@pytest.mark.parametrize(
    ("missing", "registration", "from_ehr"),
    [
        ("launch-standalone", APP, False),
        ("launch-ehr", APP, True),
        ("context-standalone-patient", APP, False),
        ("permission-patient", APP, False),
        ("permission-offline", APP, False),
        ("client-confidential-symmetric", APP, False),
        ("client-confidential-asymmetric", SIGNING, False),
        ("client-public", Registration("app"), False),
        ("sso-openid-connect", Registration("app", scope="openid"), False),
    ],
)
def test_each_capability_counts_for_who_needs_it(missing: str, registration: Registration, from_ehr: bool) -> None:
    server = replace(SERVER, capabilities=ALL - {missing})
    lacks = not_declared(server, registration, from_ehr=from_ehr)
    assert len(lacks) == 1
    assert missing in lacks[0]
    assert not_declared(server, replace(registration, scope=""), from_ehr=not from_ehr) == [] or "client" in missing


def test_a_server_that_lists_no_capabilities_is_not_judged_by_them() -> None:
    assert not_declared(replace(SERVER, capabilities=frozenset()), APP) == []


def test_a_server_with_another_pkce_only_is_named() -> None:
    assert not_declared(replace(SERVER, challenge_methods=frozenset({"plain"})), APP) == ["PKCE with S256"]


def _statement(*resources: dict[str, object], version: str = "3.0.2") -> Capability:
    return Capability.from_json({"fhirVersion": version, "rest": [{"mode": "server", "resource": list(resources)}]})


def _resource(name: str, *parameters: str, interaction: str = "search-type") -> dict[str, object]:
    declared = [{"name": one, "type": "reference"} for one in parameters]
    return {"type": name, "interaction": [{"code": interaction}], "searchParam": declared}


def test_what_the_capability_statement_lacks_for_s4s_is_listed() -> None:
    claims = _resource("ExplanationOfBenefit", "patient")
    assert _statement(_resource("ImagingStudy", "patient"), claims).lacks == ()
    assert _statement(claims).lacks == ("ImagingStudy",)
    assert _statement(_resource("ImagingStudy", "patient", interaction="read"), claims).lacks == (
        "searches for ImagingStudy",
    )
    assert _statement(_resource("ImagingStudy", "identifier"), claims).lacks == ("ImagingStudy by patient",)
    assert _statement(version="1.0.2").lacks == ("FHIR STU3 or R4 (it has 1.0.2)",)
    assert _statement().lacks == Capability.from_json({}).lacks == ()


@pytest.mark.parametrize(
    ("uri", "free"),
    [
        ("http://127.0.0.1/callback", True),
        ("http://[::1]/callback", True),
        ("http://127.0.0.1:8723/callback", False),
        ("http://localhost/callback", False),
        ("https://127.0.0.1/callback", False),
        ("https://app.example/callback", False),
    ],
)
def test_only_a_public_client_on_a_loopback_address_gets_a_port(uri: str, free: bool) -> None:
    used = redirect_uri_of(Registration("app", redirect_uri=uri))
    assert (used != uri) == free
    if free:
        scheme, _, rest = uri.partition("//")
        host, _, path = rest.partition("/")
        assert used.startswith(f"{scheme}//{host}:")
        assert used.endswith(f"/{path}")
    assert redirect_uri_of(replace(APP, redirect_uri=uri)) == uri


def test_registrations_lie_below_s4s_home_and_not_at_all_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S4S_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert clients_folder("http://127.0.0.1:8400/fhir") is None
    assert clients_folder("https://ehr.example/fhir") == tmp_path / "state" / "s4s-lab" / "clients"
    monkeypatch.setenv("S4S_HOME", str(tmp_path / "home"))
    assert clients_folder("http://127.0.0.1:8400/fhir") == tmp_path / "home" / "clients"


def _kept(tmp_path: Path, expires_at: float, client_id: str = "kept") -> KeptClient:
    place = KeptClient(tmp_path / "clients" / "one.json")
    registration = {"client_id": client_id, "client_secret": "s", "redirect_uri": "https://a/b", "scope": "x"}
    assert place.path is not None
    place.path.parent.mkdir(mode=0o700)
    place.path.write_text(json.dumps({"registration": registration, "expires_at": int(expires_at)}))
    place.path.chmod(0o600)
    return place


@pytest.mark.parametrize("expires_in", [None, 86_400])
def test_a_kept_registration_is_used_while_its_secret_lasts(tmp_path: Path, expires_in: int | None) -> None:
    place = _kept(tmp_path, 0 if expires_in is None else time.time() + expires_in)
    with HttpClient() as client:
        found = place.registered(client, SERVER, "https://a/b", "x")
    assert found == Registration("kept", Secret("s"), "https://a/b", "x")


@pytest.mark.parametrize("spoil", ["expired", "open", "damaged"])
def test_one_that_cannot_be_used_is_made_anew(tmp_path: Path, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _kept(tmp_path, time.time() + 60 if spoil == "expired" else 0)
    assert place.path is not None
    if spoil == "open":
        place.path.chmod(0o644)
    if spoil == "damaged":
        place.path.write_text("{")
    made = _Made()
    monkeypatch.setattr("s4s_lab.smart.kept_clients.register_anew", made)
    with HttpClient() as client:
        assert place.registered(client, SERVER, "https://a/b", "x").client_id == "new"
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert b'"new"' in place.path.read_bytes()


class _Made:
    def __call__(self, *_: object, **__: object) -> Registered:
        return Registered(Registration("new", Secret("n")), 0)


def test_a_folder_that_others_can_see_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clients").mkdir(mode=0o755)
    monkeypatch.setattr("s4s_lab.smart.kept_clients.register_anew", _Made())
    with HttpClient() as client, pytest.raises(UsageError, match="chmod 700"):
        KeptClient(tmp_path / "clients" / "one.json").registered(client, SERVER, "https://a/b", "x")
