"""Which client `s4s connect` is: what its options say, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s4s_lab.cli.connect import _launch_token
from s4s_lab.cli.registrations import Told
from s4s_lab.errors import UsageError
from s4s_lab.values import DEMO_REDIRECT_URI, S4S_SCOPE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "client.json"
    path.touch(mode=0o600)
    path.write_text(
        json.dumps({"client_id": "of-the-file", "client_secret": "s", "redirect_uri": "https://app.example/cb"})
    )
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ID", "SECRET", "SECRET_FILE", "KEY_FILE"):
        monkeypatch.delenv(f"S4S_CLIENT_{name}", raising=False)
    return monkeypatch


def _told(
    client_id: str | None = None,
    secret_file: Path | None = None,
    registration_file: Path | None = None,
    redirect_port: int | None = None,
    scope: str | None = None,
) -> Told:
    return Told(client_id, secret_file, registration_file, redirect_port, scope)


def test_nothing_told_lets_the_app_register_itself() -> None:
    assert _told().registration() is None
    assert _told().redirect_uri == DEMO_REDIRECT_URI
    assert _told(redirect_port=9000).redirect_uri == "http://127.0.0.1:9000/callback"


def test_an_id_alone_is_a_public_client_and_a_secret_makes_it_confidential(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    public = _told("app").registration()
    assert public is not None
    assert (public.confidential, public.redirect_uri, public.scope) == (False, DEMO_REDIRECT_URI, S4S_SCOPE)
    environment.setenv("S4S_CLIENT_SECRET", "of the environment")
    (tmp_path / "secret").write_text("of the file\n")
    for told, secret in ((_told("app"), "of the environment"), (_told("app", tmp_path / "secret"), "of the file")):
        found = told.registration()
        assert found is not None
        assert found.client_secret is not None
        assert found.client_secret.reveal() == secret


def test_a_file_comes_before_the_environment_and_options_before_both(
    file: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("S4S_CLIENT_ID", "of-the-environment")
    by_environment, by_file = _told().registration(), _told(registration_file=file).registration()
    by_options = _told(registration_file=file, redirect_port=9000, scope="patient/*.rs").registration()
    assert by_environment is not None
    assert by_file is not None
    assert by_options is not None
    assert by_environment.client_id == "of-the-environment"
    assert (by_file.client_id, by_file.redirect_uri, by_file.scope) == (
        "of-the-file",
        "https://app.example/cb",
        S4S_SCOPE,
    )
    assert (by_options.redirect_uri, by_options.scope) == ("http://127.0.0.1:9000/callback", "patient/*.rs")


def test_the_secret_is_asked_for_at_the_keyboard(environment: pytest.MonkeyPatch) -> None:
    environment.setattr("getpass.getpass", "typed after {}".format)
    found = _told("app", Path("-"), redirect_port=9000).registration()
    assert found is not None
    assert found.client_secret is not None
    assert (found.client_secret.reveal()[:5], found.redirect_uri) == ("typed", "http://127.0.0.1:9000/callback")


def test_what_does_not_go_together_is_refused(file: Path) -> None:
    for told, said in (
        (_told("a", registration_file=file), "Both --client-id and --registration"),
        (_told(secret_file=file), "no client id"),
        (_told(scope="patient/*.read"), "Give --client-id or --registration"),
    ):
        with pytest.raises(UsageError, match=said):
            told.registration()


def test_a_file_that_others_can_read_is_refused_for_that_reason(file: Path) -> None:
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        _told(registration_file=file).registration()


def test_an_ehr_launch_has_to_come_from_the_server_that_was_named() -> None:
    opened = "https://app.example/launch?iss=https%3A%2F%2Fehr.example%2Ffhir%2F&launch=xyz"
    token = _launch_token(opened, "https://ehr.example/fhir")
    assert token is not None
    assert token.reveal() == "xyz"
    assert _launch_token(None, "https://ehr.example/fhir") is None
    with pytest.raises(UsageError, match=r"begun by https://ehr\.example/fhir, not by https://other\.example"):
        _launch_token(opened, "https://other.example/fhir")


@pytest.mark.parametrize(
    ("about", "secret"), [(None, "of-the-environment"), ("app", "of-the-environment"), ("other", None)]
)
def test_the_secret_of_one_client_never_goes_to_another(
    environment: pytest.MonkeyPatch, about: str | None, secret: str | None
) -> None:
    environment.setenv("S4S_CLIENT_SECRET", "of-the-environment")
    if about is not None:
        environment.setenv("S4S_CLIENT_ID", about)
    found = _told("app", redirect_port=9000).registration()
    assert found is not None
    assert (found.client_secret.reveal() if found.client_secret else None) == secret
    assert (found.client_id, found.redirect_uri) == ("app", "http://127.0.0.1:9000/callback")


def test_a_key_and_a_secret_file_of_the_environment_count_for_a_client_named_by_option(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mounted").write_text("in-a-file")
    environment.setenv("S4S_CLIENT_SECRET_FILE", str(tmp_path / "mounted"))
    environment.setenv("S4S_PKCE", "0")
    found = _told("app", redirect_port=9000).registration()
    assert found is not None
    assert found.client_secret is not None
    assert (found.client_secret.reveal(), found.pkce) == ("in-a-file", False)
