"""Token responses: every field is checked before it is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s4s_lab.errors import PatientMismatch, UnexpectedAnswer
from s4s_lab.net import Answer
from s4s_lab.smart.client_requests import client_authentication
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.token_response import grant_of, lifetime_of, read_response, refused
from s4s_lab.smart.tokens import lacking, narrowed
from s4s_lab.values import S4S_SCOPE, Registration, Secret

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = {"access_token": "Vgxh", "token_type": "Bearer", "patient": "smart-1288992", "refresh_token": "lETV"}
HELD = Grant(Secret("old"), Secret("keep"), "patient/*.read", "smart-1288992", NOW, generation=4)


def _answer(body: Any, status: int = 200, content_type: str = "application/json;charset=UTF-8") -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {"content-type": content_type}, raw, "https://ehr/token", 0.1, None)


def _grant(previous: Grant | None = None, **fields: Any) -> Grant:
    body = {name: value for name, value in (GOOD | fields).items() if value is not ...}
    return grant_of(read_response(_answer(body)), previous=previous, scope=S4S_SCOPE, asked_at=NOW)


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER"])
def test_the_token_type_is_bearer_in_any_case(token_type: str) -> None:
    assert _grant(token_type=token_type).access_token == Secret("Vgxh")


@pytest.mark.parametrize(
    "fields",
    [
        {"token_type": "mac"},
        {"token_type": ...},
        {"access_token": ...},
        {"access_token": ""},
        {"access_token": "a\r\nX-Injected: 1"},
        {"access_token": "a b"},
        {"access_token": "tökén"},
        {"refresh_token": "a\n"},
        {"patient": ...},
        {"patient": ""},
        {"patient": 12},
        {"patient": "a/b"},
        {"patient": "p\n"},
        {"patient": "x" * 65},
        {"patient": ["a"]},
    ],
)
def test_a_field_that_is_missing_or_malformed_is_a_typed_error(fields: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswer):
        _grant(**fields)


@pytest.mark.parametrize("patient", ["smart-1288992", "-20140000008325", "A.b-9", "x" * 64])
def test_a_patient_is_a_fhir_id(patient: str) -> None:
    assert _grant(patient=patient).patient_id == patient


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (300, 300),
        ("3600", 3600),
        (299.9, 299),
        ("", 3600),
        (None, 3600),
        (True, 3600),
        ("soon", 3600),
        ([], 3600),
        (-5, 30),
        (0, 30),
        (1, 30),
        (10**400, 3600),
        (1e300, 86_400),
        ("inf", 86_400),
        ("nan", 30),
        ("1e999", 86_400),
    ],
)
def test_a_lifetime_is_whole_seconds_within_bounds(expires_in: object, seconds: int) -> None:
    assert lifetime_of(expires_in) == seconds


def test_a_lifetime_counts_from_when_the_token_was_asked_for() -> None:
    assert _grant(expires_in=900).expires_at == NOW + timedelta(seconds=900)


@pytest.mark.parametrize("scope", [..., "", None, 7])
def test_without_a_scope_what_was_asked_counts_as_granted(scope: object) -> None:
    assert _grant(scope=scope).scope == S4S_SCOPE


def test_a_renewal_keeps_patient_and_refresh_token_that_are_not_repeated() -> None:
    renewed = _grant(previous=HELD, patient=..., refresh_token=...)
    assert (renewed.patient_id, renewed.refresh_token, renewed.generation) == ("smart-1288992", Secret("keep"), 5)


def test_a_renewal_for_another_patient_is_refused() -> None:
    with pytest.raises(PatientMismatch):
        _grant(previous=HELD, patient="other")


@pytest.mark.parametrize(
    "answer",
    [
        _answer(b"{" + b'"x":{' * 50_000),
        _answer(b'{"expires_in": 1e309}'),
        _answer(b'{"expires_in": NaN}'),
        _answer(b"\xff\xfe"),
        _answer(b""),
        _answer(b"[" * 60_000),
        _answer(GOOD, content_type="text/html"),
        _answer(b" " * (64 << 10) + b"{}"),
    ],
    ids=["bomb", "1e309", "NaN", "not UTF-8", "empty", "deep", "html", "large"],
)
def test_a_hostile_body_is_a_typed_error(answer: Answer) -> None:
    with pytest.raises(UnexpectedAnswer, match="token endpoint"):
        read_response(answer)


def test_the_description_of_the_s4s_reference_server_is_quoted_too() -> None:
    said = refused(_answer({"error": "invalid_scope", "description": "no such scope"}, 400), secrets=[])
    assert said.error == "invalid_scope"
    assert "no such scope" in str(said)


@pytest.mark.parametrize("body", [b"", b"oops", b"{}", b'{"error": 7}'])
def test_an_error_status_without_an_oauth_error_is_unexpected(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer, match="HTTP status 502"):
        refused(_answer(body, 502), secrets=[])


def test_tokens_are_hidden_from_the_first_moment() -> None:
    response = read_response(_answer(GOOD))
    assert "Vgxh" not in repr(response)
    assert "lETV" not in repr(_grant())


def test_basic_credentials_are_form_urlencoded_first() -> None:
    # Encoded by hand: "a b" is a+b, "p:ä/" is p%3A%C3%A4%2F; then base64(1) of a+b:p%3A%C3%A4%2F.
    headers, form = client_authentication(Registration("a b", Secret("p:ä/")), "https://ehr/token")
    assert headers == {"Authorization": "Basic YStiOnAlM0ElQzMlQTQlMkY="}
    assert form == {}


def test_what_was_asked_and_had_no_effect_is_listed() -> None:
    whole = replace(HELD, scope="patient/*.rs")
    assert lacking(whole, S4S_SCOPE) == []
    assert narrowed(whole, S4S_SCOPE) is None
    assert lacking(replace(whole, refresh_token=None, scope=S4S_SCOPE), S4S_SCOPE) == ["offline_access"]
    assert lacking(replace(whole, scope="launch/patient"), S4S_SCOPE) == ["patient/*.read"]


def test_a_missing_refresh_token_is_said() -> None:
    assert "no refresh token" in str(narrowed(replace(HELD, refresh_token=None), S4S_SCOPE))
    assert "refresh token" not in str(narrowed(replace(HELD, scope="launch/patient"), S4S_SCOPE))
