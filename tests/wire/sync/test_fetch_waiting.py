"""Fetches that wait: the countdown of an archive's and of a FHIR server's wait is shown, and it moves."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from s4s_lab import Dataset, fetch
from s4s_lab.connection import Connection
from s4s_lab.dicom import archive_key
from s4s_lab.errors import NotEverything
from s4s_lab.sync import fetching
from s4s_lab.sync.progress import Progress
from tests.wire.dicom.archive import answer, archive, study_answer
from tests.wire.net.servers import Request, serving
from tests.wire.sync.server import FhirServer
from tests.wire.sync.test_fetch import PARTS, at, pulled

LATER = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 3"])


@pytest.fixture
def countdown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what the bar of a fetch says of its waits."""
    said: list[str] = []

    class Bar:
        def set_postfix_str(self, s: str = "", **_: object) -> None:
            said.append(s)

        def set_description_str(self, *_: object, **__: object) -> None:
            pass

        def update(self, _: int = 1) -> None:
            pass

    @contextmanager
    def shown(**_: object) -> Iterator[Progress]:
        yield Progress(Bar())

    monkeypatch.setattr(fetching, "progress", shown)
    return said


def moves(countdown: list[str], reason: str) -> bool:
    """Say whether several moments of a wait were shown, and the wait no longer once it was over."""
    return len({text for text in countdown if reason in text}) >= 3 and countdown[-1] == ""


def test_the_wait_for_an_archive_counts_down(
    server: FhirServer, link: Connection, data: Dataset, countdown: list[str]
) -> None:
    with archive(LATER, study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        assert fetch(link, data).outcome == "done"
    assert moves(countdown, "1 study is being prepared")


def test_the_wait_for_an_endpoint_counts_down(
    server: FhirServer, link: Connection, data: Dataset, countdown: list[str]
) -> None:
    with archive(study_answer(PARTS)) as running:
        server.put(at(running)["contained"][0])
        pulled(server, link, data, at(running, contained=[], endpoint=[{"reference": "Endpoint/e"}]))
        server.busy, server.retry_after = 1, "3"
        assert fetch(link, data).outcome == "done"
    assert moves(countdown, "the server asks to come back in 3 s")


def test_a_server_that_falls_silent_is_named_with_the_time_it_is_given(
    server: FhirServer, link: Connection, data: Dataset, countdown: list[str]
) -> None:
    whole = study_answer(PARTS)

    def halting(_: Request, connection: socket.socket) -> None:
        connection.sendall(whole[:-400])
        time.sleep(5)
        connection.sendall(whole[-400:])
        connection.close()

    with serving(halting) as running:
        pulled(server, link, data, at(f"{running.url}/wado"))
        assert fetch(link, data).outcome == "done"
        silent = re.compile(rf"nothing has come from {re.escape(running.url)} for [34] s; given up in 2[67] s")
    assert [text for text in countdown if silent.fullmatch(text)]
    assert countdown[-1] == ""


def test_a_stream_that_broke_is_named_while_its_next_try_is_put_off(
    server: FhirServer, link: Connection, data: Dataset, countdown: list[str]
) -> None:
    with archive(study_answer(PARTS, cut=300), study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        assert fetch(link, data).outcome == "done"
        origin = re.escape(running.base.partition("/Patient")[0])
    broke = re.compile(rf"the connection to {origin} broke off; asking again in [01] s")
    assert [text for text in countdown if broke.fullmatch(text)]


def test_who_waits_for_another_process_is_told_and_waits_no_longer_than_allowed(
    server: FhirServer, link: Connection, data: Dataset, countdown: list[str]
) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        (study_uid,) = data.table("imaging_study")["study_uid"]
        held = data.images.receiving(archive_key(running.base, link.patient_id), study_uid)
        with held, pytest.warns(NotEverything):
            (study,) = fetch(link, data, max_wait_s=2).studies
        assert (study.state, study.error) == ("waiting", "Another process is retrieving this study. Fetch again later.")
        assert running.requests == []
        assert f"another process retrieves {study_uid}; waiting for 1 s more" in countdown
        assert fetch(link, data).outcome == "done"
