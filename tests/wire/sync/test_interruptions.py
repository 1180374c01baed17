"""Pulls that end early: what had arrived whole is kept and told, the reason stays the reason, the next pull goes on."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import DatasetBusy, GrantExpired, NotReachable, TableBehind
from s4s_lab.net import Wait
from s4s_lab.sync import onetype, pulling, settling
from s4s_lab.sync.progress import Progress
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import LONG_AGO, now, only, studies

BOTH = ("Patient", "ImagingStudy")


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the pull of studies end in an error, after all of them have arrived."""
    settle = settling.settle

    def ended(*words: Any, **more: Any) -> Any:
        result = settle(*words, **more)
        if more["whole"] and any(item.resource_id.startswith("s") for item in result.comparison.to_append):
            raise error
        return result

    monkeypatch.setattr(onetype, "settle", ended)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotReachable("gone"), GrantExpired("over")], ids=repr)
def test_what_came_before_the_end_is_kept_in_log_tables_and_ledger(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    server.put(study(1, LONG_AGO))
    with monkeypatch.context() as patch:
        ending(patch, error)
        with pytest.raises(type(error)):
            pull(link, data, types=BOTH)
    assert data.ledger.rows()["resource_type"].to_pylist() == ["Patient"]
    assert list(data.table("patient")["resource_id"]) == ["p1"]
    assert studies(data) == []
    result = pull(link, data, types=BOTH)
    assert [item.mode for item in result.types] == ["update", "first"]
    assert studies(data) == ["s1"]


def test_the_reason_why_a_pull_ended_is_not_hidden_by_a_busy_dataset(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(study(1, LONG_AGO))
    ending(monkeypatch, NotReachable("The server is gone."))
    monkeypatch.setattr(type(data), "refresh", busy)
    with pytest.raises(NotReachable, match="The server is gone") as caught:
        pull(link, data, types=TYPES)
    assert any("busy with maintenance" in note for note in caught.value.__notes__)


def busy(*_: object) -> None:
    raise DatasetBusy("The dataset is busy with maintenance.")


def test_a_dataset_that_is_busy_at_the_end_loses_nothing_and_says_so(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(study(1, LONG_AGO))
    with monkeypatch.context() as patch:
        patch.setattr(type(data), "refresh", busy)
        with pytest.warns(TableBehind, match="busy with maintenance"):
            report = pull(link, data, types=TYPES)
    assert (report.outcome, only(report).new) == ("done", 1)
    assert studies(data) == ["s1"]


def test_a_second_pull_of_the_same_connection_is_refused_while_the_first_runs(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with data.pulling(data.connection(link.fhir_url, "p1")), pytest.raises(DatasetBusy):
        pull(link, data, types=TYPES)
    assert server.requests == []
    assert only(pull(link, data, types=TYPES)).outcome == "done"


def test_a_wait_counts_down_and_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Bar:
        def set_postfix_str(self, s: str = "", **_: object) -> None:
            shown.append(s)

    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + sum(slept))
    monkeypatch.setattr(time, "sleep", sleep)
    progress = Progress(Bar())
    progress.waiting(Wait(300.0, "the server is busy", "http://x"))
    with pytest.raises(KeyboardInterrupt):
        progress.sleep(300.0)
    assert shown[-3:] == [f"the server is busy; asking again in {left} s" for left in (300, 299, 298)]
    assert slept == [1.0, 1.0, 1.0]


def test_a_clock_that_goes_back_within_the_overlap_loses_nothing(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO))
    server.clock = timedelta(minutes=4)
    pull(link, data, types=TYPES)
    server.clock = timedelta()
    server.put(study(2, now()))
    assert only(pull(link, data, mode="update", types=TYPES)).new == 1


def test_a_broad_pull_drops_a_last_check_that_lies_ahead(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(study(1, LONG_AGO))
    first = only(pull(link, data, types=TYPES))
    server.clock = -timedelta(days=2)
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert result.last_check is not None
    assert first.last_check is not None
    assert first.last_check - result.last_check > timedelta(days=1)
    assert any("ahead of the server's clock" in text for text in result.warnings)


def test_a_server_that_loses_its_clock_after_ours_was_ahead_is_not_asked_about_the_future(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(study(1, LONG_AGO))
    server.date_header = False
    with monkeypatch.context() as patch:
        for module in (pulling, onetype):
            patch.setattr(module, "utc_now", lambda: now() + timedelta(hours=2))
        patch.setattr("s4s_lab.sync.listing.utc_now", lambda: now() + timedelta(hours=2))
        ahead = only(pull(link, data, types=TYPES))
    assert ahead.last_check is not None
    assert ahead.last_check > now() + timedelta(hours=1)
    server.put(study(2, now()))
    assert only(pull(link, data, mode="update", types=TYPES)).new == 1
    server.put(study(3, now()))
    result = only(pull(link, data, mode="update", types=TYPES))
    assert (result.mode, result.new) == ("update", 1)
