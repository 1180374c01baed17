"""Real claims, replayed byte for byte by a plain file server, pulled into a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s4s_lab import Dataset, pull
from tests.wire.fhir.test_recorded_pages import AB2D, ab2d_page, counted, file_server
from tests.wire.sync.conftest import connection

PATIENT = "20140000008325"


@pytest.fixture
def pages(test_data: Path) -> list[Path]:
    folder = test_data / "fhir" / "stu3" / "cms-ab2d-pages"
    return [folder / f"{PATIENT}{suffix}.json" for suffix in ("", "_10", "_20", "_30")]


@pytest.mark.clause("S4S-8")
def test_the_four_pages_of_ab2d_become_rows_and_their_bytes_are_kept(data: Dataset, pages: list[Path]) -> None:
    claims = {claim["id"]: claim for claim in counted(*pages)}
    link = connection(AB2D, PATIENT)
    with file_server(lambda _, query: ab2d_page(pages[0].parent, query), port=8083):
        report = pull(link, data, types=["ExplanationOfBenefit"])
    (told,) = report.types
    assert (told.pages, told.new, len(claims)) == (4, 32, 32)
    table = data.table("explanation_of_benefit")
    assert set(table["resource_id"]) == set(claims)
    assert len(data.table("eob_item")) == sum(len(claim.get("item", [])) for claim in claims.values())
    record = data.connection(AB2D, PATIENT)
    kept = data.log.raw(record, "ExplanationOfBenefit")
    assert {key: json.loads(raw) for key, raw in kept.items()} == claims
    sources = b"".join(path.read_bytes() for path in pages)
    assert all(raw.encode() in sources for raw in kept.values())
    # The recorded Bundles say when they were made: nothing after that can have been seen.
    assert told.last_check is not None
    assert told.last_check.year == 2019
