"""Issues stay short and few."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from s4s_lab.views.issues import MAX_ISSUES, MAX_LENGTH, MAX_SHOWN, bounded, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("it's", '"it\'s"'),
        ("\ud800", r"'\ud800'"),
        (True, "true"),
        (12, "12"),
        (10**400, "a huge number"),
        (Decimal("1E+400"), "1E+400"),
        (0.5, "0.5"),
        ({}, "an object"),
        ([], "a list"),
        (None, "a value of another kind"),
    ],
)
def test_a_value_is_named_in_a_few_words(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_long_value_is_shortened() -> None:
    assert len(shown("x" * 10_000)) == MAX_SHOWN
    assert shown("x" * 10_000).endswith("…")
    assert len(shown(Decimal("1" * 500))) == MAX_SHOWN


def test_issues_are_bounded_in_number_and_length_and_the_rest_is_counted() -> None:
    kept = bounded(f"{number}: {'x' * 1000}" for number in range(100))
    assert len(kept) == MAX_ISSUES
    assert kept[-1] == "and 81 more"
    assert max(map(len, kept)) == MAX_LENGTH


def test_an_issue_is_said_once() -> None:
    assert bounded(["a", "b", "a"]) == ["a", "b"]
