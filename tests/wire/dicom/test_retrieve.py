"""A study over the wire: what is asked, what arrives, what is kept."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache, Retrieval, StudyRequest, retrieve_study
from s4s_lab.errors import BadUid, DatasetError, UnexpectedAnswer, UsageError
from s4s_lab.net import HttpClient
from tests.unit.dicom.multipart_bodies import body_of
from tests.unit.dicom.samples import STUDY, dicom_file, element, identity, image_file
from tests.wire.dicom.archive import BOUNDARY, FRAMINGS, PATIENT, Framing, answer, archive, study_answer

PARTS = [image_file(f"1.9.{number}", series=f"1.8.{number % 2}", filler=number, number=number) for number in range(6)]
PAGE_FORM = "multipart/related; type=application/dicom"
UNACCEPTABLE = answer(b"{}", status="406 Not Acceptable", content_type="application/json", framing="length")
BAD_REQUEST = answer(b"{}", status="400 Bad Request", content_type="application/json", framing="length")


def contents(cache: DicomCache) -> list[bytes]:
    """The files of the cache, in the order of their instance numbers."""
    table = cache.instances().sort_by("instance_number")
    return [(cache.root.parent / path).read_bytes() for path in table["path"].to_pylist()]


@pytest.mark.clause("S4S-13", "S4S-14")
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_study_is_retrieved_byte_for_byte(client: HttpClient, cache: DicomCache, framing: Framing) -> None:
    with archive(study_answer(PARTS, framing=framing)) as server:
        retrieval = retrieve_study(client, cache, server.request(expected=6, study_uid=f"urn:oid:{STUDY}"))
    assert [request.target for request in server.requests] == [f"/Patient/{PATIENT}/$wado-rs/studies/{STUDY}"]
    assert contents(cache) == PARTS
    assert (retrieval.state, retrieval.instances, retrieval.new, retrieval.issues) == ("complete", 6, 6, ())
    assert retrieval.bytes == sum(map(len, PARTS))


@pytest.mark.clause("S4S-14")
def test_a_server_that_knows_only_the_form_of_the_page_is_asked_in_it(client: HttpClient, cache: DicomCache) -> None:
    with archive(UNACCEPTABLE, BAD_REQUEST, study_answer(PARTS)) as server:
        assert retrieve_study(client, cache, server.request()).state == "complete"
    assert server.requests[-1].headers["accept"] == PAGE_FORM
    assert contents(cache) == PARTS


def test_the_archives_own_bytes_are_asked_for_first_and_every_form_once(client: HttpClient, cache: DicomCache) -> None:
    with archive(UNACCEPTABLE, UNACCEPTABLE, UNACCEPTABLE, study_answer(PARTS)) as server:
        retrieve_study(client, cache, server.request())
    asked = [request.headers["accept"] for request in server.requests]
    assert asked[0] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert asked[1] == "multipart/related; type=application/dicom; transfer-syntax=*"
    assert asked[2:] == [PAGE_FORM, 'multipart/related; type="application/dicom"']


def test_the_body_is_asked_for_without_a_content_coding(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer(PARTS)) as server:
        retrieve_study(client, cache, server.request())
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_progress_tells_every_byte_of_the_body(client: HttpClient, cache: DicomCache) -> None:
    told: list[int] = []
    with archive(study_answer(PARTS)) as server:
        retrieve_study(client, cache, server.request(), on_bytes=told.append)
    assert sum(told) == len(body_of(PARTS, boundary=BOUNDARY))


def test_a_boundary_that_the_header_does_not_name_is_found(client: HttpClient, cache: DicomCache) -> None:
    body = body_of(PARTS, boundary=BOUNDARY)
    with archive(answer(body, content_type='multipart/related; type="application/dicom"')) as server:
        assert retrieve_study(client, cache, server.request(expected=6)).state == "complete"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_one_file_may_come_without_multipart(client: HttpClient, cache: DicomCache, framing: Framing) -> None:
    with archive(answer(PARTS[1], content_type="application/dicom", framing=framing)) as server:
        retrieval = retrieve_study(client, cache, server.request(expected=1))
    assert (retrieval.state, retrieval.new) == ("complete", 1)
    assert contents(cache) == [PARTS[1]]


@pytest.mark.parametrize(
    ("expected", "state", "issues"),
    [(None, "complete", ()), (6, "complete", ()), (7, "partial", ("7 instances were expected, 6 came",)),
     (5, "partial", ("5 instances were expected, 6 came",))],
)  # fmt: skip
def test_a_count_that_disagrees_is_reported(
    client: HttpClient, cache: DicomCache, expected: int | None, state: str, issues: tuple[str, ...]
) -> None:
    with archive(study_answer(PARTS)) as server:
        request = server.request(expected=expected)
        retrieval = retrieve_study(client, cache, request)
    assert (retrieval.state, retrieval.issues, retrieval.expected) == (state, issues, expected)
    (archive_name,) = {path.split("/")[1] for path in cache.instances()["path"].to_pylist()}
    cached = cache.study(archive_name, STUDY)
    assert (cached.state, cached.instances, cached.expected) == (state, 6, expected)


def test_a_partial_content_is_partial_even_when_the_count_agrees(client: HttpClient, cache: DicomCache) -> None:
    with archive(answer(body_of(PARTS, boundary=BOUNDARY), status="206 Partial Content")) as server:
        retrieval = retrieve_study(client, cache, server.request(expected=6))
    assert retrieval.state == "partial"
    assert "206" in retrieval.issues[0]


def test_a_study_of_which_nothing_could_be_filed_is_not_complete(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer([b"odd", dicom_file(element(0x00080018, b"UI", "1.9"))])) as server:
        retrieval = retrieve_study(client, cache, server.request())
    assert (retrieval.state, retrieval.instances, len(retrieval.issues)) == ("partial", 0, 2)


def test_a_second_retrieval_changes_nothing(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer(PARTS)) as server:
        retrieve_study(client, cache, server.request(expected=6))
        before = {path: path.stat() for path in cache.root.rglob("*.dcm")}, cache.generation
        retrieval = retrieve_study(client, cache, server.request(expected=6))
    assert ({path: path.stat() for path in cache.root.rglob("*.dcm")}, cache.generation) == before
    assert (retrieval.state, retrieval.new, retrieval.instances) == ("complete", 0, 6)


def test_one_study_of_two_patients_is_kept_twice_and_apart(client: HttpClient, cache: DicomCache) -> None:
    with archive(study_answer(PARTS)) as server:
        first = server.request()
        for request in (first, replace(first, patient_id="another-patient")):
            assert retrieve_study(client, cache, request).new == 6
    assert cache.instances(STUDY).num_rows == 12
    assert set(cache.instances()["patient_id"].to_pylist()) == {PATIENT, "another-patient"}


def test_of_two_that_want_one_study_only_one_asks_for_it(client: HttpClient, cache: DicomCache) -> None:
    first_has_asked, go_on = threading.Event(), threading.Event()
    whole, results = study_answer(PARTS), list[Retrieval]()

    def slowly() -> Iterator[bytes]:
        yield whole[:-1000]
        first_has_asked.set()
        go_on.wait(30)
        yield whole[-1000:]

    with archive(slowly()) as server:

        def retrieve() -> None:
            results.append(retrieve_study(client, cache, server.request(expected=6)))

        threads = [threading.Thread(target=retrieve) for _ in range(2)]
        threads[0].start()
        assert first_has_asked.wait(30)
        threads[1].start()
        threads[1].join(0.5)
        assert threads[1].is_alive()
        go_on.set()
        for thread in threads:
            thread.join(30)
    assert len(server.requests) == 1
    assert sorted((result.state, result.new) for result in results) == [("complete", 0), ("complete", 6)]


def test_memory_stays_flat_however_large_the_study_is(client: HttpClient, cache: DicomCache) -> None:
    head, block, count = (
        dicom_file(identity("1.9")) + element(0x7FE00010, b"OB", b"", length=96 << 20),
        bytes(1 << 20),
        96,
    )
    delimiter = b"\r\n--" + BOUNDARY
    script = [answer(b""), delimiter + b"\r\n\r\n" + head, *[block] * count, delimiter + b"--\r\n"]
    with archive(script) as server:
        tracemalloc.start()
        retrieval = retrieve_study(client, cache, server.request(expected=1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (retrieval.state, retrieval.bytes) == ("complete", len(head) + count * len(block))
    assert peak < 10 << 20


@pytest.mark.parametrize("study_uid", ["", "../../x", "urn:uuid:1", "1.2.x"])
def test_nothing_is_asked_for_what_is_no_uid(client: HttpClient, cache: DicomCache, study_uid: str) -> None:
    with archive(study_answer(PARTS)) as server, pytest.raises(BadUid):
        retrieve_study(client, cache, server.request(study_uid=study_uid))
    assert server.requests == []
    assert not cache.root.exists()


def test_an_unencrypted_archive_elsewhere_is_not_asked(client: HttpClient, cache: DicomCache) -> None:
    request = StudyRequest("http://pacs.example/wado", STUDY, None, "https://ehr.example/fhir", PATIENT)
    with pytest.raises(UsageError, match="not encrypted"):
        retrieve_study(client, cache, request)


def test_a_cache_that_cannot_be_written_is_told(client: HttpClient, tmp_path: Path) -> None:
    (tmp_path / "dicom").write_text("a file where the folder should be")
    with archive(study_answer(PARTS)) as server, pytest.raises(DatasetError, match="cannot be written"):
        retrieve_study(client, DicomCache(tmp_path / "dicom"), server.request())


def test_a_compressed_transfer_is_unfolded_in_flat_memory(client: HttpClient, cache: DicomCache) -> None:
    """A server that compresses though it was asked not to: 200 MB of zeros come as some 200 kB."""
    head = dicom_file(identity("1.9")) + element(0x7FE00010, b"OB", b"", length=200 << 20)
    squeeze = zlib.compressobj(9, wbits=31)
    delimiter = b"\r\n--" + BOUNDARY
    pieces = [delimiter + b"\r\n\r\n" + head, *[bytes(1 << 20)] * 200, delimiter + b"--\r\n"]
    folded = b"".join([squeeze.compress(piece) for piece in pieces]) + squeeze.flush()
    assert len(folded) < 1 << 20
    with archive(answer(folded, headers=["Content-Encoding: gzip"], framing="length")) as server:
        tracemalloc.start()
        retrieval = retrieve_study(client, cache, server.request(expected=1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (retrieval.state, retrieval.bytes) == ("complete", len(head) + (200 << 20))
    assert peak < 12 << 20


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd"])
def test_a_coding_that_was_not_asked_for_is_refused(client: HttpClient, cache: DicomCache, coding: str) -> None:
    with (
        archive(answer(study_answer(PARTS), headers=[f"Content-Encoding: {coding}"])) as server,
        pytest.raises(UnexpectedAnswer, match="content coding"),
    ):
        retrieve_study(client, cache, server.request())


CHILD = """
import sys; from pathlib import Path
from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
from s4s_lab.net import HttpClient
request = StudyRequest(sys.argv[1], sys.argv[2], 6, "https://ehr.example/fhir", sys.argv[3], "P-0007")
print("ready", flush=True)
with HttpClient() as client:
    print(retrieve_study(client, DicomCache(Path(sys.argv[4])), request).new)
"""


def test_two_processes_that_want_one_study_fetch_it_once(cache: DicomCache) -> None:
    both_run = threading.Event()
    whole = study_answer(PARTS)

    def slowly() -> Iterator[bytes]:
        yield whole[:-1000]
        both_run.wait(30)
        yield whole[-1000:]

    with archive(slowly()) as server:
        command = [sys.executable, "-c", CHILD, server.base, STUDY, PATIENT, str(cache.root)]
        run = [
            subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        assert [child.stdout and child.stdout.readline() for child in run] == ["ready\n"] * 2
        # Only one of them asks; the other is given the time to ask as well, if it would.
        with pytest.raises(subprocess.TimeoutExpired):
            run[0].wait(1)
        both_run.set()
        new = sorted(child.communicate(timeout=60)[0].strip() for child in run)
    assert (new, len(server.requests)) == (["0", "6"], 1)
