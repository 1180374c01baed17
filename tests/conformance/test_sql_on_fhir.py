"""HL7's conformance suite for ViewDefinitions, every case of it (FHIR/sql-on-fhir-v2, folder tests)."""

from __future__ import annotations

import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views import Subject, decode, load_view, run_views
from tests.conftest import TEST_DATA

SUITE = TEST_DATA / "sql-on-fhir"
SUITE_SIZE = 134


def suite_cases(folder: Path) -> list[tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    """Every case as (name, resources, case)."""
    return [
        (f"{path.stem}: {case['title']}", suite["resources"], case)
        for path in sorted(folder.glob("*.json"))
        for suite in [decode(path.read_bytes())]
        for case in suite["tests"]
    ]


CASES = suite_cases(SUITE)


def canonical(value: Any) -> Any:
    """Make numbers of any kind and lists comparable and hashable."""
    if isinstance(value, list):
        return tuple(canonical(one) for one in value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Decimal(str(value)).normalize()
    return value


def as_multiset(rows: list[dict[str, Any]]) -> Counter[Any]:
    """Rows without order, as the suite compares them."""
    return Counter(frozenset((name, canonical(value)) for name, value in row.items()) for row in rows)


def differences(resources: list[dict[str, Any]], case: dict[str, Any]) -> str:
    """Say how our answer differs from the case's; empty when it does not."""
    try:
        view = load_view(case["view"])
        table = run_views([view], [Subject(resource) for resource in resources])[view.name]
    except ViewError as error:
        return "" if case.get("expectError") else f"refused: {error}"
    if case.get("expectError"):
        return "an error was due"
    if case.get("expectColumns", table.column_names) != table.column_names:
        return f"columns {table.column_names}, not {case['expectColumns']}"
    ours, theirs = as_multiset(table.to_pylist()), as_multiset(case["expect"])
    return "" if ours == theirs else f"rows {ours - theirs} for {theirs - ours}"


@pytest.mark.parametrize(("resources", "case"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_gives_the_rows_of_the_suite(resources: list[dict[str, Any]], case: dict[str, Any]) -> None:
    assert differences(resources, case) == ""


def test_the_whole_suite_passes(test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = [differences(resources, case) for _, resources, case in suite_cases(test_data / "sql-on-fhir")]
    with capsys.disabled():
        sys.stdout.write(f"\nSQL on FHIR: {results.count('')} of {len(results)} cases\n")
    assert (results.count(""), len(results)) == (SUITE_SIZE, SUITE_SIZE)


@pytest.mark.parametrize(
    ("expect", "said"),
    [([{"id": "a"}, {"id": "b"}], "rows"), ([{"id": "b"}], "rows"), ([{"other": "a"}], "rows"), ([{"id": "a"}], "")],
)
def test_the_comparison_can_tell_right_from_wrong(expect: list[dict[str, Any]], said: str) -> None:
    view = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id", "type": "id"}]}]}
    found = differences([{"resourceType": "Patient", "id": "a"}], {"view": view, "expect": expect})
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_view_that_should_be_refused_and_is_not_counts_as_a_difference() -> None:
    view = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    assert differences([], {"view": view, "expectError": True}) == "an error was due"
    assert differences([], {"view": {}, "expectError": True}) == ""
