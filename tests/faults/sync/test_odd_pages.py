"""Pages that are neither whole nor broken: totals that lie, chains without end, pages that move, ids that are none."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from s4s_lab import Dataset, PullReport, open_dataset
from s4s_lab.sync.pulling import PullMode
from tests.faults.server.record import START, VersionIds, study
from tests.faults.server.wire import Request, Talk
from tests.faults.sync.working import World, attempt, done, kept

FORTY = timedelta(seconds=40)
CHAIN = 10_000 if os.environ.get("S4S_FULL") == "1" else 400


def searches(request: Request) -> bool:
    return "/ImagingStudy?" in request.target and "=gt" not in request.target


def note(result: object) -> str:
    assert isinstance(result, PullReport)
    return " ".join(result.warnings)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path / "data")


@pytest.mark.parametrize("mode", ["auto", "broad"])
def test_a_total_that_is_too_high_keeps_what_came_and_moves_nothing(
    mode: PullMode, world: World, data: Dataset
) -> None:
    assert done(attempt(world, data))
    world.change()
    before = kept(data)
    world.record.total = 99
    short = attempt(world, data, mode)
    assert done(short)
    assert "counts 99" in note(short)
    assert kept(data).watermarks == before.watermarks
    assert data.log.current(data.connections()[0], "ImagingStudy")["s3"].fell_out is None
    world.record.total = "exact"
    assert done(attempt(world, data, "broad"))
    assert data.log.current(data.connections()[0], "ImagingStudy")["s3"].fell_out == "deleted"


@pytest.mark.long
def test_a_chain_of_thousands_of_pages_is_read_to_its_end_and_one_longer_is_refused(
    world: World, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s4s_lab.fhir.searching.MAX_PAGES", CHAIN)

    async def chain(talk: Talk) -> None:
        bundle = json.loads(talk.honest.body)
        onward = [{"relation": "next", "url": f"{talk.request.base}/ImagingStudy?at={talk.turn}"}]
        bundle |= {"entry": [{"resource": study(f"c{talk.turn}")}], "total": None}
        bundle["link"] = onward if talk.turn + 1 < length else []
        await talk.send(replace(talk.honest, body=json.dumps(bundle).encode()).wire())

    length = CHAIN + 1
    world.server.begin(world.record.answer, chain, searches)
    assert "number more than" in note(attempt(world, data))
    assert data.log.version == 0
    length = CHAIN
    world.server.begin(world.record.answer, chain, searches)
    result = attempt(world, data)
    assert isinstance(result, PullReport)
    assert (result.types[0].pages, result.types[0].new) == (CHAIN, CHAIN), note(result)


@pytest.mark.parametrize("key", ["a b", "é ü", "a/../b", "x" * 70, "a'b\"c", "😀", "%2e%2e"])
def test_a_record_whose_id_is_none_does_not_stop_later_pulls_when_it_vanishes(
    key: str, world: World, data: Dataset
) -> None:
    world.record.write("ImagingStudy", key, study(key), stamp=START)
    assert done(attempt(world, data))
    world.record.write("ImagingStudy", key, None)
    result = attempt(world, data, "broad")
    assert done(result)
    assert data.log.current(data.connections()[0], "ImagingStudy")[key].fell_out
    assert data.log.current(data.connections()[0], "ImagingStudy")["s1"].fell_out is None


def test_a_doubled_id_is_refused_and_costs_nothing_once_the_server_is_mended(world: World, data: Dataset) -> None:
    """Decoders keep one of the two, and which patient's or record's it is would be a guess."""

    async def doubled(talk: Talk) -> None:
        body = talk.honest.body.replace(b'"id": "s1"', b'"id": "s0", "id": "s1"')
        await talk.send(replace(talk.honest, body=body).wire())

    world.server.begin(world.record.answer, doubled, searches)
    assert not done(attempt(world, data))
    assert not data.log.current(data.connections()[0], "ImagingStudy")
    world.server.mend()
    assert done(attempt(world, data))
    assert sorted(data.log.current(data.connections()[0], "ImagingStudy")) == [f"s{number}" for number in range(7)]


@pytest.mark.parametrize("status", [500, 502, 429])
def test_an_endpoint_that_could_not_be_read_comes_with_a_later_pull(status: int, world: World, data: Dataset) -> None:
    """Studies are listed once by updates: what belongs to them may not be lost because it failed at that moment."""

    async def refused(talk: Talk) -> None:
        await talk.send(replace(talk.honest, status=status, body=b"").wire())

    world.server.begin(world.record.answer, refused, lambda request: "/Endpoint/" in request.target)
    attempt(world, data)
    world.server.mend()
    world.sleep(2 * 86_400)
    assert done(attempt(world, data))
    assert sorted(data.log.current(data.connections()[0], "Endpoint")) == ["e1"]


@pytest.mark.parametrize(("version_ids", "at_once"), [("numbers", True), ("names", False), ("absent", False)])
def test_a_newer_version_with_an_older_stamp_comes_by_its_number_or_with_the_next_broad_pull(
    version_ids: VersionIds, at_once: bool, world: World, data: Dataset
) -> None:
    """Nodes of a cluster have clocks of their own: what one writes after another may be stamped before it."""

    def description() -> object:
        return json.loads(data.log.raw(data.connections()[0], "ImagingStudy", ["s1"])["s1"])["description"]

    world.record.version_ids = version_ids
    assert done(attempt(world, data))
    world.record.write("ImagingStudy", "s1", study("s1", description="before"))
    assert done(attempt(world, data, "update"))
    world.record.write("ImagingStudy", "s1", study("s1", description="after"), stamp=world.record.now - FORTY)
    assert done(attempt(world, data, "update"))
    assert description() == ("after" if at_once else "before")
    world.sleep(3600)
    assert done(attempt(world, data, "broad"))
    assert description() == "after"


def test_a_server_that_silently_rounds_instants_to_days_loses_no_update(world: World, data: Dataset) -> None:
    world.record.filter = "rounded"
    assert done(attempt(world, data))
    world.change()
    updated = attempt(world, data, "update")
    assert isinstance(updated, PullReport)
    assert (updated.types[0].new, updated.types[0].changed) == (4, 1)
