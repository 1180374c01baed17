"""Registrations from files, the environment and a person; secrets never from what others can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.errors import UsageError
from s4s_lab.values import DEMO_REDIRECT_URI, S4S_SCOPE, PrivateKey, Registration, Secret, read_secret


def _file(folder: Path, content: object, mode: int = 0o600) -> Path:
    path = folder / "registration.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_a_file_holds_what_a_server_gave(tmp_path: Path) -> None:
    path = _file(tmp_path, {"client_id": "app", "client_secret": "s3cret", "redirect_uri": "https://a/b", "scope": "x"})
    assert Registration.from_file(path) == Registration("app", Secret("s3cret"), "https://a/b", "x")


def test_a_ready_file_of_the_sandbox_is_taken_whole(tmp_path: Path) -> None:
    inner = {"client_id": "demo", "client_secret": None, "redirect_uri": DEMO_REDIRECT_URI, "scope": S4S_SCOPE}
    path = _file(tmp_path, {"fhir_url": "http://127.0.0.1:1/fhir", "registration": inner, "participants": []})
    assert Registration.from_file(str(path)) == Registration("demo")


def test_a_key_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("PEM")
    (tmp_path / "key.pem").chmod(0o600)
    path = _file(tmp_path, {"client_id": "app", "private_key_file": "key.pem", "key_id": "k1"})
    found = Registration.from_file(path)
    assert found.private_key == PrivateKey(Secret("PEM"), "k1")
    assert found.confidential


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"client_id": 7}', '{"registration": []}', "{}"])
def test_what_is_no_registration_is_said_so(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match=r"registration|no client id"):
        Registration.from_file(_file(tmp_path, content))


def test_a_file_that_is_missing_or_open_to_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No registration can be read"):
        Registration.from_file(tmp_path / "none.json")
    with pytest.raises(UsageError, match="chmod 600"):
        Registration.from_file(_file(tmp_path, {"client_id": "app"}, 0o644))
    with pytest.raises(UsageError, match="chmod 600"):
        PrivateKey.from_file(_file(tmp_path, "PEM", 0o640))


def test_the_environment_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" mounted\n")
    environment = {"S4S_CLIENT_ID": "app", "S4S_CLIENT_SECRET": "plain", "S4S_SCOPE": "x"}
    assert Registration.from_environment(environment) == Registration("app", Secret("plain"), scope="x")
    mounted = environment | {"S4S_CLIENT_SECRET_FILE": str(tmp_path / "secret"), "S4S_REDIRECT_URI": "https://a/b"}
    assert Registration.from_environment(mounted) == Registration("app", Secret("mounted"), "https://a/b", "x")
    assert Registration.from_environment({"S4S_CLIENT_SECRET": "alone"}) is None
    with pytest.raises(UsageError, match="No private key"):
        Registration.from_environment(environment | {"S4S_CLIENT_KEY_FILE": str(tmp_path / "none.pem")})


@pytest.mark.parametrize(("typed", "expected"), [("s3cret", Secret("s3cret")), ("", None)])
def test_a_person_is_asked_without_an_echo(
    monkeypatch: pytest.MonkeyPatch, typed: str, expected: Secret | None
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: " app ")
    monkeypatch.setattr("getpass.getpass", lambda _: typed)
    assert Registration.ask() == Registration("app", expected)
    assert Registration.ask("given").client_id == "given"


def test_nobody_at_the_keyboard_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(UsageError, match="Nobody is there"):
        Registration.ask()


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_secret_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(UsageError, match="secret"):
        read_secret(tmp_path / "secret")


def test_neither_secret_nor_key_is_shown() -> None:
    shown = repr(Registration("app", Secret("s3cret"), private_key=PrivateKey(Secret("PEM"))))
    assert "s3cret" not in shown
    assert "PEM" not in shown


@pytest.mark.parametrize("pkce", [True, False])
def test_pkce_is_switched_off_by_a_file_or_the_environment_only_when_said_so(tmp_path: Path, pkce: bool) -> None:
    path = _file(tmp_path, {"client_id": "app", "client_secret": "s3cret", "pkce": pkce})
    assert Registration.from_file(path).pkce is pkce
    said = Registration.from_environment({"S4S_CLIENT_ID": "app", "S4S_CLIENT_SECRET": "s", "S4S_PKCE": str(int(pkce))})
    assert said is not None
    assert said.pkce is pkce


@pytest.mark.parametrize("pkce", ["false", 0, [False]])
def test_pkce_in_a_file_is_true_or_false_and_nothing_like_it(tmp_path: Path, pkce: object) -> None:
    path = _file(tmp_path, {"client_id": "app", "client_secret": "s3cret", "pkce": pkce})
    with pytest.raises(UsageError, match='holds no registration: "pkce" is not true or false'):
        Registration.from_file(path)


@pytest.mark.parametrize(("said", "pkce"), [("no", False), ("OFF", False), ("false", False), ("", True), ("Yes", True)])
def test_a_switch_in_the_environment_is_read_as_people_write_it(said: str, pkce: bool) -> None:
    found = Registration.from_environment({"S4S_CLIENT_ID": "app", "S4S_CLIENT_SECRET": "s", "S4S_PKCE": said})
    assert found is not None
    assert found.pkce is pkce


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(UsageError, match="neither 1 nor 0"):
        Registration.from_environment({"S4S_CLIENT_ID": "app", "S4S_PKCE": "sometimes"})


@pytest.mark.parametrize("wrong", ["client_secert", "clientsecret", "client_secret_", "Client_Secret"])
def test_a_misspelt_secret_is_no_public_client(tmp_path: Path, wrong: str) -> None:
    path = _file(tmp_path, {"client_id": "app", wrong: "s3cret"})
    with pytest.raises(UsageError, match='Is "client_secret" meant') as caught:
        Registration.from_file(path)
    assert "s3cret" not in str(caught.value)


def test_a_servers_whole_answer_to_a_registration_is_a_registration(tmp_path: Path) -> None:
    """RFC 7591, section 3.2.1: the example's members, of which ours are some."""
    answer = {
        "client_id": "s6BhdRkqt3",
        "client_secret": "cf136dc3c1fc93f31185e5885805d",
        "client_id_issued_at": "2893256800",
        "client_secret_expires_at": "2893276800",
        "redirect_uri": "https://a/b",
        "client_name": "My Example Client",
        "jwks_uri": "https://client.example.org/my_public_keys.jwks",
        "token_endpoint_auth_method": "client_secret_basic",
        "logo_uri": "https://client.example.org/logo.png",
    }
    assert Registration.from_file(_file(tmp_path, answer)).client_id == "s6BhdRkqt3"


@pytest.mark.parametrize("given", [{"client_secret": "s3cret"}, {"private_key": "key.pem"}, {"private_key": Path("k")}])
def test_a_secret_as_bare_text_is_refused_where_it_is_made(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"bare text|no PrivateKey") as caught:
        Registration("app", **given)
    assert "s3cret" not in str(caught.value)


def test_a_public_client_cannot_go_without_pkce() -> None:
    with pytest.raises(UsageError, match="public client cannot go without PKCE"):
        Registration("app", pkce=False)
