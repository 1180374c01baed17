"""Every fault, on a page or a read of every phase of a pull: all of it kept, or none of it."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import tests.faults.server.connections
import tests.faults.server.contents  # noqa: F401 - both list their faults on import
from s4s_lab import Dataset, open_dataset
from s4s_lab.sync.pulling import PullMode
from tests.faults.server.faults import FAULTS
from tests.faults.server.wire import Request
from tests.faults.sync.working import World, attempt, done, kept

FULL = os.environ.get("S4S_FULL") == "1"


class Phase(NamedTuple):
    """A part of a pull: after what, in which mode, which of its requests, how many of them."""

    mode: PullMode
    later: bool
    requests: str
    pages: int


_PAGE = r"/ImagingStudy\?patient=p1(?!.*=gt(1970|2025|2200))"
PHASES = {
    "first": Phase("auto", False, rf"{_PAGE}(?!.*_lastUpdated)", 4),
    "update": Phase("update", True, rf"{_PAGE}.*_lastUpdated", 3),
    "broad": Phase("broad", True, rf"{_PAGE}(?!.*_lastUpdated)", 5),
    "canary": Phase("update", True, r"/ImagingStudy\?.*=gt(1970|2025|2200)", 3),
    "probe": Phase("broad", True, r"/ImagingStudy/s3$", 1),
}
ONLY_PAGES = ("first", "update", "broad")
# What means something else there: a precision or the filter refused, a resource that is gone, nothing read by id.
MEANINGFUL = {
    ("HTTP 400", "canary"),
    ("HTTP 400", "update"),
    ("HTTP 403", "probe"),
    ("HTTP 404", "probe"),
    ("HTTP 410", "probe"),
    ("HTTP 501", "canary"),
    ("HTTP 501", "update"),
    ("HTTP 501", "probe"),
}


def _places(name: str) -> list[tuple[str, int]]:
    phases = [phase for phase in PHASES if FAULTS[name].anywhere or phase in ONLY_PAGES]
    return [(p, k) for p in phases if (name, p) not in MEANINGFUL for k in range(PHASES[p].pages)]


def _cases() -> list[tuple[str, str, int]]:
    chance = random.Random(4)  # noqa: S311 - a repeatable choice of places, no secret
    chosen = {name: _places(name) if FULL else [chance.choice(_places(name))] for name in FAULTS}
    return [(name, phase, page) for name, places in chosen.items() for phase, page in places]


def at(phase: Phase, page: int) -> Callable[[Request], bool]:
    """Pick the requests for one page of a phase, and what leads on from an altered one."""
    requests = re.compile(phase.requests)

    def struck(request: Request) -> bool:
        if not requests.search(request.target):
            return False
        question = re.search(r"=gt(1970|2025|2200)", request.target)
        if question:
            return ("1970", "2200", "2025").index(question[1]) == page
        found = re.search(r"page=(\d+)", request.target)
        return (int(found[1]) // 2 if found else 0) == page

    return struck


@pytest.fixture(autouse=True)
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the tables out: they are derived from the log, and this is about what the log holds."""
    monkeypatch.setattr(Dataset, "refresh", lambda *_: None)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    """The digests of undisturbed runs, by phase, as they become known."""
    return {}


def begun(world: World, root: Path, phase: Phase) -> Dataset:
    """Start the world anew and give a dataset in which all before the phase has been done."""
    world.begin()
    data = open_dataset(root)
    if phase.later:
        assert done(attempt(world, data))
        world.change()
    return data


def _calm(world: World, root: Path, phase: Phase) -> str:
    """Give the digest of a run without a fault."""
    data = begun(world, root, phase)
    assert done(attempt(world, data, phase.mode))
    return data.log.digest()


@pytest.mark.long
@pytest.mark.parametrize(("name", "where", "page"), _cases())
def test_a_fault_changes_nothing_or_harms_nothing_and_the_next_run_ends_as_if_it_had_not_been(
    name: str, where: str, page: int, world: World, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    phase, listed = PHASES[where], FAULTS[name]
    # What was kept as it came is the log's until everything is asked for.
    ends_as = "broad" if listed.effect == "kept" and where == "update" else where
    if ends_as not in undisturbed:
        undisturbed[ends_as] = _calm(world, tmp_path / "calm", PHASES[ends_as])
    data = begun(world, tmp_path / "data", phase)
    before = kept(data)
    world.server.fault, world.server.struck = listed.strike, at(phase, page)
    result = attempt(world, data, phase.mode)
    assert world.server.strikes
    # A record that cannot be asked after stays; the rest of its listing may be kept, and a later pull asks again.
    unsure = where == "probe" and listed.effect == "refused" and done(result)
    assert unsure or done(result) == (listed.effect != "refused")
    if not done(result):
        assert kept(data) == before
    if unsure:
        assert all(not now.fell_out for now in data.log.current(data.connections()[0], "ImagingStudy").values())
    if unsure or not done(result) or listed.effect == "kept":
        world.server.mend()
        world.sleep(3 * 86_400)
        assert done(attempt(world, data, "broad" if listed.effect == "kept" else phase.mode))
    assert data.log.digest() == undisturbed[ends_as]
