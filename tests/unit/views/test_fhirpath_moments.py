"""Dates and times of any precision: order and boundaries."""

from __future__ import annotations

import pytest

from s4s_lab.views.fhirpath.moments import boundary, is_moment, order


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("2015", "2016", -1),
        ("2016-01-01", "2015-12-31", 1),
        ("2015-02-07", "2015-02-07", 0),
        ("2015", "2015-02", None),
        ("2015-02-07", "2015-02-07T10:00:00Z", None),
        ("2015-02-07T13:28:17+02:00", "2015-02-07T11:28:17Z", 0),
        ("2015-02-07T23:30:00-02:00", "2015-02-08T00:00:00Z", 1),
        ("2015-02-07T10:00", "2015-02-07T10:00:30", None),
        ("2015-02-07T10:00:00.5Z", "2015-02-07T10:00:00.499Z", 1),
        ("12:30", "12:31", -1),
        ("12:30:00", "12:30", None),
        ("2015-13", "2015-12", None),
        ("yesterday", "2015", None),
        ("0000", "2015", None),
    ],
)
def test_two_moments_are_ordered_as_far_as_both_are_known(left: str, right: str, expected: int | None) -> None:
    assert order(left, right) == expected


@pytest.mark.parametrize(
    ("text", "fhir_type", "low", "high"),
    [
        ("2010", None, "2010-01-01", "2010-12-31"),
        ("2012-02", "date", "2012-02-01", "2012-02-29"),
        ("2010-10-10", "date", "2010-10-10", "2010-10-10"),
        ("2010", "dateTime", "2010-01-01T00:00:00.000+14:00", "2010-12-31T23:59:59.999-12:00"),
        ("2010-10-10", "instant", "2010-10-10T00:00:00.000+14:00", "2010-10-10T23:59:59.999-12:00"),
        ("2010-10-10T09:30Z", None, "2010-10-10T09:30:00.000Z", "2010-10-10T09:30:59.999Z"),
        ("2010-10-10T09:30:15.5Z", None, "2010-10-10T09:30:15.500Z", "2010-10-10T09:30:15.599Z"),
        ("12:34", None, "12:34:00.000", "12:34:59.999"),
    ],
)
def test_boundaries_fill_up_what_the_text_leaves_open(text: str, fhir_type: str | None, low: str, high: str) -> None:
    assert boundary(text, high=False, fhir_type=fhir_type) == low
    assert boundary(text, high=True, fhir_type=fhir_type) == high


def test_text_of_another_form_has_no_boundary() -> None:
    assert boundary("tomorrow", high=True, fhir_type="dateTime") is None


@pytest.mark.parametrize(("text", "is_one"), [("2015-02-07", True), ("2015-02-07T10:00", True), ("2015-02", False)])
def test_only_a_full_date_counts_as_a_moment_without_being_told(text: str, is_one: bool) -> None:
    assert is_moment(text) == is_one
