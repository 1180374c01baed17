"""The client at oidc-provider, an authorization server of another maker that is strict about every rule it knows."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
from joserfc.jwk import ECKey, RSAKey

from s4s_lab.connection import Connection, PendingLaunch, prepare_launch, reopen
from s4s_lab.errors import GrantExpired, LaunchRefused, ScopeNarrowed
from s4s_lab.net import HttpClient
from s4s_lab.smart import FileGrants, begin_launch, discover, jwks_of
from s4s_lab.values import PrivateKey, Registration, Secret
from tests.conftest import missing
from tests.peers.oidc import NODE, PATIENT, PROVIDER, Provider, consent, running_provider

SECRET = "a secret: with/odd+characters&100%"  # has to be form-urlencoded before it becomes Basic credentials
REDIRECT_URI = "https://app.example/callback"
CLIENTS: list[dict[str, object]] = [
    {
        "client_id": "confidential app",
        "client_secret": SECRET,
        "token_endpoint_auth_method": "client_secret_basic",
        "redirect_uris": [REDIRECT_URI],
    },
    {"client_id": "public", "token_endpoint_auth_method": "none", "redirect_uris": [REDIRECT_URI]},
]
KEYS = {
    name: PrivateKey(Secret(jwk.as_pem(private=True).decode()), f"key-{name}")
    for name, jwk in (("RS384", RSAKey.generate_key(2048)), ("ES384", ECKey.generate_key("P-384")))
}
CLIENTS += [
    {
        "client_id": f"app with {algorithm}",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": algorithm,
        "jwks": jwks_of(key),
        "redirect_uris": [REDIRECT_URI],
    }
    for algorithm, key in KEYS.items()
]
CONFIDENTIAL = Registration("confidential app", Secret(SECRET), redirect_uri=REDIRECT_URI)
PUBLIC = Registration("public", redirect_uri=REDIRECT_URI)
SIGNING = [Registration(f"app with {name}", None, REDIRECT_URI, private_key=key) for name, key in KEYS.items()]
every_kind = pytest.mark.parametrize(
    "registration", [CONFIDENTIAL, PUBLIC, *SIGNING], ids=["confidential", "public", *KEYS]
)


def _require_provider() -> None:
    for part in (NODE, PROVIDER):
        if not part.exists():
            missing("needs oidc-provider and its node: `npm install` in tests/peers (make peers)")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    _require_provider()
    with running_provider(CLIENTS, tmp_path_factory.mktemp("oidc") / "log") as provider:
        yield provider


def _launched(
    provider: Provider, registration: Registration, grants_file: Path | None = None
) -> tuple[PendingLaunch, str]:
    pending = prepare_launch(provider.fhir_url, registration, grants_file=grants_file)
    return pending, consent(pending.authorize_url, registration.redirect_uri)


def _connected(provider: Provider, registration: Registration, grants_file: Path | None = None) -> Connection:
    pending, answer = _launched(provider, registration, grants_file)
    with closing(pending):
        return pending.answer(answer)


def _search(link: Connection) -> int:
    with link.client() as client:
        url = f"{link.fhir_url}/ImagingStudy?patient={link.patient_id}"
        return client.get(url, accept="application/fhir+json").status


def _renewed(link: Connection) -> None:
    link.grants.renew(link.grants.read().generation, link._renewed)


@every_kind
def test_a_launch_is_redeemed_and_reads(provider: Provider, registration: Registration) -> None:
    link = _connected(provider, registration)
    assert link.patient_id == PATIENT
    assert "patient/*.read" in link.scope.split()
    assert _search(link) == 200
    last = provider.events("token")[-1]
    assert (last["grant"], last["client"]) == ("authorization_code", registration.client_id)
    assert "error" not in last


@every_kind
def test_a_grant_is_renewed_with_rotation_and_without_naming_scopes(
    provider: Provider, registration: Registration, tmp_path: Path
) -> None:
    link = _connected(provider, registration, tmp_path / "grants" / "one.json")
    first = link.grants.read()
    for _ in range(3):
        _renewed(link)
    now = reopen(tmp_path / "grants" / "one.json").grants.read()
    assert first.refresh_token is not None
    assert now.refresh_token not in (None, first.refresh_token)
    assert (now.patient_id, now.scope) == (first.patient_id, first.scope)
    asked = [one for one in provider.events("token") if one["client"] == registration.client_id][-3:]
    assert [(one["grant"], one.get("scope"), one.get("error")) for one in asked] == [("refresh_token", None, None)] * 3
    assert _search(link) == 200


def test_narrowed_scopes_are_named_and_do_not_break_the_renewal(provider: Provider) -> None:
    asked = "patient/*.read patient/Observation.write launch/patient offline_access"
    pending, answer = _launched(provider, replace(CONFIDENTIAL, scope=asked))
    with pytest.warns(ScopeNarrowed, match=r"not granted: patient/Observation\.write\."):
        link = pending.answer(answer)
    assert link.not_granted == ["patient/Observation.write"]
    _renewed(link)
    assert link.not_granted == ["patient/Observation.write"]


def test_threads_that_share_a_grant_renew_it_once(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "grants" / "one.json"
    _connected(provider, CONFIDENTIAL, file)
    links = [reopen(file) for _ in range(8)]
    generation = links[0].grants.read().generation
    revoked, before = len(provider.events("revoked")), len(provider.events("token"))
    threads = [threading.Thread(target=link.grants.renew, args=(generation, link._renewed)) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provider.events("token")) == before + 1
    assert len(provider.events("revoked")) == revoked
    assert [_search(link) for link in links] == [200] * 8


def test_a_refresh_token_used_twice_ends_the_grant_and_says_to_connect_again(
    provider: Provider, tmp_path: Path
) -> None:
    file, copy = tmp_path / "grants" / "one.json", tmp_path / "grants" / "copy.json"
    link = _connected(provider, CONFIDENTIAL, file)
    shutil.copy2(file, copy)
    _renewed(link)
    with pytest.raises(GrantExpired, match="onnect again"):
        _renewed(reopen(copy))
    with pytest.raises(GrantExpired, match="onnect again"):
        _renewed(link)  # the provider has ended the whole family: that is what it cost
    assert provider.events("token")[-1]["error"] == "invalid_grant"


def test_a_code_is_good_for_one_exchange(provider: Provider) -> None:
    with HttpClient() as client:
        launch = begin_launch(discover(client, provider.fhir_url), PUBLIC)
        answer = consent(launch.authorize_url, REDIRECT_URI)
        launch.redeem(client, answer)
        with pytest.raises(LaunchRefused) as caught:
            launch.redeem(client, answer)
    assert caught.value.error == "invalid_grant"


def test_an_answer_is_taken_once_and_a_second_paste_asks_nobody(provider: Provider) -> None:
    pending, answer = _launched(provider, PUBLIC)
    pending.answer(answer)
    before = len(provider.events("token"))
    with pytest.raises(LaunchRefused):
        pending.answer(answer)
    assert len(provider.events("token")) == before


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:1", ""])
def test_the_issuer_is_sent_and_another_one_is_refused_before_the_code_is_sent(provider: Provider, issuer: str) -> None:
    pending, answer = _launched(provider, CONFIDENTIAL)
    parts = urlsplit(answer)
    sent = dict(parse_qsl(parts.query))
    assert sent["iss"] == provider.issuer
    forged = urlencode(sent | {"iss": issuer})
    before = len(provider.events("token"))
    with pytest.raises(LaunchRefused) as caught:
        pending.answer(urlunsplit(parts._replace(query=forged)))
    assert caught.value.error == "issuer_mismatch"
    assert len(provider.events("token")) == before


def test_a_wrong_secret_is_refused_by_name(provider: Provider) -> None:
    pending, answer = _launched(provider, replace(CONFIDENTIAL, client_secret=Secret("wrong")))
    with pytest.raises(LaunchRefused) as caught:
        pending.answer(answer)
    assert caught.value.error == "invalid_client"


def test_a_grant_kept_from_elsewhere_is_refused_by_the_provider(provider: Provider, tmp_path: Path) -> None:
    link = _connected(provider, PUBLIC, tmp_path / "grants" / "one.json")
    assert isinstance(link.grants, FileGrants)
    grant = link.grants.read()
    stranger = replace(link, registration=CONFIDENTIAL)
    with pytest.raises(GrantExpired):
        stranger.grants.renew(grant.generation, stranger._renewed)


@pytest.mark.parametrize("wrong", ["another key", "another algorithm"])
def test_a_signature_that_is_not_the_clients_is_refused_by_name(provider: Provider, wrong: str) -> None:
    stranger = PrivateKey(Secret(RSAKey.generate_key(2048).as_pem(private=True).decode()), "key-RS384")
    key = stranger if wrong == "another key" else KEYS["ES384"]
    pending, answer = _launched(provider, replace(SIGNING[0], private_key=key))
    with pytest.raises(LaunchRefused) as caught:
        pending.answer(answer)
    assert caught.value.error == "invalid_client"


@every_kind
def test_a_disconnected_grant_is_revoked_there_and_forgotten_here(
    provider: Provider, registration: Registration, tmp_path: Path
) -> None:
    file = tmp_path / "grants" / "one.json"
    link = _connected(provider, registration, file)
    grant, copy = link.grants.read(), tmp_path / "grants" / "copy.json"
    shutil.copy2(file, copy)
    assert link.disconnect() is True
    # When it was given back is kept; of the grant itself nothing is.
    left, tokens = file.read_text(), (grant.access_token, grant.refresh_token)
    assert [token for token in tokens if token and token.reveal() in left] == []
    with pytest.raises(GrantExpired, match="given back"):
        reopen(file)
    kept = reopen(copy)
    assert kept.grants.read().access_token == grant.access_token
    with pytest.raises(GrantExpired, match="onnect again"):
        _search(kept)  # neither token is good for anything any more


@pytest.mark.parametrize("registration", [CONFIDENTIAL, *SIGNING], ids=["confidential", *KEYS])
def test_the_provider_tells_what_a_token_is_good_for(provider: Provider, registration: Registration) -> None:
    link = _connected(provider, registration)
    found = link.introspect()
    assert (found.active, found.client_id) == (True, registration.client_id)
    assert set(found.scope.split()) == set(link.scope.split())


def test_who_signed_in_is_learnt_where_that_is_asked_for(provider: Provider) -> None:
    asked = f"openid fhirUser {CONFIDENTIAL.scope}"
    pending, answer = _launched(provider, replace(CONFIDENTIAL, scope=asked))
    link = pending.answer(answer)
    assert link.fhir_user == f"{provider.fhir_url}/Patient/{PATIENT}"


@pytest.mark.parametrize("method", ["client_secret_basic", "private_key_jwt", "none"])
def test_a_client_registers_itself_as_the_provider_wants_it_and_once(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _require_provider()
    monkeypatch.setenv("S4S_HOME", str(tmp_path))
    with running_provider([], tmp_path / "log", registers=[method]) as provider:
        first, again = (_registered_and_connected(provider) for _ in range(2))
        assert [_search(link) for link in (first, again)] == [200, 200]
        _renewed(again)
        assert _search(again) == 200
    used = again.registration
    assert first.registration.client_id == used.client_id
    assert (used.client_secret is not None) == (method == "client_secret_basic")
    assert (used.private_key is not None) == (method == "private_key_jwt")


def _registered_and_connected(provider: Provider) -> Connection:
    with closing(prepare_launch(provider.fhir_url, redirect_uri=REDIRECT_URI)) as pending:
        return pending.answer(consent(pending.authorize_url, REDIRECT_URI))
