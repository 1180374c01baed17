"""Which version of a resource counts, and what the digest says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from s4s_lab.lake.log import LOG_SCHEMA
from s4s_lab.lake.state import digest, first_of_run, newest, standing

T0 = datetime(2026, 11, 1, tzinfo=UTC)


def row(resource_id: str, content: str, *, after: int = 0, position: int = 0, **more: Any) -> dict[str, Any]:
    """One row of the log."""
    given = {
        "resource_type": "ImagingStudy",
        "bucket": 1,
        "source": "http://127.0.0.1/fhir",
        "patient_id": "p",
        "resource_id": resource_id,
        "content_hash": content,
        "raw": f'{{"id": "{resource_id}", "note": "{content}"}}',
        "fhir_version": "stu3",
        "connection_id": "c",
        "run_id": "r",
        "received_at": T0 + timedelta(hours=after),
        "after_version": after,
        "position": position,
    }
    return given | more


def tombstone(resource_id: str, *, after: int) -> dict[str, Any]:
    """One row that marks a resource as fallen out."""
    return row(resource_id, "gone", after=after, raw=None, fell_out="deleted")


def log(*rows: dict[str, Any]) -> pa.Table:
    """A log of rows."""
    return pa.Table.from_pylist(list(rows), LOG_SCHEMA)


def test_the_version_that_was_committed_last_counts_whatever_the_order_of_files() -> None:
    rows = newest(log(row("a", "new", after=7), row("b", "only"), row("a", "old", after=3)))
    assert rows.select(["resource_id", "content_hash"]).to_pylist() == [
        {"resource_id": "a", "content_hash": "new"},
        {"resource_id": "b", "content_hash": "only"},
    ]


def test_of_two_versions_in_one_commit_the_later_one_counts() -> None:
    rows = newest(log(row("a", "second", position=1), row("a", "first", position=0)))
    assert rows["content_hash"].to_pylist() == ["second"]


@pytest.mark.parametrize("column", ["source", "patient_id", "resource_type", "resource_id"])
def test_every_part_of_the_key_tells_resources_apart(column: str) -> None:
    assert newest(log(row("a", "x"), row("a", "x") | {column: "other"})).num_rows == 2


def test_a_fallen_out_resource_stands_with_its_newest_json_and_the_moment() -> None:
    rows = standing(log(row("a", "v1", after=1), row("a", "v2", after=2), tombstone("a", after=5), row("b", "b1")))
    assert rows.select(["resource_id", "content_hash", "fell_out_at"]).to_pylist() == [
        {"resource_id": "a", "content_hash": "v2", "fell_out_at": T0 + timedelta(hours=5)},
        {"resource_id": "b", "content_hash": "b1", "fell_out_at": None},
    ]


def test_a_resource_that_returns_is_no_longer_fallen_out() -> None:
    rows = standing(log(row("a", "v1"), tombstone("a", after=5), row("a", "v1", after=9)))
    assert rows.select(["fell_out_at", "after_version"]).to_pylist() == [{"fell_out_at": None, "after_version": 9}]


def test_a_tombstone_of_something_never_received_stands_for_nothing() -> None:
    assert standing(log(tombstone("a", after=1))).num_rows == 0


def test_an_empty_log_has_a_state_too() -> None:
    # SHA-256 of nothing, from FIPS 180-4's examples.
    nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest(log()) == nothing
    assert standing(log()).num_rows == 0


def test_the_digest_tells_contents_and_fallen_out_apart() -> None:
    there = digest(log(row("a", "v1")))
    # printf '["http://127.0.0.1/fhir", "p", "ImagingStudy", "a", "v1", null]\n' | sha256sum
    assert there == "sha256:cbefb70b824ebbb96b26c957c648ae734cb11719a509b83cbf0800b23535c6d6"
    assert len({there, digest(log(row("a", "v2"))), digest(log(row("a", "v1"), tombstone("a", after=1)))}) == 3


def test_the_digest_forgets_how_the_state_came_about() -> None:
    straight = log(row("a", "v2", after=4), row("b", "b1", after=9))
    detour = log(row("b", "b1"), row("a", "v1"), tombstone("a", after=1), row("a", "v2", after=2, run_id="other"))
    assert digest(straight) == digest(detour)


def test_runs_are_found_with_nulls_among_the_keys() -> None:
    rows = pa.table({"a": ["x", "x", None, None, "x"], "b": [1, 1, 1, 1, 1]})
    assert first_of_run(rows, ["a", "b"]).tolist() == [True, False, True, False, True]
