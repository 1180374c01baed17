"""The launch over the wire: what is asked, what becomes of each answer."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from s4s_lab.errors import (
    LaunchNotTried,
    LaunchRefused,
    NotReachable,
    ScopeNarrowed,
    UnexpectedAnswer,
    UsageError,
    Waiting,
)
from s4s_lab.net import HttpClient
from s4s_lab.smart import Launch, begin_launch, discover, register
from s4s_lab.smart.client_keys import client_assertion
from s4s_lab.values import Registration, Secret
from tests.wire.smart.browser import redirected_to
from tests.wire.smart.server import CLIENT_ID, CLIENT_SECRET, PATIENT, Canned, SmartServer


@pytest.fixture
def launch(server: SmartServer, client: HttpClient) -> Launch:
    return begin_launch(discover(client, server.fhir_url), server.registration)


def _answer(server: SmartServer, status: int, body: object, **headers: str) -> None:
    server.canned["/token"].append(
        Canned(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | headers)
    )


@pytest.mark.clause("S4S-3", "S4S-4")
def test_the_participant_is_sent_with_all_that_a_standalone_launch_needs(launch: Launch, server: SmartServer) -> None:
    sent = {name: values[0] for name, values in parse_qs(urlsplit(launch.authorize_url).query).items()}
    assert launch.authorize_url.startswith(f"{server.origin}/authorize?")
    assert sent["response_type"] == "code"
    assert sent["client_id"] == CLIENT_ID
    assert sent["redirect_uri"] == server.registration.redirect_uri
    assert sent["scope"] == "patient/*.read launch/patient offline_access"
    assert sent["aud"] == server.fhir_url
    assert sent["code_challenge_method"] == "S256"
    assert len(sent["state"]) >= 22  # 128 bits in base64url
    assert "launch" not in sent


@pytest.mark.clause("S4S-2", "S4S-3", "S4S-4")
def test_an_approval_becomes_a_grant_for_the_patient(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    before = datetime.now(UTC)
    grant = launch.finish(client, redirected_to(launch.authorize_url))
    assert grant.patient_id == PATIENT
    assert grant.scope == "patient/*.read launch/patient offline_access"
    assert grant.access_token.reveal() in server.access_tokens
    assert grant.refresh_token == Secret("s4s_sandbox_refresh_1")
    assert 3599 <= (grant.expires_at - before).total_seconds() <= 3602
    assert grant.generation == 1


@pytest.mark.clause("S4S-2")
def test_id_and_secret_go_by_basic_and_nowhere_else(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    launch.finish(client, redirected_to(launch.authorize_url))
    asked = server.asked_for("/token")[0]
    assert set(asked.form) == {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert asked.query == {}
    assert CLIENT_SECRET not in str(asked)


@pytest.mark.clause("S4S-16")
def test_a_public_client_names_itself_in_the_form(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    public = begin_launch(launch.configuration, Registration("public app"))
    _answer(server, 200, {"access_token": "a", "token_type": "Bearer", "patient": "p", "refresh_token": "r"})
    public.finish(client, redirected_to(public.authorize_url))
    asked = server.asked_for("/token")[0]
    assert asked.form["client_id"] == "public app"
    assert "authorization" not in asked.headers


def test_every_launch_has_a_state_and_a_verifier_of_its_own(launch: Launch) -> None:
    other = begin_launch(launch.configuration, launch.registration)
    assert other.state != launch.state
    assert other.verifier != launch.verifier


def test_the_verifier_is_not_told_before_the_exchange(launch: Launch) -> None:
    assert launch.verifier is not None
    assert launch.verifier.reveal() not in launch.authorize_url
    assert 43 <= len(launch.verifier.reveal()) <= 128


def test_pkce_can_be_left_out_for_a_server_that_fails_on_it(
    launch: Launch, server: SmartServer, client: HttpClient
) -> None:
    without = begin_launch(launch.configuration, replace(server.registration, pkce=False))
    query = parse_qs(urlsplit(without.authorize_url).query)
    assert set(query) == {"response_type", "client_id", "redirect_uri", "scope", "state", "aud"}
    _answer(server, 200, {"access_token": "a", "token_type": "Bearer", "patient": "p", "refresh_token": "r"})
    without.finish(client, redirected_to(without.authorize_url))
    assert set(server.asked_for("/token")[0].form) == {"grant_type", "code", "redirect_uri"}


def test_a_v2_only_server_is_asked_in_v2_scopes(server: SmartServer, client: HttpClient) -> None:
    assert server.well_known is not None
    server.well_known["capabilities"] = ["permission-v2"]
    launch = begin_launch(discover(client, server.fhir_url), server.registration)
    assert parse_qs(urlsplit(launch.authorize_url).query)["scope"] == ["patient/*.rs launch/patient offline_access"]


def test_a_denied_consent_is_refused_without_asking_for_a_token(
    launch: Launch, server: SmartServer, client: HttpClient
) -> None:
    server.denies = True
    with pytest.raises(LaunchRefused, match="did not consent") as caught:
        launch.finish(client, redirected_to(launch.authorize_url))
    assert caught.value.error == "access_denied"
    assert server.asked_for("/token") == []


def test_a_wrong_client_secret_is_said_in_a_sentence(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    wrong = Registration(CLIENT_ID, Secret("not-the-secret"))
    launch = begin_launch(launch.configuration, wrong)
    with pytest.raises(LaunchRefused, match="does not accept this client id and secret") as caught:
        launch.finish(client, redirected_to(launch.authorize_url))
    assert caught.value.error == "invalid_client"
    assert "secret or key may be missing, wrong" in caught.value.hint
    assert "not-the-secret" not in str(caught.value)


def test_a_code_is_good_once(launch: Launch, client: HttpClient) -> None:
    answer = redirected_to(launch.authorize_url)
    launch.finish(client, answer)
    with pytest.raises(LaunchRefused) as caught:
        launch.finish(client, answer)
    assert caught.value.error == "invalid_grant"


@pytest.mark.parametrize("change", ["state=forged", "state=", ""])
def test_a_foreign_state_never_reaches_the_token_endpoint(
    launch: Launch, server: SmartServer, client: HttpClient, change: str
) -> None:
    with pytest.raises(LaunchRefused) as caught:
        launch.finish(client, f"code=stolen&{change}")
    assert caught.value.error == "state_mismatch"
    assert server.asked_for("/token") == []


def test_less_than_asked_is_a_warning_that_names_it(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    server.token_extras |= {"scope": "launch/patient patient/ImagingStudy.read", "refresh_token": None}
    with pytest.warns(ScopeNarrowed, match=r"patient/\*\.read, offline_access.*no refresh token"):
        grant = launch.finish(client, redirected_to(launch.authorize_url))
    assert grant.scope == "launch/patient patient/ImagingStudy.read"
    assert grant.refresh_token is None


def test_a_grant_without_a_patient_is_an_error(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    server.token_extras["patient"] = None
    with pytest.raises(UnexpectedAnswer, match=r"names no patient.*launch/patient"):
        launch.finish(client, redirected_to(launch.authorize_url))


def test_an_error_that_echoes_the_code_does_not_leak_it(
    launch: Launch, server: SmartServer, client: HttpClient
) -> None:
    answer = redirected_to(launch.authorize_url)
    _answer(
        server,
        400,
        {
            "error": "invalid_grant",
            "error_description": "code s4s_sandbox_code_0 of http://e/?code=s4s_sandbox_code_0 unknown",
        },
    )
    with pytest.raises(LaunchRefused, match="unknown") as caught:
        launch.finish(client, answer)
    assert "s4s_sandbox_code_0" not in str(caught.value)


def test_a_bare_401_is_explained(launch: Launch, server: SmartServer, client: HttpClient) -> None:
    server.canned["/token"].append(Canned(401))
    with pytest.raises(LaunchRefused, match="wrong client secret, or a late code"):
        launch.finish(client, redirected_to(launch.authorize_url))


@pytest.mark.parametrize(
    "canned",
    [
        Canned(200, b"<html>busy</html>", {"Content-Type": "text/html"}),
        Canned(200, b'{"access_token": "a"'),
        Canned(200, b"[]"),
        Canned(200, b'{"token_type":"bearer","patient":"p","access_token":"' + b"a" * 70_000 + b'"}'),
        Canned(200, b'{"token_type":"bearer","patient":"p","access_token":7}'),
        Canned(500, b"oops", {"Content-Type": "text/plain"}),
        Canned(302, b"", {"Location": "http://127.0.0.1:9/token"}),
    ],
    ids=["html", "cut", "array", "huge", "number", "500", "redirect"],
)
def test_an_unusable_token_answer_is_a_typed_error(
    launch: Launch, server: SmartServer, client: HttpClient, canned: Canned
) -> None:
    server.canned["/token"].append(canned)
    with pytest.raises(UnexpectedAnswer, match="token endpoint"):
        launch.finish(client, redirected_to(launch.authorize_url))
    assert len(server.asked_for("/token")) == 1


@pytest.mark.clause("S4S-5")
def test_a_busy_token_endpoint_is_asked_again_when_it_says(
    launch: Launch, server: SmartServer, client: HttpClient
) -> None:
    answer = redirected_to(launch.authorize_url)
    _answer(server, 503, {}, **{"Retry-After": "1"})
    began = time.monotonic()
    assert launch.finish(client, answer).patient_id == PATIENT
    assert time.monotonic() - began >= 1.0
    assert len(server.asked_for("/token")) == 2


def test_a_token_endpoint_that_is_busy_for_long_is_not_waited_for(
    launch: Launch, server: SmartServer, client: HttpClient
) -> None:
    answer = redirected_to(launch.authorize_url)
    _answer(server, 503, {}, **{"Retry-After": "300"})
    with pytest.raises(Waiting, match="300 s") as caught:
        launch.finish(client, answer)
    assert 298 <= (caught.value.not_before - datetime.now(UTC)).total_seconds() <= 300


def _frames_of(error: BaseException) -> str:
    """What a traceback with locals shows of every frame of the package."""
    frames = [one for one in traceback.walk_tb(error.__traceback__) if "s4s_lab" in one[0].f_code.co_filename]
    return "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format())


@pytest.mark.parametrize("finish", [Launch.finish, Launch.redeem])
def test_a_failed_exchange_shows_no_code_in_a_traceback_with_locals(
    launch: Launch, server: SmartServer, client: HttpClient, finish: Callable[[Launch, HttpClient, str], object]
) -> None:
    answer = redirected_to(launch.authorize_url)
    server.__exit__(None, None, None)
    with pytest.raises(NotReachable) as caught:
        finish(launch, client, answer)
    shown = _frames_of(caught.value)
    assert "launch.py" in shown
    assert "tokens.py" in shown
    assert "s4s_sandbox_code_0" not in shown
    assert launch.verifier is not None
    assert launch.verifier.reveal() not in shown
    assert CLIENT_SECRET not in shown


@pytest.mark.parametrize("answer", ["code=s3cret&code=s3cret", "code=s3cret&state=forged", "code=s3cret"])
@pytest.mark.parametrize("finish", [Launch.finish, Launch.redeem])
def test_a_code_that_is_not_used_is_shown_no_more(
    launch: Launch, client: HttpClient, answer: str, finish: Callable[[Launch, HttpClient, str], object]
) -> None:
    with pytest.raises((LaunchRefused, UsageError)) as caught:
        finish(launch, client, answer)
    assert "answers.py" in _frames_of(caught.value)
    assert "s3cret" not in _frames_of(caught.value)


def test_a_client_registers_itself(server: SmartServer, client: HttpClient) -> None:
    body = {"client_id": "new", "client_secret": "given", "client_secret_expires_at": 0}
    server.canned["/register"].append(Canned(201, json.dumps(body).encode()))
    registered = register(client, discover(client, server.fhir_url), redirect_uri="http://127.0.0.1:8723/callback")
    assert registered == Registration("new", Secret("given"), "http://127.0.0.1:8723/callback")
    asked = json.loads(server.asked_for("/register")[0].form["body"])
    assert asked["redirect_uris"] == ["http://127.0.0.1:8723/callback"]
    assert asked["scope"] == "patient/*.read launch/patient offline_access"
    assert asked["token_endpoint_auth_method"] == "client_secret_basic"


def test_a_client_registers_with_a_new_key_where_the_server_takes_no_secret(
    server: SmartServer, client: HttpClient
) -> None:
    assert server.well_known is not None
    server.well_known["token_endpoint_auth_methods_supported"] = ["private_key_jwt", "none"]
    body = {"client_id": "new", "token_endpoint_auth_method": "private_key_jwt"}
    server.canned["/register"].append(Canned(201, json.dumps(body).encode()))
    registered = register(client, discover(client, server.fhir_url), redirect_uri="http://127.0.0.1:8723/callback")
    asked = json.loads(server.asked_for("/register")[0].form["body"])
    assert (asked["token_endpoint_auth_method"], registered.client_secret) == ("private_key_jwt", None)
    assert registered.private_key is not None
    (public,) = asked["jwks"]["keys"]
    assert (public["kty"], public["crv"], public["alg"]) == ("EC", "P-384", "ES384")
    assert "d" not in public
    signed = client_assertion(registered, registered.private_key, "https://ehr/token")
    claims = jwt.decode(signed, ECKey.import_key(public), algorithms=["ES384"]).claims
    assert (claims["iss"], claims["sub"]) == ("new", "new")


@pytest.mark.parametrize("given", ["none", "client_secret_post", "client_secret_basic"])
def test_a_client_that_asked_for_a_key_takes_nothing_weaker(
    server: SmartServer, client: HttpClient, given: str
) -> None:
    assert server.well_known is not None
    server.well_known["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    body = {"client_id": "new", "client_secret": "s", "token_endpoint_auth_method": given}
    server.canned["/register"].append(Canned(201, json.dumps(body).encode()))
    with pytest.raises(LaunchNotTried, match=f"for {given}, which was not asked for"):
        register(client, discover(client, server.fhir_url), redirect_uri="http://127.0.0.1:8723/callback")


@pytest.mark.parametrize("body", [b'{"error":"invalid_redirect_uri","description":"no fragment"}', b"nope"])
def test_a_refused_registration_says_why(server: SmartServer, client: HttpClient, body: bytes) -> None:
    server.canned["/register"].append(Canned(400, body))
    with pytest.raises(LaunchNotTried, match=r"no fragment|HTTP status 400"):
        register(client, discover(client, server.fhir_url), redirect_uri="http://127.0.0.1:8723/callback#x")


def test_without_a_registration_endpoint_nothing_is_tried(server: SmartServer, client: HttpClient) -> None:
    server.well_known = None
    with pytest.raises(LaunchNotTried, match="no dynamic registration"):
        register(client, discover(client, server.fhir_url), redirect_uri="http://127.0.0.1:8723/callback")
