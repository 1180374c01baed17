"""The data dictionary in docs is what the catalogue says, and says something of every column."""

from __future__ import annotations

import pytest

from s4s_lab.views import data_dictionary, load_view, packaged_views
from tests.conformance.dictionary import PAGE, dictionary_page


def test_the_page_in_docs_is_what_the_catalogue_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == dictionary_page(), "run: make dictionary"


@pytest.mark.parametrize("name", packaged_views())
def test_every_column_has_a_meaning_and_a_path_in_one_version(name: str) -> None:
    for row in data_dictionary(load_view(name)).to_pylist():
        assert row["meaning"], row["column"]
        given_by_the_pull = row["column"] in ("source", "participant_id", "parse_issues")
        assert row["fhir_stu3"] or row["fhir_r4"] or given_by_the_pull, row["column"]
