"""The fault server itself: the same seed gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from s4s_lab import open_dataset
from tests.faults.server.faults import FAULTS
from tests.faults.server.wire import serving
from tests.faults.sync.test_faults import PHASES, at
from tests.faults.sync.working import World, attempt

CHANCEY = ("no HTTP", "reset mid answer", "chunks without an end", "Content-Length too short", "429 without end")


def _trace(world: World, name: str, seed: int, root: Path) -> bytes:
    """Give every byte of a first pull whose third page is struck."""
    with serving(seed=seed) as server:
        world.server = server
        world.begin()
        server.fault, server.struck = FAULTS[name].strike, at(PHASES["first"], 2)
        attempt(world, open_dataset(root))
        return server.trace()


@pytest.fixture(autouse=True)
def no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client wait the same each time: how long it does decides how often it asks."""
    monkeypatch.setattr("s4s_lab.net.waiting._spread", lambda: 0.5)


@pytest.mark.parametrize("name", CHANCEY)
def test_the_same_seed_gives_the_same_bytes(name: str, world: World, tmp_path: Path) -> None:
    first, again = (_trace(world, name, 20, tmp_path / root) for root in ("one", "two"))
    assert first == again
    assert first.count(b"\n> /fhir/ImagingStudy") >= 2


def test_another_seed_gives_other_bytes(world: World, tmp_path: Path) -> None:
    assert _trace(world, "no HTTP", 20, tmp_path / "one") != _trace(world, "no HTTP", 21, tmp_path / "two")
