"""Advice from the ledger: what the last runs learnt, and the cautious default without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from s4s_lab.sync.advice import Advice, advice_from
from s4s_lab.sync.watermark import OVERLAP

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


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
    } | changes


def test_an_empty_ledger_gives_the_cautious_default() -> None:
    advice = advice_from([], "ImagingStudy")
    assert advice == Advice()
    assert advice.broad_is_due(NOON)
    assert advice.overlap == OVERLAP


def test_the_last_broad_pull_says_when_the_next_is_due() -> None:
    update = row(mode="update", started_at=NOON + DAY, next_broad=NOON + 7 * DAY, filter="honoured")
    advice = advice_from([update, row()], "ImagingStudy")
    assert (advice.last_mode, advice.filter) == ("update", "honoured")
    assert advice.interval == 7 * DAY
    late = [row(started_at=NOON - timedelta(milliseconds=40))]
    assert advice_from(late, "ImagingStudy").interval == 7 * DAY
    assert not advice.broad_is_due(NOON + 6 * DAY)
    assert advice.broad_is_due(NOON + 7 * DAY)


def test_a_filter_that_cannot_be_relied_on_makes_a_broad_pull_due_at_once() -> None:
    for behaviour in ("ignored", "empty", "broken"):
        assert advice_from([row(filter=behaviour)], "ImagingStudy").broad_is_due(NOON)


def test_a_wait_is_remembered_until_a_later_run_has_ended_it() -> None:
    waiting = row(outcome="waiting", started_at=NOON + DAY, not_before=NOON + 2 * DAY, mode="update", next_broad=None)
    assert advice_from([row(), waiting], "ImagingStudy").not_before == NOON + 2 * DAY
    assert advice_from([row(), waiting], "ImagingStudy").last_mode == "first"
    done = row(mode="update", started_at=NOON + 3 * DAY)
    assert advice_from([row(), waiting, done], "ImagingStudy").not_before is None


def test_a_widened_overlap_is_never_narrowed_again() -> None:
    rows = [row(overlap_s=1200), row(started_at=NOON + DAY, overlap_s=300)]
    assert advice_from(rows, "ImagingStudy").overlap == timedelta(seconds=1200)


def test_rows_of_other_types_do_not_count() -> None:
    assert advice_from([row(resource_type="Coverage")], "ImagingStudy") == Advice()
