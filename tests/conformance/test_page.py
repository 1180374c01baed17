"""The conformance page says what the tests prove, no more and no less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.clauses import CLAUSES, conformance_page

PROJECT = Path(__file__).resolve().parents[2]


def test_the_page_in_docs_is_what_the_markers_give(tmp_path: Path) -> None:
    fresh = tmp_path / "conformance.md"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--conformance-page={fresh}"]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert fresh.read_text() == (PROJECT / "docs" / "conformance.md").read_text(), "run: make conformance"


def test_a_clause_without_a_test_is_shown_as_open() -> None:
    page = conformance_page({"S4S-1": {"tests/wire/test_x.py::test_y"}})
    assert page.count("**open**") == len(CLAUSES)  # the introduction explains the word once
    assert "| S4S-1 | `GET /metadata`" in page
    assert "`tests/wire/test_x.py::test_y` |" in page


def test_a_marker_for_a_clause_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="S4S-99"):
        conformance_page({"S4S-99": {"a"}})
