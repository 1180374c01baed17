"""A stream that ends too early, at every interesting place and in every framing: never complete, nothing half kept."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache, archive_key, retrieve_study
from s4s_lab.errors import TruncatedAnswer
from s4s_lab.net import HttpClient
from tests.unit.dicom.multipart_bodies import body_of
from tests.unit.dicom.samples import STUDY, image_file
from tests.wire.dicom.archive import BOUNDARY, FRAMINGS, PATIENT, Framing, answer, archive, study_answer

PARTS = [image_file(f"1.9.{number}", size=16, filler=number, number=number) for number in range(1, 4)]
BODY = body_of(PARTS, boundary=BOUNDARY)
DELIMITER = b"\r\n--" + BOUNDARY
ENDS = [BODY.index(part) + len(part) + len(DELIMITER) + 2 for part in PARTS]
LAST = len(BODY) - len("\r\n")
CUTS = sorted(
    {1, 30, 90, LAST - 1} | {cut for end in ENDS for cut in (*range(end - 30, end + 30, 6), end - 1, end) if cut < LAST}
)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_cut_anywhere_is_truncated_and_its_whole_parts_are_kept(
    client: HttpClient, cache: DicomCache, framing: Framing
) -> None:
    for cut in CUTS:
        with archive(study_answer(PARTS, framing=framing, cut=cut)) as server:
            request = server.request(expected=3)
            with pytest.raises(TruncatedAnswer):
                retrieve_study(client, cache, request)
        kept = [path.read_bytes() for path in (cache.root / archive_key(request.wado_base, PATIENT)).rglob("*.dcm")]
        assert sorted(kept) == sorted(PARTS[: sum(cut >= end for end in ENDS)]), cut
        assert not list(cache.root.rglob("*.part"))


def test_a_body_that_broke_off_before_its_first_byte_is_truncated(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer(PARTS, framing="length", cut=0)) as server, pytest.raises(TruncatedAnswer):
        retrieve_study(client, cache, server.request())


def test_a_broken_retrieval_goes_on_where_it_stopped(client: HttpClient, cache: DicomCache) -> None:
    with archive(
        study_answer(PARTS, cut=ENDS[0] + 50), study_answer(PARTS, cut=ENDS[1] + 50), study_answer(PARTS)
    ) as server:
        request = server.request(expected=3)
        for kept in (1, 2):
            with pytest.raises(TruncatedAnswer):
                retrieve_study(client, cache, request)
            assert cache.instances()["instance_number"].to_pylist() == list(range(1, kept + 1))
        before = {path: path.stat() for path in cache.root.rglob("*.dcm")}
        retrieval = retrieve_study(client, cache, request)
    assert (retrieval.state, retrieval.new, retrieval.instances) == ("complete", 1, 3)
    assert {path: path.stat() for path in before} == before


def test_a_break_does_not_undo_what_was_complete(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer(PARTS), study_answer(PARTS, cut=500)) as server:
        retrieve_study(client, cache, server.request(expected=3))
        with pytest.raises(TruncatedAnswer):
            retrieve_study(client, cache, server.request(expected=3))
    (path, *_) = cache.instances()["path"].to_pylist()
    assert cache.study(path.split("/")[1], STUDY).state == "complete"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_single_file_cut_short_is_not_kept(client: HttpClient, cache: DicomCache, framing: Framing) -> None:
    reply = answer(PARTS[0], content_type="application/dicom", framing=framing, cut=len(PARTS[0]) - 1)
    with archive(reply) as server, pytest.raises(TruncatedAnswer):
        retrieve_study(client, cache, server.request())
    assert not list(cache.root.rglob("*.dcm"))
    assert not list(cache.root.rglob("*.part"))


@pytest.mark.parametrize("lost", [1, 8, 40])
def test_a_single_file_whose_coding_is_cut_is_not_kept(client: HttpClient, cache: DicomCache, lost: int) -> None:
    """The wire brings all of the length that it declares: what was cut is the coded file, before it was sent."""
    cut = gzip.compress(image_file("1.9.1", size=16) + os.urandom(500))[:-lost]
    reply = answer(cut, content_type="application/dicom", headers=["Content-Encoding: gzip"], framing="length")
    with archive(reply) as server, pytest.raises(TruncatedAnswer, match="broke off within its single file"):
        retrieve_study(client, cache, server.request())
    assert not list(cache.root.rglob("*.dcm"))
    assert not list(cache.root.rglob("*.part"))


def test_a_single_file_in_a_whole_coding_is_kept(client: HttpClient, cache: DicomCache) -> None:
    coded = gzip.compress(PARTS[0])
    reply = answer(coded, content_type="application/dicom", headers=["Content-Encoding: gzip"], framing="length")
    with archive(reply) as server:
        assert retrieve_study(client, cache, server.request()).state == "complete"
    assert [path.read_bytes() for path in cache.root.rglob("*.dcm")] == [PARTS[0]]


def test_a_single_file_whose_end_nothing_shows_is_not_kept(client: HttpClient, cache: DicomCache) -> None:
    reply = answer(PARTS[0], content_type="application/dicom", framing="close")
    with archive(reply) as server, pytest.raises(TruncatedAnswer, match="without a length"):
        retrieve_study(client, cache, server.request())
    assert not list(cache.root.rglob("*.dcm"))


def part(data: bytes, declared: int) -> bytes:
    """A part that declares its own length."""
    head = b"--%s\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\n\r\n" % (BOUNDARY, declared)
    return head + data + b"\r\n"


@pytest.mark.parametrize("expected", [None, 2])
def test_a_part_shorter_than_it_declares_is_set_aside_and_the_study_is_not_complete(
    client: HttpClient, cache: DicomCache, expected: int | None
) -> None:
    trailed = PARTS[1] + bytes(100)
    body = part(PARTS[0], len(PARTS[0])) + part(trailed[:-50], len(trailed)) + b"--" + BOUNDARY + b"--\r\n"
    with archive(answer(body)) as server:
        retrieval = retrieve_study(client, cache, server.request(expected=expected))
    assert (retrieval.state, retrieval.instances) == ("partial", 1)
    declared = f"its Content-Length is {len(trailed)}, {len(trailed) - 50} bytes came"
    assert retrieval.issues[0] == f"part 2 is in quarantine: {declared}"


def test_a_file_that_ends_before_its_pixels_do_is_asked_for_again(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer([PARTS[0], PARTS[1][:-1]]), study_answer(PARTS[:2])) as server:
        first = retrieve_study(client, cache, server.request())
        second = retrieve_study(client, cache, server.request())
    assert (first.state, first.instances) == ("partial", 1)
    assert first.issues == ("part 2 is in quarantine: it ends before its data do",)
    assert (second.state, second.instances) == ("complete", 2)
    kept = {path.read_bytes() for path in cache.root.rglob("*.dcm") if "quarantine" not in path.parts}
    assert kept == set(PARTS[:2])


def test_a_study_of_undeclared_size_with_an_unfiled_part_is_not_complete(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer([PARTS[0], b"no file at all", PARTS[2]])) as server:
        retrieval = retrieve_study(client, cache, server.request())
    assert (retrieval.state, retrieval.instances, len(retrieval.issues)) == ("partial", 2, 1)


CHILD = """
import sys; from pathlib import Path
from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
from s4s_lab.net import HttpClient
request = StudyRequest(sys.argv[1], sys.argv[2], 200, "https://ehr.example/fhir", "smart-1288992", "P-0007")
with HttpClient() as client:
    retrieve_study(client, DicomCache(Path(sys.argv[3])), request)
"""


def test_a_killed_retrieval_leaves_nothing_that_the_next_one_does_not_mend(
    client: HttpClient, cache: DicomCache
) -> None:
    parts = [image_file(f"1.9.{number}", size=16, number=number) for number in range(1, 201)]
    half, killed = len(body_of(parts, boundary=BOUNDARY)) // 2, threading.Event()

    def half_of_it() -> Iterator[bytes]:
        yield study_answer(parts, cut=half)
        killed.wait(60)

    with archive(half_of_it(), study_answer(parts)) as server:
        command = [sys.executable, "-c", CHILD, server.base, STUDY, str(cache.root)]
        with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as child:
            ends = time.monotonic() + 60
            while cache.instances().num_rows == 0 and time.monotonic() < ends:
                time.sleep(0.02)
            child.kill()
        killed.set()
        assert 0 < cache.instances().num_rows < 200
        for row in cache.instances().to_pylist():
            assert (cache.root.parent / row["path"]).read_bytes() == parts[row["instance_number"] - 1]
        retrieval = retrieve_study(client, cache, server.request(expected=200))
    assert (retrieval.state, retrieval.instances) == ("complete", 200)
    assert sorted(path.read_bytes() for path in cache.root.rglob("*.dcm")) == sorted(parts)
    assert not list(cache.root.rglob("*.part"))
