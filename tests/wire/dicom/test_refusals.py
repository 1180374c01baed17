"""Answers that are no images: not ready, not there, not allowed, not DICOM."""

from __future__ import annotations

from datetime import timedelta

import pytest

from s4s_lab.dicom import DicomCache, retrieve_study
from s4s_lab.errors import AccessRefused, NotReachable, NotRetrievable, S4SError, UnexpectedAnswer, Waiting
from s4s_lab.net import HttpClient
from s4s_lab.values.instants import utc_now
from tests.wire.dicom.archive import BOUNDARY, PATIENT, answer, archive

NOT_READY = {
    "an empty body": answer(b"", content_type=None, framing="length"),
    "an empty multipart": answer(b"", framing="length"),
    "a multipart of no parts": answer(b"--" + BOUNDARY + b"--\r\n"),
    "JSON": answer(b'{"resourceType": "OperationOutcome"}', content_type="application/fhir+json", framing="length"),
    "text": answer(b"preparing", content_type="text/plain", framing="length"),
    "accepted": answer(b"", status="202 Accepted", content_type=None, framing="length"),
    "no content": answer(b"", status="204 No Content", content_type=None),
}


@pytest.mark.parametrize("name", NOT_READY)
def test_a_success_without_images_means_not_ready(client: HttpClient, cache: DicomCache, name: str) -> None:
    asked = utc_now()
    with archive(NOT_READY[name]) as server, pytest.raises(Waiting) as caught:
        retrieve_study(client, cache, server.request(expected=6))
    assert timedelta(seconds=10) <= caught.value.not_before - asked <= timedelta(seconds=120)
    assert cache.instances().num_rows == 0


def test_a_wait_that_such_an_answer_names_is_kept(client: HttpClient, cache: DicomCache) -> None:
    reply = answer(b"", status="202 Accepted", headers=["Retry-After: 300"], framing="length")
    asked = utc_now()
    with archive(reply) as server, pytest.raises(Waiting) as caught:
        retrieve_study(client, cache, server.request())
    assert timedelta(seconds=299) <= caught.value.not_before - asked <= timedelta(seconds=310)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
def test_a_busy_archive_is_asked_again_no_earlier_than_it_said(
    client: HttpClient, cache: DicomCache, status: str
) -> None:
    # The S4S page: "Retry-AFter: 300" means try again after 5 minutes (300 seconds).
    reply = answer(b"", status=status, headers=["Retry-AFter: 300"], framing="length")
    asked = utc_now()
    with archive(reply) as server, pytest.raises(Waiting) as caught:
        retrieve_study(client, cache, server.request())
    assert len(server.requests) == 1
    assert caught.value.not_before - asked >= timedelta(seconds=300)


PAGE = b"\n <!DOCTYPE html><html><body>Please log in</body></html>"
REFUSED: dict[str, tuple[bytes, type[S4SError], str]] = {
    "not there": (answer(b"", status="404 Not Found"), NotRetrievable, "does not have this study"),
    "gone": (answer(b"", status="410 Gone"), NotRetrievable, "does not have this study"),
    "no token": (answer(b"", status="401 Unauthorized"), AccessRefused, "may not be had"),
    "not allowed": (answer(b"", status="403 Forbidden"), AccessRefused, "may not be had"),
    "a fault": (answer(b"", status="500 Internal Server Error"), UnexpectedAnswer, "HTTP 500"),
    "no form accepted": (answer(b"", status="406 Not Acceptable"), UnexpectedAnswer, "HTTP 406"),
    "a page": (answer(PAGE, content_type="text/html; charset=utf-8"), UnexpectedAnswer, "a web page"),
    "a page in disguise": (answer(PAGE, content_type="application/octet-stream"), UnexpectedAnswer, "a web page"),
    "a page without a type": (answer(PAGE, content_type=None), UnexpectedAnswer, "a web page"),
    "no boundary": (answer(b"x" * 70_000, content_type="multipart/related"), UnexpectedAnswer, "names no boundary"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_answer_is_an_error_of_its_kind(client: HttpClient, cache: DicomCache, name: str) -> None:
    reply, kind, text = REFUSED[name]
    with archive(reply) as server, pytest.raises(kind, match=text) as caught:
        retrieve_study(client, cache, server.request())
    assert type(caught.value) is kind
    assert PATIENT not in str(caught.value)
    assert cache.generation == 0


def test_an_archive_that_is_not_there_is_not_reachable(client: HttpClient, cache: DicomCache) -> None:
    with archive(b"") as server:
        request = server.request()
    with pytest.raises(NotReachable) as caught:
        retrieve_study(client, cache, request)
    assert PATIENT not in str(caught.value)
