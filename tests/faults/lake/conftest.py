"""Real claims, cut into what successive commits bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.lake.working import Step
from tests.unit.lake.records import Person, read_person, version_of


@pytest.fixture(scope="session")
def person(test_data: Path) -> Person:
    """One real person."""
    return read_person(test_data, "Darcy_Schmidt")


@pytest.fixture(scope="session")
def steps(person: Person) -> list[Step]:
    """Four commits: two claims each, the later ones with a newer version of the first claim too."""
    claims = person.of("ExplanationOfBenefit")
    return [
        [
            *(version_of(claim) for claim in claims[2 * number : 2 * number + 2]),
            *([version_of(claims[0], disposition=f"in step {number}")] if number else []),
        ]
        for number in range(4)
    ]
