"""SMART scopes of both versions."""

from __future__ import annotations

import pytest

from s4s_lab.sandbox.authorization.scopes import covers, grantable, plain_words


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("patient/*.read launch/patient offline_access", "patient/*.read launch/patient offline_access"),
        ("launch/patient patient/*.rs", "launch/patient patient/*.rs"),
        ("patient/*.*", "patient/*.read"),
        ("patient/*.cruds", "patient/*.rs"),
        ("patient/ImagingStudy.read patient/Coverage.s", "patient/ImagingStudy.read patient/Coverage.s"),
        ("patient/*.write patient/*.cud", ""),
        ("user/*.read system/*.rs profile email launch/encounter", ""),
        ("patient/Observation.rs?category=laboratory", ""),
        ("patient/*.sr", ""),
        ("patient/*. patient/.read patient/*.reading", ""),
        ("patient/*.read patient/*.read", "patient/*.read"),
        ("", ""),
    ],
)
def test_what_can_be_granted_is_reading_and_nothing_unknown(asked: str, granted: str) -> None:
    assert grantable(asked) == granted


@pytest.mark.parametrize(
    ("scope", "resource_type", "allowed"),
    [
        ("patient/*.read", "Coverage", "rs"),
        ("patient/*.rs", "Coverage", "rs"),
        ("patient/*.r", "Coverage", "r"),
        ("patient/*.s", "Coverage", "s"),
        ("patient/ImagingStudy.read", "ImagingStudy", "rs"),
        ("patient/ImagingStudy.read", "Imaging", ""),
        ("patient/ImagingStudy.read", "Coverage", ""),
        ("patient/ImagingStudy.r patient/ImagingStudy.s", "ImagingStudy", "rs"),
        ("launch/patient offline_access", "Patient", ""),
        ("launch/patient patient/*.read", "Patient", "rs"),
        ("", "Patient", ""),
    ],
)
def test_a_scope_covers_its_type_and_interaction(scope: str, resource_type: str, allowed: str) -> None:
    assert covers(scope, resource_type, "r") == ("r" in allowed)
    assert covers(scope, resource_type, "s") == ("s" in allowed)


def test_scopes_are_told_in_plain_words_once() -> None:
    words = plain_words("patient/*.read patient/*.rs launch/patient offline_access")
    assert len(words) == 2
    assert words[0].startswith("see everything in your record")
    assert words[1].startswith("come back")
    assert plain_words("patient/ImagingStudy.read") == [
        "see your imaging studies: when and where they were made, and the images themselves"
    ]
    assert plain_words("patient/CarePlan.read") == ["see your CarePlan records"]
