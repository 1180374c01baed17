"""What lies in a stage comes out as it went in, and leaves no trace on the disk."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.errors import DatasetError
from s4s_lab.lake import ResourceVersion, Stage

MEGABYTE = b"x" * 1_000_000
NOON = datetime(2026, 11, 1, 12, 0, 0, 5000, tzinfo=UTC)


@given(added=st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=600), wanted=st.sets(st.integers(0, 599)))
def test_the_versions_at_some_places_come_in_the_order_of_arrival(
    added: list[tuple[str, str]], wanted: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = sorted(place for place in wanted if place < len(added))
    with Stage(tmp_path_factory.getbasetemp()) as stage:
        for resource_id, raw in added:
            stage.add(resource_id, "1", NOON, "hash", raw.encode())
        for _ in range(2):
            rows = [row for batch in stage.rows(places[::-1]) for row in batch.to_pylist()]
            assert [(row["resource_id"], row["raw"]) for row in rows] == [added[place] for place in places]
        assert all(row["last_updated"] == NOON for row in rows)


def test_tombstones_come_after_what_was_received(tmp_path: Path) -> None:
    tombstone = ResourceVersion("Patient", "gone", None, None, "h", None, "r4", "deleted")
    with Stage(tmp_path) as stage:
        stage.add("a", None, None, "h", b"{}")
        versions = stage.versions([0], "Patient", "r4", then=[tombstone])
        parts = list(versions.columns())
        assert len(versions) == 2
    assert [list(map(str, part["resource_id"])) for part in parts] == [["a"], ["gone"]]
    assert [part["fell_out"] for part in parts] == [None, ["deleted"]]


def test_no_file_has_a_name_however_much_is_added(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        for number in range(20):
            stage.add(str(number), None, None, "h", MEGABYTE)
        assert len(stage) == 20
        assert list(tmp_path.iterdir()) == []


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fill(folder: Path) -> None:
    with Stage(folder) as stage:
        for number in range(20):
            stage.add(str(number), None, None, "h", MEGABYTE)


def test_a_disk_that_takes_no_more_is_told_with_what_to_do(tmp_path: Path) -> None:
    with files_up_to(8_000_000), pytest.raises(DatasetError, match="could not be kept") as caught:
        fill(tmp_path)
    assert "Make room" in str(caught.value)
