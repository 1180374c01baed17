"""`as_of`: what a number, a date and an instant name."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.lake import Dataset
from s4s_lab.lake.entries import entry_path
from s4s_lab.lake.moments import AsOf, until, version_at, version_or_instant
from s4s_lab.values.instants import to_millis
from tests.unit.lake.records import SOURCE, Person, put, version_of

END_OF_FIRST = datetime(2026, 11, 1, 23, 59, 59, 999999, tzinfo=UTC)
COMMITS = [
    datetime(2026, 11, 1, 8, tzinfo=UTC),
    datetime(2026, 11, 1, 10, tzinfo=UTC),
    datetime(2026, 11, 3, 12, tzinfo=UTC),
]


@pytest.mark.parametrize(
    ("as_of", "meaning"),
    [
        (3, 3),
        ("3", 3),
        (" 12 ", 12),
        ("2026-11-01", END_OF_FIRST),
        (date(2026, 11, 1), END_OF_FIRST),
        ("2026-11-01T10:00:00Z", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("2026-11-01T10:00:00.5+02:00", datetime(2026, 11, 1, 8, 0, 0, 500000, tzinfo=UTC)),
        (datetime(2026, 11, 1, 10, tzinfo=timezone(timedelta(hours=-5))), datetime(2026, 11, 1, 15, tzinfo=UTC)),
    ],
)
def test_numbers_are_versions_and_dates_mean_their_end(as_of: AsOf, meaning: int | datetime) -> None:
    assert version_or_instant(as_of) == meaning


@pytest.mark.parametrize(
    "as_of",
    ["", "yesterday", "2026-11", "2026-13-01", "2026-11-01T10:00:00", "-1", datetime(2026, 11, 1), True, 1.5],  # noqa: DTZ001
)
def test_what_names_no_single_moment_is_refused(as_of: AsOf) -> None:
    with pytest.raises(UsageError):
        version_or_instant(as_of)


def rewrite(table: Path, version: int, moment: datetime) -> None:
    """Let a commit have been made at a certain moment."""
    path = entry_path(table, version)
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        if "commitInfo" in action:
            action["commitInfo"]["timestamp"] = to_millis(moment)
    path.write_text("\n".join(map(json.dumps, actions)))


@pytest.fixture
def dated(data: Dataset, darcy: Person) -> Dataset:
    """A dataset made on the first of November, with a study of that day and a claim of the third."""
    record = data.connection(SOURCE, darcy.patient_id)
    put(data, record, [version_of(darcy.study)])
    put(data, record, [version_of(darcy.of("ExplanationOfBenefit")[0])])
    for version, moment in enumerate(COMMITS):
        rewrite(data.log.path, version, moment)
    return data


@pytest.mark.parametrize(
    ("as_of", "version"),
    [
        (0, 0),
        (2, 2),
        ("2026-11-01T08:00:00Z", 0),
        ("2026-11-01T09:59:59.999Z", 0),
        ("2026-11-01T10:00:00Z", 1),
        ("2026-11-01", 1),
        ("2026-11-02", 1),
        ("2026-11-03T11:59:59+00:00", 1),
        ("2026-11-03", 2),
        ("2100-01-01", 2),
    ],
)
def test_a_moment_names_the_newest_version_of_then(dated: Dataset, as_of: AsOf, version: int) -> None:
    assert version_at(dated.log, as_of) == version


@pytest.mark.parametrize("as_of", ["2026-10-31", "2026-11-01T07:59:59Z", 3, -1, "77"])
def test_before_the_first_version_and_after_the_last_there_is_nothing(dated: Dataset, as_of: AsOf) -> None:
    with pytest.raises(NotInDataset):
        version_at(dated.log, as_of)


def test_a_version_covers_the_time_until_the_next(dated: Dataset) -> None:
    assert until(dated.log, 1) == COMMITS[2] - timedelta(milliseconds=1)
    assert until(dated.log, 2) is None
    assert until(dated.log, "2026-11-02") == END_OF_FIRST + timedelta(days=1)


def test_a_table_is_shown_as_it_was_on_a_date(dated: Dataset) -> None:
    rows = {day: len(dated.table("explanation_of_benefit", as_of=f"2026-11-0{day}")) for day in (1, 2, 3)}
    assert rows == {1: 0, 2: 0, 3: 1}
    assert len(dated.table("imaging_study", as_of="2026-11-02")) == 1


def test_a_table_before_the_dataset_was_made_is_no_empty_table(dated: Dataset) -> None:
    with pytest.raises(NotInDataset, match=r"first version is of 2026-11-01T08:00:00\.000Z"):
        dated.table("imaging_study", as_of="2026-10-31")
