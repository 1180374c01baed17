"""Whatever a browser or a token endpoint sends, only errors of the tree come out, and a foreign state never passes."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.errors import S4SError, UnexpectedAnswer
from s4s_lab.net import Answer
from s4s_lab.smart import SmartConfiguration
from s4s_lab.smart.answers import belongs_to, code_of, read_answer
from s4s_lab.smart.loopback_server import parse_request
from s4s_lab.smart.refusals import quotable
from s4s_lab.smart.scopes import scopes_not_granted
from s4s_lab.smart.token_response import grant_of, lifetime_of, read_response
from s4s_lab.values import Secret

STATE = Secret("9w1tTnh3vFzvQ0bq")
SERVER = SmartConfiguration("https://ehr/fhir", "https://ehr/a", "https://ehr/t")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["access_token", "token_type", "patient", "scope", "expires_in", "refresh_token", "error"])
RESPONSES = st.dictionaries(FIELDS, JSON_VALUES | st.just("bearer") | st.just("smart-1"), max_size=7)


@given(st.dictionaries(st.sampled_from(["code", "state", "iss", "error"]), st.text(max_size=30)))
def test_a_callback_with_a_foreign_state_yields_no_code(parameters: dict[str, str]) -> None:
    try:
        code_of(read_answer(urlencode(parameters)), STATE, SERVER)
    except S4SError:
        return
    assert parameters["state"] == STATE.reveal()


@given(st.text(max_size=80))
def test_any_pasted_text_is_an_answer_or_a_usage_error(text: str) -> None:
    try:
        answer = read_answer(text)
    except S4SError:
        return
    assert answer.keys() & {"code", "error"}
    assert not belongs_to(answer | {"state": "other"}, STATE)


@given(RESPONSES)
def test_any_token_response_is_a_sound_grant_or_a_typed_error(body: dict[str, object]) -> None:
    answer = Answer(200, {"content-type": "application/json"}, json.dumps(body).encode(), "https://ehr/t", 0.0, None)
    try:
        grant = grant_of(read_response(answer), previous=None, scope="asked", asked_at=NOW)
    except S4SError:
        return
    assert body["patient"] == grant.patient_id
    assert grant.access_token.reveal().isprintable()
    assert 30 <= (grant.expires_at - NOW).total_seconds() <= 86_400


@given(st.binary(max_size=200))
def test_any_token_body_is_read_or_a_typed_error(body: bytes) -> None:
    with suppress(UnexpectedAnswer):
        read_response(Answer(200, {}, body, "https://ehr/t", 0.0, None))


@given(st.integers() | st.floats() | st.text(max_size=12) | st.none() | st.booleans())
def test_any_lifetime_is_from_half_a_minute_to_a_day(expires_in: object) -> None:
    assert 30 <= lifetime_of(expires_in) <= 86_400


@given(st.binary(max_size=120))
def test_any_bytes_are_a_request_or_none(head: bytes) -> None:
    request = parse_request(head + b"\r\n\r\n")
    assert request is None or request.target.startswith("/")


@given(st.text(max_size=400), st.text(alphabet="αβγδ", min_size=4, max_size=12))
def test_no_text_is_quoted_with_a_secret_or_over_more_than_a_line(text: str, secret: str) -> None:
    quoted = quotable(text + secret + text, [Secret(secret)])
    assert len(quoted.splitlines()) <= 1
    assert len(quoted) <= 200
    assert secret not in quoted


@given(st.lists(st.sampled_from(["patient/*.read", "patient/*.rs", "patient/Patient.r", "launch", "user/*.*"])))
def test_what_was_granted_to_the_letter_is_never_missing(scopes: list[str]) -> None:
    assert scopes_not_granted(" ".join(scopes), " ".join(scopes)) == []
