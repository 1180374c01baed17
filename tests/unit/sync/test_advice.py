"""Advice from the ledger: what the last runs learnt, and the cautious default without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s4s_lab.sync.advice import Advice, advice_from
from s4s_lab.sync.watermark import OVERLAP

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LATER = NOON + 3 * DAY


def row(**changes: Any) -> dict[str, Any]:
    return {
        "resource_type": "ImagingStudy",
        "started_at": NOON,
        "mode": "first",
        "outcome": "done",
        "filter": "unknown",
        "next_broad": NOON + 7 * DAY,
        "overlap_s": 300,
        "not_before": None,
        "differences": "[]",
        "query": "ImagingStudy?patient={patientId}",
    } | changes


def update(**changes: Any) -> dict[str, Any]:
    return row(mode="update", started_at=NOON + DAY, filter="honoured") | changes


def test_an_empty_ledger_gives_the_cautious_default() -> None:
    advice = advice_from([], "ImagingStudy", LATER)
    assert advice == Advice()
    assert advice.broad_is_due(NOON)
    assert advice.overlap == OVERLAP


def test_the_last_broad_pull_says_when_the_next_is_due() -> None:
    advice = advice_from([update(), row()], "ImagingStudy", LATER)
    assert (advice.last_mode, advice.filter) == ("update", "honoured")
    assert advice.interval == 7 * DAY
    late = [row(started_at=NOON - timedelta(milliseconds=40))]
    assert advice_from(late, "ImagingStudy", LATER).interval == 7 * DAY
    assert not advice.broad_is_due(NOON + 6 * DAY)
    assert advice.broad_is_due(NOON + 7 * DAY)


@pytest.mark.parametrize("behaviour", ["ignored", "empty", "broken"])
def test_a_filter_that_cannot_be_relied_on_is_remembered(behaviour: str) -> None:
    assert advice_from([row(filter=behaviour)], "ImagingStudy", LATER).misled
    assert not advice_from([row(filter=behaviour), update(filter="honoured")], "ImagingStudy", LATER).misled


def test_a_server_that_takes_the_studys_date_is_still_asked_for_updates() -> None:
    assert not advice_from([row(filter="started-like")], "ImagingStudy", LATER).misled


def test_the_precision_of_the_last_update_is_remembered() -> None:
    assert advice_from([row()], "ImagingStudy", LATER).precision == "millisecond"
    dates = update(query="ImagingStudy?patient={patientId}&_lastUpdated=gt2026-11-23")
    assert advice_from([row(), dates], "ImagingStudy", LATER).precision == "date"
    broad = row(started_at=NOON + 2 * DAY, mode="broad")
    assert advice_from([row(), dates, broad], "ImagingStudy", LATER).precision == "date"
    finer = update(query="x?patient={patientId}&_lastUpdated=gt2026-11-23T12:00:00Z", started_at=NOON + 2 * DAY)
    assert advice_from([row(), dates, finer], "ImagingStudy", LATER).precision == "second"
    assert advice_from([row(query=None)], "ImagingStudy", LATER).precision == "millisecond"


def test_what_was_written_while_our_clock_was_ahead_counts_for_nothing() -> None:
    year = 365 * DAY
    ahead = row(started_at=LATER + year, mode="broad", next_broad=LATER + year + 7 * DAY, filter="empty")
    waiting = row(started_at=LATER + year, outcome="waiting", not_before=LATER + year)
    assert advice_from([row(), ahead, waiting], "ImagingStudy", LATER) == advice_from([row()], "ImagingStudy", LATER)
    a_little = row(started_at=LATER + timedelta(minutes=9), mode="broad", filter="empty")
    assert advice_from([row(), a_little], "ImagingStudy", LATER).filter == "empty"


def test_a_due_date_that_an_update_brought_nearer_counts() -> None:
    nearer = update(next_broad=NOON + 2 * DAY)
    assert advice_from([row(), nearer], "ImagingStudy", LATER).next_broad == NOON + 2 * DAY
    assert advice_from([row(), nearer], "ImagingStudy", LATER).interval == 7 * DAY


@pytest.mark.parametrize(("days", "rung"), [(6.66, 7), (7.34, 7), (28.6, 30), (94.4, 90), (171.5, 180), (383, 365)])
def test_the_rung_is_known_through_its_jitter(days: float, rung: int) -> None:
    told = row(next_broad=NOON + timedelta(days=days))
    assert advice_from([told], "ImagingStudy", LATER).interval == rung * DAY


@pytest.mark.parametrize("days", [0, 1])
def test_an_interval_below_the_ladder_is_no_rung(days: int) -> None:
    told = row(next_broad=NOON + timedelta(days=days))
    assert advice_from([told], "ImagingStudy", LATER).interval == timedelta()


def test_a_wait_is_remembered_until_a_later_run_has_ended_it() -> None:
    waiting = row(outcome="waiting", started_at=NOON + DAY, not_before=NOON + 2 * DAY, mode="update", next_broad=None)
    assert advice_from([row(), waiting], "ImagingStudy", LATER).not_before == NOON + 2 * DAY
    assert advice_from([row(), waiting], "ImagingStudy", LATER).last_mode == "first"
    done = update(started_at=NOON + 3 * DAY)
    assert advice_from([row(), waiting, done], "ImagingStudy", LATER).not_before is None


def test_a_widened_overlap_is_never_narrowed_again() -> None:
    rows = [row(overlap_s=1200), row(started_at=NOON + DAY, overlap_s=300)]
    assert advice_from(rows, "ImagingStudy", LATER).overlap == timedelta(seconds=1200)


def test_rows_of_other_types_do_not_count() -> None:
    assert advice_from([row(resource_type="Coverage")], "ImagingStudy", LATER) == Advice()


def test_a_wait_that_no_server_can_have_asked_for_counts_for_nothing() -> None:
    waiting = row(outcome="waiting", started_at=NOON, not_before=datetime(2058, 1, 1, tzinfo=UTC))
    assert advice_from([waiting], "ImagingStudy", LATER).not_before is None


def test_what_another_scope_learnt_does_not_count_and_a_wait_does() -> None:
    differences = '[{"kind": "held", "resource_id": "a"}]'
    other = row(query_fingerprint="other", filter="empty", differences=differences)
    waiting = update(query_fingerprint="", outcome="waiting", not_before=NOON + 2 * DAY)
    assert advice_from([other, waiting], "ImagingStudy", LATER, "mine") == Advice(not_before=NOON + 2 * DAY)
    mine = row(query_fingerprint="mine", filter="honoured")
    assert advice_from([mine, other], "ImagingStudy", LATER, "mine") == advice_from([mine], "ImagingStudy", LATER)
