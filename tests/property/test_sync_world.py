"""Twenty days of a server that commits late, by clocks that differ: what pulls miss, and what the page's example does.

Shown with `-o log_cli=1 --log-cli-level=INFO`: the figures.
"""

from __future__ import annotations

import json
import logging
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple, cast

import pytest

from s4s_lab import Dataset, open_dataset, pull
from s4s_lab.lake import CurrentVersion, Stage
from s4s_lab.sync.compare import Received
from s4s_lab.sync.listing import Listing
from s4s_lab.sync.settling import settle
from s4s_lab.sync.watermark import LADDER, OVERLAP, next_interval, seen_until, since
from tests.faults.server.clock import client_clock
from tests.faults.server.record import START, Record, study
from tests.faults.server.wire import serving
from tests.wire.sync.conftest import connection

FULL = os.environ.get("S4S_FULL") == "1"
SEEDS = 60 if FULL else 3
DAYS, WRITES = 20, 6000
MONTHS = timedelta(days=90)
log = logging.getLogger(__name__)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@dataclass(frozen=True)
class Write:
    """One version; `content` None is a deletion. `stamp` is by the clock of the node that wrote it."""

    key: str
    number: int
    stamp: datetime
    visible: datetime
    content: str | None


@dataclass(frozen=True)
class Server:
    """A cluster: writes sorted by stamp, and the clock of the node that answers."""

    writes: list[Write]
    stamps: list[datetime]
    chance: Random

    def date(self, now: datetime) -> datetime:
        """Give a Date header, by a node whose clock is off."""
        return (now + seconds(self.chance.uniform(-45, 45))).replace(microsecond=0)

    def search(self, now: datetime, after: datetime | None = None) -> dict[str, Write]:
        """Give what is visible, by id; with `after` only what was stamped later."""
        begin = 0 if after is None else bisect_right(self.stamps, after)
        newest: dict[str, Write] = {}
        for write in self.writes[begin:]:
            known = newest.get(write.key)
            if write.visible <= now and (known is None or write.number > known.number):
                newest[write.key] = write
        return {key: write for key, write in newest.items() if write.content is not None}


class Scenario(NamedTuple):
    """How often a write is stamped months ago, and how often it is a deletion."""

    backfill: float = 0.0
    delete: float = 0.0


LATE_COMMITS = Scenario()
BACKFILL_AND_DELETIONS = Scenario(backfill=0.002, delete=0.01)


@dataclass
class Ours:
    """The pull's own functions over a log in memory."""

    current: dict[str, CurrentVersion] = field(default_factory=dict)
    last_check: datetime | None = None

    def pull(self, server: Server, now: datetime, *, broad: bool = False) -> int:
        """Pull at a moment; give how many rows came."""
        asked = None if broad or self.last_check is None else since(self.last_check, OVERLAP)
        found = server.search(now, None if asked is None else datetime.fromisoformat(asked.removeprefix("gt")))
        date = server.date(now)
        seen = seen_until(date=date, bundle_time=None, elapsed_s=0.2, now=now)
        # No JSON is kept here, so there is no stage for it.
        listing = Listing(tuple(_received(write) for write in found.values()), cast(Stage, None), seen)
        settled = settle(
            self.current,
            listing,
            whole=asked is None,
            updated_until=None,
            probe=lambda keys: dict.fromkeys(keys, "deleted"),
        )
        for item in settled.comparison.to_append:
            self.current[item.resource_id] = CurrentVersion(item.content_hash, item.last_updated, None, item.version_id)
        for key, reason in settled.fallen.items():
            known = self.current[key]
            self.current[key] = CurrentVersion(known.content_hash, known.last_updated, reason, None)
        if settled.comparison.to_append or self.last_check is None:
            self.last_check = max(filter(None, [self.last_check, seen.instant]))
        return len(found)

    def content(self) -> dict[str, str]:
        """Give what the log holds as present."""
        return {key: now.content_hash for key, now in self.current.items() if now.fell_out is None}


def _received(write: Write) -> Received:
    return Received(write.key, str(write.number), write.stamp, write.content or "", 0)


@dataclass
class Pages:
    """The example of the S4S page to the letter: a date of the client's clock, and `gt` means after the end of it."""

    known: dict[str, str] = field(default_factory=dict)
    last_check: datetime | None = None

    def pull(self, server: Server, now: datetime) -> None:
        """Pull at a moment."""
        midnight = None if self.last_check is None else datetime(*self.last_check.timetuple()[:3], tzinfo=UTC)
        found = server.search(now, None if midnight is None else midnight + timedelta(days=1))
        self.known |= {key: write.content or "" for key, write in found.items()}
        self.last_check = now


def world(seed: int, scenario: Scenario) -> tuple[Server, list[datetime]]:
    """Give a server's twenty days, and the moments at which it is asked."""
    chance = Random(seed)  # noqa: S311 - a repeatable world, no secret
    polls = sorted(START + timedelta(days=chance.uniform(0, DAYS)) for _ in range(3 * DAYS))
    counts: dict[str, int] = {}
    writes = []
    moments = sorted(_moment(chance, polls) for _ in range(WRITES))
    for number, moment in enumerate(moments):
        key = chance.choice(list(counts)) if counts and chance.random() < 0.3 else f"r{number}"
        counts[key] = counts.get(key, 0) + 1
        stamp = moment + seconds(chance.uniform(-45, 45))
        if chance.random() < scenario.backfill:
            stamp -= MONTHS
        content = None if chance.random() < scenario.delete else f"{number}"
        visible = moment + seconds(chance.uniform(0, 120))
        writes.append(Write(key, counts[key], stamp, visible, content))
    writes.sort(key=lambda write: write.stamp)
    return Server(writes, [write.stamp for write in writes], chance), polls


def _moment(chance: Random, polls: list[datetime]) -> datetime:
    """Give the time of a write: three of ten lie within a minute of a poll."""
    if chance.random() < 0.3:
        return chance.choice(polls) + seconds(chance.uniform(-60, 60))
    return START + timedelta(days=chance.uniform(0, DAYS))


def missed(server: dict[str, Write], ours: dict[str, str]) -> int:
    """Count what is at the server, and not here, or here in an older version."""
    return sum(ours.get(key) != write.content for key, write in server.items())


def ghosts(server: dict[str, Write], ours: dict[str, str]) -> int:
    """Count what is here, and not at the server any more."""
    return len(ours.keys() - server.keys())


@dataclass
class Count:
    """What was missed over all seeds."""

    rows: int = 0
    fetched: int = 0
    missed: int = 0
    ghosts: int = 0
    missed_after_broad: int = 0
    ghosts_after_broad: int = 0
    missed_by_page: int = 0


def run(scenario: Scenario) -> Count:
    """Let every seed's world pass, pull by both ways, then pull broad."""
    count = Count()
    for seed in range(SEEDS):
        server, polls = world(seed, scenario)
        ours, page = Ours(), Pages()
        end = START + timedelta(days=DAYS, minutes=10)
        for now in (*polls, end):
            count.fetched += ours.pull(server, now)
            page.pull(server, now)
        there = server.search(end)
        count.rows += len(there)
        count.missed += missed(there, ours.content())
        count.ghosts += ghosts(there, ours.content())
        count.missed_by_page += missed(there, page.known)
        ours.pull(server, end + timedelta(days=1), broad=True)
        count.missed_after_broad += missed(there, ours.content())
        count.ghosts_after_broad += ghosts(there, ours.content())
    return count


@pytest.mark.long
def test_updates_miss_nothing_of_a_server_that_commits_late_and_the_pages_example_most() -> None:
    count = run(LATE_COMMITS)
    log.info("%d seeds, late commits: %s", SEEDS, count)
    assert (count.missed, count.ghosts) == (0, 0)
    assert (count.missed_after_broad, count.ghosts_after_broad) == (0, 0)
    assert count.missed_by_page > count.rows / 4


@pytest.mark.long
def test_a_broad_pull_brings_what_was_backfilled_and_takes_what_was_deleted() -> None:
    count = run(BACKFILL_AND_DELETIONS)
    log.info("%d seeds, backfill and deletions: %s", SEEDS, count)
    assert count.missed > 0
    assert count.ghosts > 0
    assert (count.missed_after_broad, count.ghosts_after_broad) == (0, 0)


def test_without_the_overlap_rows_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.property.test_sync_world.SEEDS", 1)
    monkeypatch.setattr("tests.property.test_sync_world.OVERLAP", seconds(10))
    assert run(LATE_COMMITS).missed > 0


def test_broad_pulls_climb_the_ladder_and_start_anew_when_something_came_late() -> None:
    def climb(late_at: int) -> Iterator[timedelta]:
        interval = None
        for turn in range(7):
            interval = next_interval(interval, was_due=True, found_late=turn == late_at)
            yield interval

    calm = list(climb(-1))
    assert calm == [*LADDER, LADDER[-1], LADDER[-1]]
    assert list(climb(3))[3:5] == list(LADDER[:2])
    assert all(later >= earlier for earlier, later in pairwise(calm))


# --- the same, smaller, through the whole pull over HTTP


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(Dataset, "refresh", lambda *_: None)
    return open_dataset(tmp_path / "data")


def _play(record: Record, seed: int, polls: int, then: Callable[[], object]) -> None:
    """Write at random for some days, and call `then` at every poll."""
    chance = Random(seed)  # noqa: S311 - a repeatable world, no secret
    number = 0
    for _ in range(polls):
        for _ in range(10):
            number += 1
            record.now += seconds(chance.choice([5, 20, 60, 1800]))
            key = f"s{chance.randrange(40)}"
            stamp = record.clock + seconds(chance.uniform(-45, 45))
            gone = chance.random() < 0.05
            content = None if gone else study(key, description=str(number))
            record.write("ImagingStudy", key, content, stamp=stamp, delay=seconds(chance.uniform(0, 120)))
        then()


@pytest.mark.parametrize("seed", range(8 if FULL else 2))
def test_days_of_pulls_over_http_miss_nothing(seed: int, data: Dataset) -> None:
    record = Record(page=20)
    with serving(record.answer) as server, client_clock(lambda: record.now):
        link = connection(server.url)
        _play(record, seed, 15, lambda: pull(link, data, types=["ImagingStudy"]))
        record.settle()
        record.now += seconds(10)
        pull(link, data, mode="update", types=["ImagingStudy"])
        there = {key: f"{v.content['description']}" for (_, key), v in record.present().items() if v.content}
        assert _descriptions(data).items() >= there.items()
        record.now += timedelta(days=1)
        pull(link, data, mode="broad", types=["ImagingStudy"])
        assert _descriptions(data) == there


def _descriptions(data: Dataset) -> dict[str, str]:
    known = data.connections()[0]
    raws = data.log.raw(known, "ImagingStudy")
    current = data.log.current(known, "ImagingStudy")
    return {key: json.loads(raw)["description"] for key, raw in raws.items() if current[key].fell_out is None}
