"""Authorization responses: read from any paste, judged in a fixed order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from s4s_lab.errors import LaunchRefused, UsageError
from s4s_lab.smart import SmartConfiguration
from s4s_lab.smart.answers import belongs_to, code_of, read_answer
from s4s_lab.values import Secret

STATE = Secret("st4te")
SERVER = SmartConfiguration("https://ehr/fhir", "https://ehr/a", "https://ehr/t", issuer="https://ehr")
NO_ISSUER = replace(SERVER, issuer=None, iss_parameter_supported=True)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8723/callback?code=a%2Bb%3D&state=st4te",
        "  http://127.0.0.1:8723/callback?code=a%2Bb%3D&state=st4te\n",
        "<http://127.0.0.1:8723/callback?code=a%2Bb%3D&state=st4te#_=_>",
        "/callback?state=st4te&code=a%2Bb%3D&session_state=ignored",
        "?code=a%2Bb%3D&state=st4te",
        "code=a%2Bb%3D&state=st4te",
        "state=st4te&code=a%2Bb%3D",
        "127.0.0.1:8723/callback?code=a%2Bb%3D&state=st4te",  # as address bars show it
        "hub.example/user/ann/proxy/8723/callback?code=a%2Bb%3D&state=st4te",
        "http://127.0.0.1:8723/callback?code=a%2B\n  b%3D&\r\nstate=st4te",  # as terminals wrap it
        "“http://127.0.0.1:8723/callback?code=a%2Bb%3D&state=st4te”",
        "http://127.0.0.1:8723/callback?code=a%2Bb%3D&amp;state=st4te",
    ],
)
def test_a_code_is_found_in_any_paste(text: str) -> None:
    assert read_answer(text) == {"code": "a+b=", "state": "st4te"}


def test_a_code_that_a_server_shows_with_its_state_is_taken() -> None:
    assert read_answer(" c0-d_e.f~+/#st4te\n") == {"code": "c0-d_e.f~+/", "state": "st4te"}


def test_an_answer_shows_no_code() -> None:
    assert repr(read_answer("code=c0de&state=st4te")) == "Answer(code, state)"


def test_a_question_mark_inside_a_bare_code_is_part_of_it() -> None:
    assert read_answer("code=a?b&state=s")["code"] == "a?b"


@pytest.mark.parametrize("text", ["", "hello", "http://127.0.0.1:8723/callback", "https://ehr/authorize?state=st4te"])
def test_a_paste_without_an_answer_is_told_what_to_copy(text: str) -> None:
    with pytest.raises(UsageError, match="Copy the whole address"):
        read_answer(text)


@pytest.mark.parametrize("text", ["code=a&code=b&state=s", "?code=a&state=s&state=s", "error=a&error=b"])
def test_a_parameter_that_occurs_twice_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="twice"):
        read_answer(text)


def test_an_endless_paste_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        read_answer("code=" + "a" * 20_000)


@pytest.mark.parametrize(
    ("answer", "server", "error"),
    [
        ({"error": "access_denied", "state": "forged", "iss": "forged", "code": "c"}, SERVER, "access_denied"),
        ({"state": "forged", "iss": "forged", "code": "c"}, SERVER, "state_mismatch"),
        ({"iss": "forged", "code": "c"}, SERVER, "state_mismatch"),
        ({"state": "st4te", "iss": "forged"}, SERVER, "issuer_mismatch"),
        ({"state": "st4te", "iss": "https://ehr/"}, SERVER, "issuer_mismatch"),
        ({"state": "st4te"}, replace(SERVER, iss_parameter_supported=True), "issuer_mismatch"),
        ({"state": "st4te", "iss": "https://ehr", "code": "c"}, NO_ISSUER, "issuer_mismatch"),
        ({"state": "st4te", "code": "c"}, NO_ISSUER, "issuer_mismatch"),
        ({"error": "access_denied"}, SERVER, "no_state"),
        ({"state": "st4te"}, SERVER, "invalid_request"),
        ({"state": "st4te", "code": ""}, SERVER, "invalid_request"),
    ],
)
def test_error_comes_before_state_before_issuer_before_code(
    answer: dict[str, str], server: SmartConfiguration, error: str
) -> None:
    with pytest.raises(LaunchRefused) as caught:
        code_of(answer, STATE, server)
    assert caught.value.error == error


@pytest.mark.parametrize(
    ("extra", "server"),
    [
        ({}, SERVER),
        ({"iss": "https://ehr"}, SERVER),
        ({"iss": "https://ehr"}, replace(SERVER, iss_parameter_supported=True)),
        ({"iss": "https://any"}, replace(SERVER, issuer=None)),
    ],
)
def test_a_right_answer_gives_its_code(extra: dict[str, str], server: SmartConfiguration) -> None:
    assert code_of({"state": "st4te", "code": "c0de", **extra}, STATE, server) == Secret("c0de")


@pytest.mark.parametrize(
    ("answer", "ours"),
    [
        ({"state": "st4te", "code": "c"}, True),
        ({"state": "st4te", "error": "access_denied"}, True),
        ({"error": "access_denied"}, False),
        ({"error": "access_denied", "state": ""}, False),
        ({"error": "access_denied", "state": "other"}, False),
        ({"code": "c"}, False),
        ({"code": "c", "state": "st4t\u00e9"}, False),
    ],
)
def test_an_answer_belongs_by_its_state(answer: dict[str, str], ours: bool) -> None:
    assert belongs_to(answer, STATE) is ours


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "server_error", "error_description": "call +1 555 0100"}, "The server sent an error without state"),
        ({"error": "call+1-555-0100"}, "one of no known kind"),
        ({"error": "server_error", "error_description": "call +1 555 0100", "state": "forged"}, "failed while"),
    ],
)
def test_an_error_without_our_state_is_quoted_nowhere(answer: dict[str, str], said: str) -> None:
    with pytest.raises(LaunchRefused, match=said) as caught:
        code_of(answer, STATE, SERVER)
    assert "555" not in str(caught.value)
