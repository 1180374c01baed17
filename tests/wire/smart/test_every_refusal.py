"""Every way a server can say no, or say nonsense: a typed error, in a sentence that a person can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from s4s_lab.connection import Connection, PendingLaunch, prepare_launch
from s4s_lab.errors import (
    AccessRefused,
    GrantExpired,
    LaunchRefused,
    PatientMismatch,
    S4SError,
    UnexpectedAnswer,
    Waiting,
)
from s4s_lab.fhir import search
from s4s_lab.net import Patience
from s4s_lab.smart import MemoryGrants, renewal
from s4s_lab.values import Secret
from tests.wire.smart.browser import redirected_to
from tests.wire.smart.server import CLIENT_SECRET, Canned, SmartServer

TO_DO = re.compile(r"\b(launch|connect|check|ask|give|run|tell|leave|finish|nothing was shared)\b", re.IGNORECASE)
TOKENS = {"access_token": "a", "token_type": "Bearer", "patient": "p", "expires_in": 3600}


@pytest.fixture
def pending(server: SmartServer, free_redirect_uri: str) -> Iterator[PendingLaunch]:
    pending = prepare_launch(server.fhir_url, replace(server.registration, redirect_uri=free_redirect_uri))
    yield pending
    pending.close()


@pytest.fixture
def link(pending: PendingLaunch, server: SmartServer) -> Connection:
    link = pending.answer(redirected_to(pending.authorize_url))
    server.asked.clear()
    return link


def _canned(status: int, body: object = None, **headers: str) -> Canned:
    text = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return Canned(
        status, text, {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    )


def _actionable(error: S4SError, words: str) -> None:
    said = str(error)
    assert re.search(words, said), said
    assert error.hint, f"nothing to do is said: {said}"
    assert TO_DO.search(error.hint), error.hint
    assert said.endswith(".")
    for secret in (CLIENT_SECRET, "s4s_sandbox_code_0", "s4s_sandbox_refresh_1", "s4s_sandbox_access_1", "verifier"):
        assert secret not in said


@pytest.mark.parametrize(
    ("error", "description", "words"),
    [
        ("access_denied", "User said no", "did not consent.*User said no"),
        ("invalid_client", "", "does not accept this client id"),
        ("invalid_request", "redirect_uri", "does not accept the request.*redirect_uri"),
        ("invalid_request", "code_challenge required", "code_challenge required"),
        ("invalid_scope", "patient/*.write is not for you", r"scopes.*patient/\*\.write is not for you"),
        ("unauthorized_client", "", "does not allow it this way"),
        ("unsupported_response_type", "", "way of launching"),
        ("server_error", "", "failed while it authorized"),
        ("temporarily_unavailable", "", "too busy"),
        ("login_required", "", "sign in"),
        ("interaction_required", "", "sign in"),
        ("consent_required", "", "consent"),
        ("something_new", "of this server", "refused the launch.*of this server.*something_new"),
    ],
)
def test_an_error_of_the_authorization_endpoint(
    pending: PendingLaunch, server: SmartServer, error: str, description: str, words: str
) -> None:
    answer = {"error": error, "error_description": description, "state": pending._launch.state.reveal()}
    with pytest.raises(LaunchRefused) as caught:
        pending.answer("?" + urlencode(answer))
    assert caught.value.error == error
    _actionable(caught.value, words)
    assert server.asked_for("/token") == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (_canned(401, {"error": "invalid_client", "error_description": "no Basic header"}), LaunchRefused, "no Basic"),
        (_canned(400, {"error": "invalid_grant"}), LaunchRefused, "used before, is too old"),
        (_canned(401), LaunchRefused, "late code"),
        (_canned(400, {"error": "invalid_request", "description": "redirect_uri"}), LaunchRefused, "redirect_uri"),
        (_canned(400, {"error": "unauthorized_client"}), LaunchRefused, "does not allow"),
        (_canned(400, {"error": "unsupported_grant_type"}), LaunchRefused, "way of launching"),
        (_canned(400, {"error": "invalid_scope"}), LaunchRefused, "scopes"),
        (_canned(403, {"error": "access_denied"}), LaunchRefused, "consent"),
        (_canned(404), UnexpectedAnswer, "404"),
        (_canned(500), UnexpectedAnswer, "500"),
        (_canned(502, b"<html>Bad gateway</html>", Content_Type="text/html"), UnexpectedAnswer, "502"),
        (_canned(302, Location="https://elsewhere.example/"), UnexpectedAnswer, "302"),
        (_canned(503, Retry_After="600"), Waiting, "600 s"),
        (_canned(200, b"<html>", Content_Type="text/html"), UnexpectedAnswer, "no JSON"),
        (_canned(200, b'{"access_token": "a"'), UnexpectedAnswer, "JSON"),
        (_canned(200, b"[]"), UnexpectedAnswer, "JSON"),
        (_canned(200, b" " * 70_000), UnexpectedAnswer, "64 KiB"),
        (_canned(200, TOKENS | {"token_type": "mac"}), UnexpectedAnswer, "token_type"),
        (_canned(200, TOKENS | {"access_token": ""}), UnexpectedAnswer, "access_token"),
        (_canned(200, TOKENS | {"access_token": "a\r\nX-Evil: b"}), UnexpectedAnswer, "access_token"),
        (_canned(200, TOKENS | {"patient": None}), UnexpectedAnswer, "names no patient"),
        (_canned(200, TOKENS | {"patient": "../../etc"}), UnexpectedAnswer, "patient"),
        (_canned(200, TOKENS | {"patient": 7}), UnexpectedAnswer, "patient"),
    ],
    ids=lambda value: f"{value.status}-{value.body[:40]!r}" if isinstance(value, Canned) else None,
)
def test_an_answer_of_the_token_endpoint_to_a_code(
    pending: PendingLaunch, server: SmartServer, answer: Canned, error: type[S4SError], words: str
) -> None:
    redirected = redirected_to(pending.authorize_url)
    server.canned["/token"].append(answer)
    with pytest.raises(error) as caught:
        pending.answer(redirected)
    _actionable(caught.value, words)
    if error is Waiting:
        assert re.search("Launch again after .* UTC: this approval is lost", str(caught.value))
        assert "is kept" not in str(caught.value)
    assert len(server.asked_for("/token")) == 1


@dataclass(frozen=True)
class Renewal:
    """What the token endpoint answers a refresh token with, and what that is to a person."""

    answers: tuple[Canned, ...]
    error: type[S4SError]
    words: str
    again: type[S4SError] | None = None
    """What the next try ends with, when nothing is asked any more."""


RENEWALS = [
    Renewal((_canned(400, {"error": "invalid_grant"}),), GrantExpired, "does not renew", GrantExpired),
    Renewal((_canned(403, {"error": "invalid_grant"}),), GrantExpired, "does not renew", GrantExpired),
    Renewal((_canned(401, {"error": "invalid_client"}),), LaunchRefused, "does not accept this client id"),
    Renewal((_canned(400, {"error": "invalid_scope"}),), LaunchRefused, "scopes"),
    Renewal((_canned(500), _canned(500)), GrantExpired, "lost.*500", GrantExpired),
    Renewal((_canned(503),), UnexpectedAnswer, "503"),
    Renewal((_canned(502), _canned(400, {"error": "invalid_grant"})), GrantExpired, "was lost", GrantExpired),
    Renewal((_canned(200, TOKENS | {"patient": "other"}),), PatientMismatch, "another patient", GrantExpired),
    Renewal((_canned(200, b"<html>", Content_Type="text/html"),), UnexpectedAnswer, "no JSON"),
    Renewal((_canned(200, TOKENS | {"access_token": None}),), UnexpectedAnswer, "access_token"),
    Renewal((_canned(503, Retry_After="600"),), Waiting, "600 s"),
]


@pytest.mark.parametrize("case", RENEWALS, ids=lambda case: f"{case.error.__name__}: {case.words}")
def test_an_answer_of_the_token_endpoint_to_a_refresh_token(
    link: Connection, server: SmartServer, monkeypatch: pytest.MonkeyPatch, case: Renewal
) -> None:
    monkeypatch.setattr(renewal, "PAUSE_S", 0.0)
    server.canned["/token"].extend(case.answers)
    with pytest.raises(case.error) as caught:
        link.grants.renew(1, link._renewed)
    _actionable(caught.value, case.words)
    assert len(server.asked_for("/token")) == len(case.answers)
    if case.again is not None:
        with pytest.raises(case.again):
            link.grants.renew(1, link._renewed)
        assert len(server.asked_for("/token")) == len(case.answers)


def _search(link: Connection) -> None:
    with link.client(Patience(budget_s=0)) as client:
        list(search(client, link.fhir_url, "ImagingStudy", {"patient": link.patient_id}))


BEARER = 'Bearer error="{}", error_description="The token is not what it was"'


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ((_canned(401, WWW_Authenticate=BEARER.format("invalid_token")),) * 2, GrantExpired, "even a renewed one"),
        ((_canned(403, WWW_Authenticate=BEARER.format("insufficient_scope")),), AccessRefused, "403"),
        ((_canned(403),), AccessRefused, "403"),
    ],
)
def test_data_that_is_refused(
    link: Connection, server: SmartServer, answers: tuple[Canned, ...], error: type[S4SError], words: str
) -> None:
    server.canned["/fhir/ImagingStudy"].extend(answers)
    with pytest.raises(error) as caught:
        _search(link)
    _actionable(caught.value, words)
    assert len(server.asked_for("/fhir/ImagingStudy")) == len(answers)


def test_an_ended_grant_without_a_refresh_token(link: Connection, server: SmartServer) -> None:
    ended = replace(link.grants.read(), refresh_token=None, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    server.access_tokens.clear()
    with pytest.raises(GrantExpired) as caught:
        _search(replace(link, grants=MemoryGrants(ended)))
    _actionable(caught.value, "no refresh token")


def _issuer(server: SmartServer) -> None:
    assert server.well_known is not None
    server.well_known |= {"issuer": server.origin, "authorization_response_iss_parameter_supported": True}


@pytest.mark.parametrize("given", [{}, {"iss": ""}, {"iss": "https://other.example"}], ids=str)
def test_an_answer_of_another_issuer(server: SmartServer, free_redirect_uri: str, given: dict[str, str]) -> None:
    _issuer(server)
    pending = prepare_launch(server.fhir_url, replace(server.registration, redirect_uri=free_redirect_uri))
    with pytest.raises(LaunchRefused) as caught:
        pending.answer("?" + urlencode({"code": "c", "state": pending._launch.state.reveal(), **given}))
    assert caught.value.error == "issuer_mismatch"
    _actionable(caught.value, "another authorization server")
    assert server.asked_for("/token") == []


def _right(pending: PendingLaunch, server: SmartServer) -> dict[str, str]:
    return {"code": "c", "state": pending._launch.state.reveal(), "iss": server.origin}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"error": "access_denied", "iss": "https://other.example"}, "access_denied"),
        ({"iss": "https://other.example", "code": ""}, "issuer_mismatch"),
        ({"code": ""}, "invalid_request"),
    ],
    ids=["error before issuer", "issuer before code", "code last"],
)
def test_an_answer_is_judged_in_order(
    server: SmartServer, free_redirect_uri: str, wrong: dict[str, str], error: str
) -> None:
    _issuer(server)
    pending = prepare_launch(server.fhir_url, replace(server.registration, redirect_uri=free_redirect_uri))
    with pytest.raises(LaunchRefused) as caught:
        pending.answer("?" + urlencode(_right(pending, server) | wrong))
    assert caught.value.error == error


@pytest.mark.parametrize(
    ("answer", "call", "words"),
    [
        (_canned(401, {"error": "invalid_client"}), "introspect", "does not accept this client id"),
        (_canned(200, b"[]"), "introspect", "whether the token is active"),
        (_canned(200, {"active": "yes"}), "introspect", "whether the token is active"),
        (_canned(500), "introspect", "500"),
    ],
)
def test_an_introspection_that_fails(
    link: Connection, server: SmartServer, answer: Canned, call: str, words: str
) -> None:
    offered = replace(link.configuration, introspection_endpoint=f"{server.origin}/introspect")
    server.canned["/introspect"].append(answer)
    ask: Callable[[], object] = getattr(replace(link, configuration=offered), call)
    with pytest.raises(S4SError) as caught:
        ask()
    _actionable(caught.value, words)


@pytest.mark.parametrize(
    ("answers", "agreed"),
    [
        ((_canned(200), _canned(200)), True),
        ((_canned(400, {"error": "unsupported_token_type"}),), False),
        ((_canned(503),), False),
        ((_canned(401, {"error": "invalid_client"}),), False),
    ],
)
def test_a_revocation_is_believed_only_when_the_server_agrees(
    link: Connection, server: SmartServer, answers: tuple[Canned, ...], agreed: bool
) -> None:
    offered = replace(link.configuration, revocation_endpoint=f"{server.origin}/revoke")
    server.canned["/revoke"].extend(answers)
    ending = replace(link, configuration=offered)
    assert ending.disconnect() is agreed
    asked = server.asked_for("/revoke")
    assert asked[0].form == {"token": "s4s_sandbox_refresh_1", "token_type_hint": "refresh_token"}
    assert len(asked) == len(answers)
    assert ending.state == "ended"


def test_a_secret_in_a_servers_words_is_blotted_out(link: Connection, server: SmartServer) -> None:
    echo = {"error": "invalid_client", "error_description": f"{CLIENT_SECRET} s4s_sandbox_refresh_1 {Secret('x')!r}"}
    server.canned["/token"].append(_canned(401, echo))
    with pytest.raises(LaunchRefused) as caught:
        link.grants.renew(1, link._renewed)
    _actionable(caught.value, "… …")
