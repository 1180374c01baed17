"""A dataset, and real people to fill it with."""

from __future__ import annotations

from pathlib import Path

import pytest

from s4s_lab.lake import Dataset, open_dataset
from tests.unit.lake.records import Person, read_person


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """A new, empty dataset."""
    return open_dataset(tmp_path / "dataset")


@pytest.fixture(scope="session")
def darcy(test_data: Path) -> Person:
    """One real person."""
    return read_person(test_data, "Darcy_Schmidt")


@pytest.fixture(scope="session")
def leroy(test_data: Path) -> Person:
    """Another one."""
    return read_person(test_data, "Leroy_Johns")
