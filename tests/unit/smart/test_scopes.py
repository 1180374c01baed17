"""Scopes: what covers what, and which form to ask in."""

from __future__ import annotations

import pytest

from s4s_lab.smart.scopes import scope_to_ask, scopes_in_both, scopes_not_granted
from s4s_lab.values import S4S_SCOPE


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("patient/*.read", "patient/*.read"),
        ("patient/*.read", "patient/*.rs"),
        ("patient/*.read", "patient/*.cruds"),
        ("patient/*.read", "patient/*.*"),
        ("patient/*.read", "patient/*.r patient/*.s"),
        ("patient/ImagingStudy.read", "patient/*.read"),
        ("patient/ImagingStudy.rs", "patient/ImagingStudy.read"),
        ("patient/Observation.rs?category=lab", "patient/Observation.rs"),
        ("launch/patient", "openid launch/patient"),
    ],
)
def test_a_granted_scope_covers_an_asked_one(asked: str, granted: str) -> None:
    assert scopes_not_granted(asked, granted) == []


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("patient/*.read", "patient/ImagingStudy.read"),
        ("patient/*.read", "patient/*.r"),
        ("patient/*.read", "user/*.read"),
        ("patient/*.read", "patient/*.write"),
        ("patient/*.read", "patient/*.rs?category=lab"),
        ("patient/*.read", ""),
        ("offline_access", "online_access"),
        ("patient/*.", "patient/*.read"),
    ],
)
def test_less_or_other_scopes_do_not_cover(asked: str, granted: str) -> None:
    assert scopes_not_granted(asked, granted) == [asked]


def test_what_is_not_granted_comes_in_the_order_asked() -> None:
    assert scopes_not_granted(S4S_SCOPE, "launch/patient") == ["patient/*.read", "offline_access"]


@pytest.mark.parametrize("capabilities", [set(), {"permission-v1"}, {"permission-v1", "permission-v2"}])
def test_the_s4s_form_is_kept_wherever_v1_may_be_understood(capabilities: set[str]) -> None:
    assert scope_to_ask(S4S_SCOPE, capabilities) == S4S_SCOPE


def test_v2_is_asked_where_only_that_is_understood() -> None:
    asked = scope_to_ask("patient/*.read patient/Patient.rs user/A.write patient/B.* openid", {"permission-v2"})
    assert asked == "patient/*.rs patient/Patient.rs user/A.cud patient/B.cruds openid"


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("patient/*.read", "patient/*.read", "patient/*.read"),
        ("patient/*.read", "patient/*.rs", "patient/*.read"),
        ("patient/*.read", "patient/*.cruds", "patient/*.read"),
        ("patient/*.read", "patient/*.r", "patient/*.r"),
        ("patient/*.read launch/patient", "patient/Patient.read openid", "patient/Patient.read"),
        ("patient/Patient.read", "user/*.read system/*.cruds", ""),
    ],
)
def test_what_two_sets_of_scopes_allow_both(first: str, second: str, both: str) -> None:
    assert scopes_in_both(first, second) == both
