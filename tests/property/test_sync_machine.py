"""Any sequence of writes, deletions, jumps of clocks, failures and pulls loses nothing; a broad pull settles all."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from s4s_lab import Dataset, PullReport, open_dataset, pull
from s4s_lab.errors import NotEverything, S4SError
from s4s_lab.lake import CurrentVersion, Ledger, ResourceLog
from s4s_lab.lake.entries import read_entry
from s4s_lab.sync.pulling import PullMode
from s4s_lab.sync.watermark import LADDER
from tests.faults.server.clock import client_clock
from tests.faults.server.record import FILTERS, Filter, Record, Version, VersionIds, study
from tests.faults.server.wire import Reply, Talk, serving
from tests.unit.lake.records import hash_of
from tests.wire.sync.conftest import connection

FULL = os.environ.get("S4S_FULL") == "1"
KIND = "ImagingStudy"
# Enough of them that a guard against everything vanishing at once has something to guard.
KEYS = [f"s{number}" for number in range(12)]
# Together below the overlap of 300 s, as the servers that were looked at behave.
DELAYS = st.integers(0, 120)
NODES = st.integers(-45, 45)
LAGS = st.integers(0, 100)
SPANS = st.sampled_from([1, 20, 100, 250, 400, 3600, 86_400, 8 * 86_400, 40 * 86_400])
JUMPS = st.sampled_from([-400 * 86_400, -86_400, -3600, -200, -30, 30, 200, 3600, 86_400, 400 * 86_400])


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class Killed(BaseException):
    """The process ended here."""


@contextmanager
def dying(at: int, *, after: bool) -> Iterator[None]:
    """Let the process end before or after its commit number `at`: from then on nothing can be done any more."""
    count = 0

    def mortal(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count > at or (count == at and not after):
                raise Killed
            result = work(*given, **named)
            if count == at:
                raise Killed
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((ResourceLog, "commit"), (Ledger, "record"), (Dataset, "refresh")):
            patch.setattr(owner, name, mortal(getattr(owner, name)))
        yield


async def broken(talk: Talk) -> None:
    """Answer as a server that is out of order."""
    await talk.send(Reply(501).wire())


class Syncing(RuleBasedStateMachine):
    """One record at a model server, one dataset, and what may happen to both."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.record = Record()
        self.server = self.open.enter_context(serving(self.record.answer))
        self.root = Path(self.open.enter_context(tempfile.TemporaryDirectory())) / "data"
        self.ahead = timedelta()
        self.open.enter_context(client_clock(lambda: self.record.now + self.ahead))
        self.data = open_dataset(self.root)
        self.link = connection(self.server.url)
        self.known = self.data.connection(self.link.fhir_url, self.link.patient_id)
        self.contents = 0
        self.last_check: datetime | None = None
        self.checked = self.data.log.version
        # Whether updates alone have to bring everything: not after clocks jumped or pages moved, until a broad pull.
        self.reliable = True
        self.dishonest: set[tuple[str, int]] = set()

    def teardown(self) -> None:
        try:
            self._settles()
        finally:
            self.open.close()

    # --- what happens at the server

    @initialize(count=st.integers(0, len(KEYS)), version_ids=st.sampled_from(["numbers", "names", "absent"]))
    def begin(self, count: int, version_ids: VersionIds) -> None:
        self.record.version_ids = version_ids
        for key in KEYS[:count]:
            self._write(key, stamp=self.record.clock - seconds(40 * 86_400))
        # By now every replica has seen them.
        self.record.now += seconds(86_400)

    def _write(self, key: str, *, stamp: datetime | None = None, delay: int = 0, delete: bool = False) -> None:
        self.contents += 1
        content = None if delete else study(key, description=str(self.contents))
        self.record.write(KIND, key, content, stamp=stamp, delay=seconds(delay))

    @rule(key=st.sampled_from(KEYS), delay=DELAYS, node=NODES)
    def write(self, key: str, delay: int, node: int) -> None:
        self._write(key, stamp=self.record.clock + seconds(node), delay=delay)

    @rule(key=st.sampled_from(KEYS), delay=DELAYS)
    def delete(self, key: str, delay: int) -> None:
        self._write(key, delay=delay, delete=True)

    @rule(key=st.sampled_from(KEYS), age=SPANS)
    def backfill(self, key: str, age: int) -> None:
        self._write(key, stamp=self.record.clock - seconds(age))
        self.dishonest.add((key, len(self.record.history[KIND, key])))

    @rule(span=SPANS)
    def time_passes(self, span: int) -> None:
        self.record.now += seconds(span)

    @rule(jump=JUMPS)
    def server_clock_jumps(self, jump: int) -> None:
        self.record.skew += seconds(jump)
        self.reliable = False

    @rule(jump=JUMPS)
    def client_clock_jumps(self, jump: int) -> None:
        self.ahead += seconds(jump)

    @rule()
    def clocks_are_set_right(self) -> None:
        self.reliable = self.reliable and not self.record.skew
        self.record.skew = self.ahead = timedelta()

    @rule(lag=LAGS)
    def another_replica_answers(self, lag: int) -> None:
        self.record.lag = seconds(lag)

    @rule(mode=st.sampled_from(FILTERS))
    def filter_changes(self, mode: Filter) -> None:
        self.record.filter = mode

    @rule(says_date=st.booleans(), total=st.sampled_from(["exact", "absent", 1]))
    def server_changes(self, says_date: bool, total: Any) -> None:
        self.record.says_date, self.record.total = says_date, total

    @rule(keys=st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), min_size=1, max_size=4))
    def pages_move(self, keys: list[tuple[str, bool]]) -> None:
        for key, delete in keys:
            self.record.between.append(partial(self._write, key, delete=delete))

    # --- pulls

    @rule(mode=st.sampled_from(["auto", "update", "broad"]))
    def pull(self, mode: PullMode) -> None:
        self._pull(mode)

    @rule()
    @precondition(lambda self: not self.record.lag and not self.record.between)
    def pull_twice(self) -> None:
        """An unchanged server brings no new version (I4)."""
        self._pull("auto")
        self.record.settle()
        self._pull("auto")
        before = self.data.log.version
        self._pull("auto")
        assert self.data.log.version == before

    @rule(mode=st.sampled_from(["auto", "broad"]), page=st.integers(0, 2))
    def pull_fails(self, mode: PullMode, page: int) -> None:
        """A run that fails changes nothing (I3)."""
        before = self.data.log.version, self.data.log.digest()
        self.server.fault = broken
        self.server.struck = lambda request: f"page={page * 2}" in request.target or not page
        result = self._attempt(mode)
        self.server.mend()
        self.record.between.clear()
        if self.server.strikes:
            assert not isinstance(result, PullReport) or result.outcome == "failed"
            assert (self.data.log.version, self.data.log.digest()) == before
        self.server.strikes = 0

    @rule(mode=st.sampled_from(["auto", "broad"]), at=st.integers(1, 3), after=st.booleans(), waited=SPANS)
    def pull_is_killed(self, mode: PullMode, at: int, after: bool, waited: int) -> None:
        self.record.now += seconds(waited)
        self._unreliable_if_moving()
        with dying(at, after=after), suppress(Killed):
            self._attempt(mode)
        self.record.between.clear()
        self.data = open_dataset(self.root)

    def _attempt(self, mode: PullMode) -> PullReport | S4SError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotEverything)
            try:
                return pull(self.link, self.data, mode=mode, types=[KIND])
            except S4SError as error:
                return error

    def _unreliable_if_moving(self) -> None:
        clockless = not self.record.says_date and self.ahead > timedelta()
        # A server that begins to round instants to days is found out by the first update after the next broad pull.
        rounded = self.record.filter == "rounded"
        self.reliable = self.reliable and not self.record.between and not clockless and not rounded

    def _pull(self, mode: PullMode) -> PullReport:
        self.server.log.clear()
        self._unreliable_if_moving()
        moving = bool(self.record.between)
        begun, before = self.record.now, self._current()
        report = self._attempt(mode)
        self.record.between.clear()
        assert isinstance(report, PullReport)
        assert report.outcome == "done", report.warnings
        self._check(report, before, begun, moving=moving)
        return report

    # --- what has to hold

    def _current(self) -> dict[str, CurrentVersion]:
        return self.data.log.current(self.known, KIND)

    def _watermark(self) -> datetime | None:
        (asks,) = set(self.data.ledger.rows(self.known)["query_fingerprint"].to_pylist()) - {""} or {None}
        return None if asks is None else self.data.log.last_check(self.data.cursor(self.known, KIND, asks))

    def _check(self, report: PullReport, before: dict[str, CurrentVersion], begun: datetime, *, moving: bool) -> None:
        (result,) = report.types
        after = self._current()
        there = self.record.present(self.record.now - self.record.lag)
        fallen = {key for key, now in after.items() if now.fell_out and not (key in before and before[key].fell_out)}
        assert moving or not fallen & {key for _, key in there}  # I8
        assert not fallen or result.mode != "update"
        assert result.next_broad is None or result.next_broad <= self.record.now + self.ahead + LADDER[-1]
        self._check_clock(result.last_check)
        if not moving:
            whole = result.mode != "update" and not self.record.lag
            self._check_complete(after, begun, everything=whole)
            pending = any(versions[-1].visible > begun for versions in self.record.history.values())
            if whole and not pending:
                ahead = result.last_check is not None and result.last_check > self.record.clock
                self.reliable = not ahead and (self.record.says_date or self.ahead <= timedelta())

    def _check_clock(self, last_check: datetime | None) -> None:
        """What is asked from, and kept, is the server's time (I5)."""
        plausible = self.record.clock <= self.record.now + self.ahead + timedelta(minutes=10)
        if self.reliable and self.record.says_date and plausible and last_check is not None:
            assert last_check <= self.record.clock

    def _check_complete(self, after: dict[str, CurrentVersion], begun: datetime, *, everything: bool) -> None:
        """What was visible when the pull began is there, in that version or a later one (I9)."""
        for (_, key), version in self.record.present(begun - self.record.lag).items():
            honest = (key, version.number) not in self.dishonest
            if not self._is_last(key, version):
                continue
            if everything or (self.reliable and honest and self.record.filter != "empty"):
                later = self.record.history[KIND, key][version.number - 1 :]
                assert key in after
                assert after[key].content_hash in {self._hash(v) for v in later if v.content}, key

    def _hash(self, version: Version) -> str:
        return hash_of(json.dumps(self.record.shown(version), ensure_ascii=False))

    def _is_last(self, key: str, version: Version) -> bool:
        """Say whether it can be told from outside that a version is the newest: by its number, else by its stamp."""
        earlier = self.record.history[KIND, key][: version.number - 1]
        return self.record.version_ids == "numbers" or all(v.stamp < version.stamp for v in earlier)

    @invariant()
    def the_watermark_and_the_raw_json_are_sound(self) -> None:
        if self.data.log.version == self.checked:
            return
        mark = self._watermark()
        # One that lay ahead of the server's clock, or of ours in its place, is dropped; else it never goes back (I1).
        present = min(self.record.clock, self.record.now + self.ahead)
        assert mark is None or self.last_check is None or mark >= self.last_check or self.last_check > present
        if mark != self.last_check:  # It moves in the commit that holds the rows (I2).
            entries = [read_entry(self.data.log.path, v) for v in range(self.checked + 1, self.data.log.version + 1)]
            assert all(entry.transactions for entry in entries if entry.added)
        self.checked = self.data.log.version
        self.last_check = mark
        for key, raw in self.data.log.raw(self.known, KIND).items():  # I11
            shown = (self.record.shown(version) for version in self.record.history[KIND, key])
            assert raw in {json.dumps(each, ensure_ascii=False) for each in shown}

    def _settles(self) -> None:
        """After quiet and broad pulls the dataset holds what the server holds, as one first pull would (I7)."""
        self.record.between.clear()
        self.record.settle()
        # Long after every stamp: what is older than before then cannot come from a replica that lags.
        stamps = [version.stamp for versions in self.record.history.values() for version in versions]
        self.record.now += max([timedelta(), *(stamp - self.record.clock for stamp in stamps)]) + timedelta(days=1)
        for _ in range(3):
            report = self._pull("broad")
            if not (report.differences["kind"] == "held").any():
                break
        server = {key: self._hash(v) for (_, key), v in self.record.present().items()}
        ours = {key: now.content_hash for key, now in self._current().items() if not now.fell_out}
        assert ours == server
        self.data.refresh()
        assert sorted(self.data.table("imaging_study")["resource_id"]) == sorted(server)


TestSyncing = pytest.mark.long(Syncing.TestCase)
Syncing.TestCase.settings = settings(
    max_examples=500 if FULL else 20,
    stateful_step_count=50 if FULL else 25,
    derandomize=not FULL,
    # Steps as they came tell enough; making them fewer takes longer than a test may.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
