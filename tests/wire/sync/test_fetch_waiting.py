"""Fetches that wait: the countdown of an archive's and of a FHIR server's wait is shown, and it moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from s4s_lab import Dataset, fetch
from s4s_lab.connection import Connection
from s4s_lab.sync import fetching
from s4s_lab.sync.progress import Progress
from tests.wire.dicom.archive import answer, archive, study_answer
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
    assert moves(countdown, "1 studies are being prepared")


def test_the_wait_for_an_endpoint_counts_down(
    server: FhirServer, link: Connection, data: Dataset, countdown: list[str]
) -> None:
    with archive(study_answer(PARTS)) as running:
        server.put(at(running)["contained"][0])
        pulled(server, link, data, at(running, contained=[], endpoint=[{"reference": "Endpoint/e"}]))
        server.busy, server.retry_after = 1, "3"
        assert fetch(link, data).outcome == "done"
    assert moves(countdown, "the server asks to come back in 3 s")
