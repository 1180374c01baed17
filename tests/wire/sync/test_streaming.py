"""A listing on its way to the log: in flat memory, the same state whatever the pages, and nothing of it left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from s4s_lab import Dataset, open_dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything
from tests.wire.sync import server as serving_module
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, serving, study

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
FULL = os.environ.get("S4S_FULL") == "1"
PAGES = 10_000 if FULL else 1_000
ON_A_PAGE = 25


class LongChain(FhirServer):
    """A server with a chain of pages, each made when it is asked for; `stop_at` is the page that never comes."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.stopped, self.released = threading.Event(), threading.Event()

    def answer(self, target: str) -> tuple[int, dict[str, str], Any]:
        number = int(target.partition("page=")[2] or 0)
        if number == self.stop_at:
            self.stopped.set()
            self.released.wait(60)
        links = [{"relation": "next", "url": f"{self.url}/ImagingStudy?patient=p1&page={number + 1}"}]
        entries = [
            {"resource": study(number * ON_A_PAGE + place, LONG_AGO, description="x" * 4000)}
            for place in range(ON_A_PAGE)
        ]
        last = number + 1 >= PAGES
        return 200, {}, {"resourceType": "Bundle", "link": [] if last else links, "entry": entries}


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process


LIST = """
import json, sys
from pathlib import Path
from s4s_lab.lake import Stage
from s4s_lab.net import HttpClient
from s4s_lab.sync.listing import Source, Tally, everything
from s4s_lab.sync.plan import PlanItem
def peak():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])
with HttpClient() as client, Stage(Path(sys.argv[2])) as stage:
    before = peak()
    source = Source(client, sys.argv[1], "p1", PlanItem("ImagingStudy", "patient"), Tally(), lambda: stage)
    listing, whole = everything(source)
    kept = sum(batch.num_rows for batch in stage.rows(range(len(stage))))
    print(json.dumps({"grown": peak() - before, "pages": source.tally.pages, "ids": len(listing.ids), "kept": kept}))
"""

PULL = """
import sys
from s4s_lab import open_dataset, pull
from tests.wire.sync.conftest import connection
pull(connection(sys.argv[1]), open_dataset(sys.argv[2]), types=["ImagingStudy"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_a_long_chain_of_pages_is_listed_in_flat_memory(tmp_path: Path) -> None:
    """100 MB of pages (1 GB when whole): a tenth of it would not be flat."""
    with serving(LongChain()) as server, child(LIST, server.url, str(tmp_path)) as process:
        out, errors = process.communicate()
    assert process.returncode == 0, errors
    told = json.loads(out)
    assert (told["pages"], told["ids"], told["kept"]) == (PAGES, PAGES * ON_A_PAGE, PAGES * ON_A_PAGE)
    assert told["grown"] < 35_000 + PAGES * ON_A_PAGE * 0.6, f"{told['grown']} kB"


def files_of(data: Dataset) -> set[Path]:
    return {path for path in data.path().rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_however_the_pages_are_cut_and_ordered_the_state_is_the_same(
    size: int, seed: int, server: FhirServer, link: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that come twice too: the newer version counts, whichever comes first."""
    studies = [study(n, LONG_AGO, description=str(n)) for n in range(30)]
    server.put(*studies)
    whole = open_dataset(tmp_path / "whole")
    pull(link, whole, types=TYPES)
    old = [study(n, datetime(2019, 1, 1, tzinfo=UTC), description="old") for n in range(0, 30, 3)]
    shuffled = random.Random(seed).sample(studies + old, 40)  # noqa: S311  order, no secret
    server.resources = {f"{place}": resource for place, resource in enumerate(shuffled)}
    monkeypatch.setattr(serving_module, "PAGE", size)
    server.total = 30
    other = open_dataset(tmp_path / "other")
    result = pull(link, other, types=TYPES)
    assert result.types[0].pages == -(-40 // size)
    assert other.log.digest() == whole.log.digest()


def test_raw_json_is_kept_to_the_byte(server: FhirServer, link: Connection, data: Dataset) -> None:
    resource = study(1, LONG_AGO, description="für \u202f", odd=[1.5, {}])
    server.put(resource)
    pull(link, data, types=TYPES)
    record = data.connection(server.url, "p1")
    assert data.log.raw(record, "ImagingStudy") == {"s1": json.dumps(resource)}


def test_a_page_that_fails_leaves_no_file_and_no_version(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(*(study(n, LONG_AGO, description="x" * 100_000) for n in range(120)))
    monkeypatch.setattr(serving_module, "PAGE", 10)
    data.connection(server.url, "p1")
    version = data.log.version
    server.broken_page = 11
    with pytest.warns(NotEverything):
        pull(link, data, types=TYPES)
    assert data.log.version == version
    assert not [path for path in files_of(data) if path.stat().st_size > 1_000_000]


def test_a_pull_that_is_killed_on_its_way_leaves_nothing_of_the_pages(tmp_path: Path) -> None:
    chain = LongChain(stop_at=150)
    with serving(chain) as server, child(PULL, server.url, str(tmp_path / "data")) as process:
        assert chain.stopped.wait(60)
        kept = {path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.stat().st_size > 20_000}
        process.send_signal(signal.SIGKILL)
        process.communicate()
        chain.released.set()
        assert kept == set()
    data = open_dataset(tmp_path / "data")
    assert data.log.version == 0
    assert b"x" * 1000 not in b"".join(path.read_bytes() for path in files_of(data))
