"""kill -9 at every file operation of a fetch, and failing disks: index and files agree, the next one completes."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from s4s_lab import Dataset, fetch, open_dataset, pull
from s4s_lab.dicom import archive_key
from tests.faults.pull.scenes import LONG_AGO, endpoint
from tests.faults.pull.worker import NAMES, SYNCS, WRITES, Fault, Worker
from tests.unit.dicom.samples import STUDY, image_file
from tests.wire.dicom.archive import Archive, answer, archive, study_answer
from tests.wire.sync.conftest import connection
from tests.wire.sync.server import FhirServer, serving, study

FULL = os.environ.get("S4S_FULL") == "1"
POINTS = 4
PARTS = [image_file(f"1.2.826.5.{number}") for number in range(1, 6)]
LATER = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 900"])


@dataclass(frozen=True)
class Pulled:
    """A dataset with a study that is to be fetched, and one whose archive asks to come back later."""

    root: Path
    url: str
    archive: Archive

    def fresh(self, root: Path) -> Path:
        shutil.copytree(self.root, root)
        return root


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    root = tmp_path_factory.mktemp("pulled") / "dataset"
    with archive(study_answer(PARTS)) as ready, archive(LATER) as busy, serving(FhirServer()) as server:
        for number, (uid, running) in enumerate(((STUDY, ready), ("1.2.3.9", busy))):
            refers = {"contained": [endpoint(1, running.base)], "endpoint": [{"reference": "#e1"}]}
            server.put(study(number, LONG_AGO, uid=f"urn:oid:{uid}", numberOfInstances=len(PARTS), **refers))
        pull(connection(server.url), open_dataset(root), types=["ImagingStudy"])
        yield Pulled(root, server.url, ready)


def files(data: Dataset) -> list[bytes]:
    return sorted(path.read_bytes() for path in (data.path() / "dicom").rglob("*.dcm"))


def check(root: Path, pulled: Pulled) -> None:
    """What the index names is there and right; the next fetch completes, and after it there is nothing to ask."""
    data = open_dataset(root)
    known = data.images.instances()
    for path, digest in zip(known["path"].to_pylist(), known["sha256"].to_pylist(), strict=True):
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == digest
    state = data.images.study(archive_key(pulled.archive.base, "p1"), STUDY).state
    assert state != "complete" or known.num_rows == len(PARTS)
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 2 studies"):
            report = fetch(connection(pulled.url), data, max_wait_s=5)
        asked = len(pulled.archive.requests)
        assert {one.study_uid: one.state for one in report.studies} == {STUDY: "complete", "1.2.3.9": "waiting"}
    assert len(pulled.archive.requests) == asked
    assert files(data) == sorted(PARTS)
    assert len(data.table("dicom_instance")) == len(PARTS)
    assert not list((root / "dicom").rglob("*.part"))


def swept(worker: Worker, pulled: Pulled, folder: Path, how: str, classes: int, error: int = 0) -> int:
    """Let the same happen at many operations; return how many fetches it ended."""
    counted = worker.do("fetch", pulled.fresh(folder / "counted"), pulled.url, Fault("count", classes)).counted
    points = range(1, counted + 1)
    ended = 0
    for point in points if FULL else random.Random(how).sample(points, POINTS):  # noqa: S311 - repeatable, no secret
        root = pulled.fresh(folder / f"{point}")
        fault = Fault(how, classes, point, error)  # type: ignore[arg-type]  # one of its words
        ending = worker.do("fetch", root, pulled.url, fault)
        assert "crash" not in ending.said, ending.said
        ended += ending.killed or "error" in ending.said
        check(root, pulled)
        shutil.rmtree(root)
    return ended


@pytest.mark.long
def test_a_killed_fetch_leaves_nothing_that_is_wrong(worker: Worker, pulled: Pulled, tmp_path: Path) -> None:
    assert swept(worker, pulled, tmp_path, "kill", NAMES | SYNCS)


@pytest.mark.long
@pytest.mark.parametrize(("how", "error"), [("fail on", errno.ENOSPC), ("fail once", errno.EIO)])
def test_a_disk_that_fails_costs_that_fetch_only(
    worker: Worker, pulled: Pulled, tmp_path: Path, how: str, error: int
) -> None:
    assert swept(worker, pulled, tmp_path, how, NAMES | SYNCS | WRITES, error)
