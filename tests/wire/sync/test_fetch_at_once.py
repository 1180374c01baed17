"""Fetches of several studies at once: bounded for each archive, ended together, from the archive that has most."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from s4s_lab import Dataset, fetch
from s4s_lab.connection import Connection
from s4s_lab.dicom import archive_key
from s4s_lab.errors import DatasetError, NotEverything, UsageError
from tests.unit.dicom.samples import STUDY, image_file
from tests.wire.dicom.archive import answer, archive, study_answer
from tests.wire.net.servers import Request, Server, serving
from tests.wire.sync.server import FhirServer
from tests.wire.sync.test_fetch import PARTS, at, files, pulled

LATER = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 900"])


@dataclass
class Busy:
    """An archive's door: how many are in at once, and at most; each stays until `enough` says so, or a time."""

    enough: Callable[[Busy], bool]
    patience_s: float = 1.0
    inside: int = 0
    most: int = 0
    served: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def script(self, request: Request, connection: socket.socket) -> None:
        uid = request.target.rpartition("/")[2]
        with self.changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.enough(self), timeout=self.patience_s)
        connection.sendall(study_answer([image_file(f"{uid}.1", study=uid)]))
        with self.changed:
            self.inside -= 1
            self.served.append(uid)
            self.changed.notify_all()
        connection.close()


def studies_at(server: Server | str, numbers: range) -> list[dict[str, object]]:
    base = server if isinstance(server, str) else f"{server.url}/wado"
    return [at(base, id=f"s{number}", uid=f"urn:oid:1.2.{number}", numberOfInstances=1) for number in numbers]


def test_two_studies_of_an_archive_come_at_once_and_no_more(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    door = Busy(lambda door: door.inside > 2)
    with serving(door.script) as running:
        pulled(server, link, data, *studies_at(running, range(1, 6)))
        report = fetch(link, data)
    assert report.outcome == "done"
    assert [study.study_uid for study in report.studies] == [f"1.2.{number}" for number in range(1, 6)]
    assert (door.most, sorted(door.served)) == (2, [f"1.2.{number}" for number in range(1, 6)])


def test_a_full_archive_holds_up_no_other(server: FhirServer, link: Connection, data: Dataset) -> None:
    changed = threading.Condition()
    second = Busy(lambda _: True, changed=changed)
    first = Busy(lambda door: door.most == 2 and len(second.served) == 2, patience_s=10, changed=changed)
    with serving(first.script) as one, serving(second.script) as other:
        pulled(server, link, data, *studies_at(one, range(1, 5)), *studies_at(other, range(5, 7)))
        began = time.monotonic()
        assert fetch(link, data).outcome == "done"
    assert (first.most, second.most <= 2, len(first.served)) == (2, True, 4)
    assert time.monotonic() - began < 9


def test_an_archive_takes_no_more_than_half_of_the_places(server: FhirServer, link: Connection, data: Dataset) -> None:
    changed = threading.Condition()
    # Two of the other archive's studies have to be under way at once, while the first archive has both of its own.
    second = Busy(lambda door: door.most == 2, patience_s=10, changed=changed)
    first = Busy(lambda door: door.most == 2 and second.most == 2, patience_s=10, changed=changed)
    with serving(first.script) as one, serving(second.script) as other:
        pulled(server, link, data, *studies_at(one, range(1, 5)), *studies_at(other, range(5, 7)))
        assert fetch(link, data).outcome == "done"
    assert (first.most, second.most) == (2, 2)


def test_an_interrupt_ends_every_stream_and_keeps_what_was_whole(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    stalled = threading.Barrier(3, timeout=10)

    def stall(request: Request, connection: socket.socket) -> None:
        uid = request.target.rpartition("/")[2]
        parts = [image_file(f"{uid}.{number}", study=uid) for number in (1, 2)]
        connection.sendall(study_answer(parts, cut=len(parts[0]) + 400))
        stalled.wait()
        connection.recv(1)

    def interrupt() -> None:
        stalled.wait()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    with serving(stall) as running:
        pulled(server, link, data, *studies_at(running, range(1, 4)))
        interrupting = threading.Thread(target=interrupt, daemon=True)
        before = {*threading.enumerate(), interrupting}
        interrupting.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            fetch(link, data)
        assert time.monotonic() - began < 5
    assert {path.name for path in (data.path() / "dicom").rglob("*.dcm")} == {"1.2.1.1.dcm", "1.2.2.1.dcm"}
    assert len(data.table("dicom_instance")) == 2
    left = set(threading.enumerate()) - before
    assert not [thread.name for thread in left if thread.name.startswith("s4s-")]


def test_an_interrupt_ends_the_wait_for_another_process(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        asked, over = threading.Event(), threading.Event()

        def hold() -> None:
            with data.images.receiving(archive_key(running.base, link.patient_id), STUDY):
                asked.set()
                time.sleep(1)
                os.kill(os.getpid(), signal.SIGINT)
                over.wait(20)

        holding = threading.Thread(target=hold, daemon=True)
        holding.start()
        asked.wait(10)
        with pytest.raises(KeyboardInterrupt):
            fetch(link, data)
        # The other one goes on.
        assert holding.is_alive()
        over.set()
        holding.join(10)
        assert running.requests == []


def test_what_ends_one_retrieval_for_good_ends_the_others_too(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    stalled = threading.Event()

    def stall(_: Request, connection: socket.socket) -> None:
        connection.sendall(study_answer([image_file("1.2.2.1", study="1.2.2")], cut=300))
        stalled.set()
        connection.recv(1)

    def slowly() -> Iterator[bytes]:
        stalled.wait(10)
        yield study_answer(PARTS)

    with serving(stall) as running, archive(slowly()) as ready:
        pulled(server, link, data, *studies_at(running, range(2, 3)), at(ready))
        # A file is where the other study's folder has to be made.
        folder = data.path() / "dicom" / archive_key(ready.base, link.patient_id)
        folder.mkdir(parents=True)
        (folder / STUDY).write_bytes(b"")
        began = time.monotonic()
        with pytest.raises(DatasetError, match="images cannot be written"):
            fetch(link, data)
    assert time.monotonic() - began < 5


def two_archives(one: str, other: str) -> dict[str, object]:
    """The sample study, with addresses of two archives."""
    endpoints = [{**at(base)["contained"][0], "id": name} for base, name in ((one, "a"), (other, "b"))]
    return at(one, contained=endpoints, endpoint=[{"reference": "#a"}, {"reference": "#b"}])


def test_an_archive_that_has_a_part_is_not_the_last_asked(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS[:1])) as part, archive(study_answer(PARTS)) as whole:
        pulled(server, link, data, two_archives(part.base, whole.base))
        (study,) = fetch(link, data).studies
        assert (study.state, study.instances, study.error) == ("complete", 2, None)
        assert (len(part.requests), len(whole.requests)) == (1, 1)


@pytest.mark.parametrize("first", [LATER, study_answer(PARTS, cut=700)], ids=["busy", "broken off"])
def test_an_archive_that_is_busy_or_breaks_off_is_not_the_last_asked(
    server: FhirServer, link: Connection, data: Dataset, first: bytes
) -> None:
    with archive(first) as bad, archive(study_answer(PARTS)) as good:
        pulled(server, link, data, two_archives(bad.base, good.base))
        (study,) = fetch(link, data, max_wait_s=2).studies
    assert (study.state, study.instances, len(bad.requests), len(good.requests)) == ("complete", 2, 1, 1)


THREE = [*PARTS, image_file("1.2.826.5.3")]


@pytest.mark.parametrize(("second", "state"), [(study_answer(THREE, cut=700), "partial"), (LATER, "waiting")])
def test_a_part_counts_where_the_other_archive_breaks_off_and_waits_where_it_is_busy(
    server: FhirServer, link: Connection, data: Dataset, second: bytes, state: str
) -> None:
    with archive(study_answer(THREE[:2])) as part, archive(second) as bad:
        pulled(server, link, data, {**two_archives(part.base, bad.base), "numberOfInstances": 3})
        with pytest.warns(NotEverything):
            (study,) = fetch(link, data, max_wait_s=0).studies
    assert (study.state, study.instances) == (state, 2)


def test_of_several_parts_the_largest_is_told(server: FhirServer, link: Connection, data: Dataset) -> None:
    three = [*PARTS, image_file("1.2.826.5.3")]
    with archive(study_answer(three[:2])) as more, archive(study_answer(three[:1])) as less:
        pulled(server, link, data, {**two_archives(more.base, less.base), "numberOfInstances": 3})
        with pytest.warns(NotEverything):
            (study,) = fetch(link, data).studies
    assert (study.state, study.instances, len(less.requests)) == ("partial", 2, 1)


def test_source_names_the_archive_to_ask(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS[:1])) as first, archive(study_answer(PARTS)) as second:
        pulled(server, link, data, two_archives(first.base, second.base))
        assert fetch(link, data, STUDY, source=f"{second.base}/studies/").outcome == "done"
        assert (len(first.requests), len(second.requests)) == (0, 1)
        assert files(data) == sorted(PARTS)
        with pytest.warns(NotEverything):
            (study,) = fetch(link, data, STUDY, source=first.base).studies
        assert (study.state, study.instances, len(first.requests)) == ("partial", 1, 1)
        assert fetch(link, data, STUDY).outcome == "done"
        assert len(second.requests) == 1


def test_a_source_that_the_record_does_not_name_is_said(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        with pytest.warns(NotEverything):
            (study,) = fetch(link, data, source="https://other.example/wado").studies
        address = running.base.replace("smart-1288992", "…")
        assert study.error == (f"The record does not name the archive https://other.example/wado. It names {address}.")
        with pytest.raises(UsageError):
            fetch(link, data, source="other")
        assert running.requests == []


def test_a_study_that_waits_gives_its_place_to_the_others(server: FhirServer, link: Connection, data: Dataset) -> None:
    ready = [image_file("1.2.1.1", study="1.2.1")]
    with archive(LATER) as busy, archive(study_answer(ready)) as running:
        waiting = [at(busy.base, id=f"w{number}", uid=f"urn:oid:1.3.{number}") for number in range(5)]
        pulled(server, link, data, *waiting, *studies_at(running.base, range(1, 2)))
        with pytest.warns(NotEverything):
            report = fetch(link, data, max_wait_s=5)
    states = {study.study_uid: study.state for study in report.studies}
    assert states == {f"1.3.{number}": "waiting" for number in range(5)} | {"1.2.1": "complete"}
