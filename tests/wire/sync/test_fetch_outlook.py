"""What a fetch says before it starts, and what it says of studies that are not to be had now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from s4s_lab import Dataset, fetch, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything, UsageError
from s4s_lab.sync import endpoints
from s4s_lab.sync import progress as bars
from tests.unit.dicom.samples import STUDY
from tests.wire.dicom.archive import Archive, answer, archive, study_answer
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer
from tests.wire.sync.test_fetch import LATER, PARTS, at, pulled

SIZE = sum(map(len, PARTS))
OTHER = "1.2.826.77"
REFUSED = answer(b"", status="403 Forbidden", content_type=None)


def other(running: Any, **changes: Any) -> dict[str, Any]:
    """Give a second study at the same archive."""
    return at(running, uid=f"urn:oid:{OTHER}", id="other", **changes)


def test_it_says_what_is_wanted_what_is_here_and_what_is_to_come(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS), LATER) as running:
        pulled(server, link, data, at(running), other(running, numberOfInstances=7))
        first = fetch(link, data, STUDY).outlook
        with pytest.warns(NotEverything):
            second = fetch(link, data, max_wait_s=0).outlook
    assert str(first) == "1 study wanted, 1 to fetch (2 files by the record)."
    assert str(second) == (
        f"2 studies wanted, 1 here already ({SIZE / 1e6:.1f} MB), 1 to fetch (7 files by the record)."
    )
    assert second is not None
    assert (second.here, second.here_bytes, second.files) == (1, SIZE, 7)


def test_what_is_here_of_a_study_that_broke_off_and_sizes_that_nobody_tells_are_said(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS[:1]), LATER) as running:
        pulled(server, link, data, at(running), other(running, numberOfInstances=None))
        with pytest.warns(NotEverything):
            fetch(link, data, STUDY)
        with pytest.warns(NotEverything):
            found = fetch(link, data, max_wait_s=0)
    assert (
        f"2 to fetch (2 files by the record, 1 of them here ({len(PARTS[0]) / 1e6:.1f} MB), 1 of unknown size)"
        in str(found.outlook)
    )


def test_it_is_shown_where_a_bar_is(
    server: FhirServer,
    link: Connection,
    data: Dataset,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bars, "wanted", lambda: True)
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        fetch(link, data)
    assert "1 study wanted, 1 to fetch (2 files by the record)." in capsys.readouterr().err


@pytest.mark.parametrize(("last", "state"), [(LATER, "waiting"), (REFUSED, "failed")])
def test_a_study_that_waits_or_failed_tells_what_is_expected_and_what_is_here(
    server: FhirServer, link: Connection, data: Dataset, last: bytes, state: str
) -> None:
    with archive(study_answer(PARTS[:1]), last) as running:
        pulled(server, link, data, at(running, numberOfInstances=5))
        with pytest.warns(NotEverything):
            fetch(link, data)
        with pytest.warns(NotEverything):
            (study,) = fetch(link, data, max_wait_s=0).studies
    assert (study.state, study.instances, study.expected, study.bytes) == (state, 1, 5, len(PARTS[0]))


def test_the_table_tells_time_and_waits(server: FhirServer, link: Connection, data: Dataset) -> None:
    soon = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 1"])
    with archive(soon, study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        row = fetch(link, data).table().loc[STUDY]
    assert row["waited_s"] >= 0.9
    assert 0 < row["seconds"] < 60


def test_an_address_that_expired_in_a_long_fetch_is_looked_up_again(
    server: FhirServer, link: Connection, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "KNOWN_S", 0.5)
    soon = answer(b"", status="503 Service Unavailable", content_type=None, headers=["Retry-After: 1"])

    def moves(to: Archive) -> Iterator[bytes]:
        server.put(at(to)["contained"][0])
        yield soon

    with archive(study_answer(PARTS)) as new, archive(moves(new), REFUSED) as old:
        server.put(at(old)["contained"][0])
        pulled(server, link, data, at(old, contained=[], endpoint=[{"reference": "Endpoint/e"}]))
        assert fetch(link, data).outcome == "done"
    assert (len(old.requests), len(new.requests)) == (1, 1)


def test_a_study_that_is_whole_is_not_fetched_again_when_its_archive_moved(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(study_answer(PARTS)) as old, archive(study_answer(PARTS)) as new:
        pulled(server, link, data, at(old))
        fetch(link, data)
        server.put(at(new, meta={"lastUpdated": "2026-01-01T00:00:00Z"}))
        pull(link, data, mode="broad", types=TYPES)
        (study,) = fetch(link, data).studies
    assert (study.state, study.new, new.requests) == ("complete", 0, [])


def test_a_report_shows_itself_in_a_notebook_and_tells_the_same_of_several_studies_once(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with archive(REFUSED) as running:
        pulled(server, link, data, at(running), other(running))
        with pytest.warns(NotEverything, match="2 of 2 studies are not complete"):
            report = fetch(link, data)
        with pytest.warns(NotEverything, match="The study is not complete"):
            single = fetch(link, data, STUDY)
        with pytest.warns(NotEverything):
            elsewhere = fetch(link, data, source="https://other.example/<wado>")
    (text,) = elsewhere.errors()
    assert text.startswith("2 studies: The record does not name the archive https://other.example/<wado>. It names ")
    assert repr(elsewhere).splitlines()[1:] == [text]
    shown = elsewhere._repr_html_()
    assert ("&lt;wado&gt;" in shown, "<wado>" in shown) == (True, False)
    assert shown.count("<li>") == 1
    assert all(uid in shown for uid in (STUDY, OTHER))
    assert "<p>Fetch: <b>failed</b>; 2 failed; 0 files, 0.0 MB</p>" in report._repr_html_()
    assert single.errors()[0].startswith(f"{STUDY}: ")


@pytest.mark.parametrize("studies", [5, 1.5, b"1.2", {"study_uid": STUDY}, object()])
def test_what_chooses_no_studies_is_told_as_such(link: Connection, data: Dataset, studies: Any) -> None:
    with pytest.raises(UsageError, match=r"is nothing to choose studies by\. Give rows of the table imaging_study"):
        fetch(link, data, studies)


def test_a_connection_or_a_dataset_that_is_none_is_told_as_such(link: Connection, data: Dataset) -> None:
    wrong: Any = str(data.path())
    with pytest.raises(UsageError, match=r"int is no Connection\. .* s4s_lab\.connect"):
        fetch(5, data)  # type: ignore[arg-type]  # what people type
    with pytest.raises(UsageError, match=r"str is no Dataset\. .* s4s_lab\.open_dataset"):
        fetch(link, wrong)
