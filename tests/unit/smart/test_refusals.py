"""Refusals: a sentence for each error code, and nothing of a secret in it."""

from __future__ import annotations

import pytest

from s4s_lab.smart.refusals import quotable, refusal
from s4s_lab.values import Secret

# RFC 6749, sections 4.1.2.1 and 5.2, every code that a client may meet.
CODES = [
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "invalid_client",
    "invalid_grant",
]


@pytest.mark.parametrize("code", CODES)
def test_each_code_of_the_standard_has_a_sentence_and_a_hint_of_its_own(code: str) -> None:
    said = refusal(code)
    assert said.error == code
    assert said.hint
    assert said.args[0] != refusal("unheard_of").args[0].replace("unheard_of", code)


def test_the_servers_own_words_are_quoted() -> None:
    assert 'It says: "Allowed scopes: a, b".' in str(refusal("invalid_scope", "Allowed scopes: a, b."))


def test_an_unknown_code_is_shown_without_characters_that_no_code_has() -> None:
    said = refusal('weird\n<b>"code\\' + "x" * 100)
    assert said.error.startswith("weird<b>code")
    assert len(said.error) == 64


def test_what_is_quoted_is_one_short_line_without_queries_and_secrets() -> None:
    text = "No\r\nsuch  patient at https://ehr/Patient?id=77 \u2028for tok3n\x00" + "y" * 500
    said = quotable(text, [Secret("tok3n"), None, Secret("")])
    assert said.startswith("No such patient at https://ehr/Patient?… for … yyy")
    assert len(said) == 200
