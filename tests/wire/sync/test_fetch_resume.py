"""A fetch that broke off goes on by series and instance, as the record names them, and tells what each series has."""

from __future__ import annotations

from typing import Any

import pytest

from s4s_lab import Dataset, fetch, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import NotEverything
from tests.unit.dicom.samples import STUDY
from tests.wire.dicom.archive import archive, study_answer
from tests.wire.dicom.levels import LevelArchive, level_archive, study
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer
from tests.wire.sync.test_fetch import PARTS, at, files, pulled


def recorded(archive: LevelArchive, *, prefix: str = "urn:oid:") -> list[dict[str, Any]]:
    """The series of an ImagingStudy as STU3 (or R4) writes them."""
    return [
        {
            "uid": f"{prefix}{series_uid}",
            "numberOfInstances": len(files),
            "instance": [{"uid": f"{prefix}{uid}"} for uid in files],
        }
        for series_uid, files in archive.files.items()
    ]


def first_pull(server: FhirServer, link: Connection, data: Dataset, archive: LevelArchive, **changes: Any) -> None:
    series = changes.pop("series", recorded(archive))
    server.put(at(archive.base, **{"numberOfInstances": 8, "series": series, **changes}))
    pull(link, data, types=TYPES)


@pytest.mark.parametrize("prefix", ["urn:oid:", ""])
def test_a_fetch_that_broke_off_asks_for_what_is_missing(
    server: FhirServer, link: Connection, data: Dataset, prefix: str
) -> None:
    with level_archive(study(2, 4)) as archive:
        archive.cuts = [archive.size * 3 // 4]
        first_pull(server, link, data, archive, series=recorded(archive, prefix=prefix))
        report = fetch(link, data)
    assert archive.asked[0] == ""
    assert archive.asked[1:]
    assert all(tail.startswith("/series/1.2.2/instances/") for tail in archive.asked[1:])
    assert (report.studies[0].state, report.studies[0].instances) == ("complete", 8)
    stored = sorted(path.read_bytes() for path in (data.path() / "dicom").rglob("*.dcm"))
    assert stored == sorted(one for files in archive.files.values() for one in files.values())


@pytest.mark.parametrize("uid", ["../../etc", "", None, 7, "1.2.a", "9" * 65])
def test_a_series_without_a_usable_uid_makes_it_ask_for_the_whole_study(
    server: FhirServer, link: Connection, data: Dataset, uid: object
) -> None:
    with level_archive(study(2, 4)) as archive:
        archive.cuts = [archive.size * 3 // 4]
        first_pull(server, link, data, archive, series=[{**recorded(archive)[0], "uid": uid}])
        fetch(link, data)
    assert archive.asked == ["", ""]


def test_the_report_tells_what_each_series_has(server: FhirServer, link: Connection, data: Dataset) -> None:
    with level_archive(study(2, 4)) as archive:
        series = [*recorded(archive), {"uid": "urn:oid:1.2.9", "numberOfInstances": 3}]
        series[1]["numberOfInstances"] = 5
        first_pull(server, link, data, archive, series=series)
        report = fetch(link, data)
    size = sum(len(one) for one in archive.files["1.2.1"].values())
    assert report.series().reset_index().to_numpy().tolist() == [
        [STUDY, "1.2.1", "complete", 4, 4, size],
        [STUDY, "1.2.2", "partial", 4, 5, size],
        [STUDY, "1.2.9", "missing", 0, 3, 0],
    ]


def test_a_whole_study_is_complete_and_what_its_series_declare_otherwise_is_noted(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with level_archive(study(2, 4)) as archive:
        series = recorded(archive)
        series[1] |= {"numberOfInstances": 5, "instance": []}
        first_pull(server, link, data, archive, series=series)
        report = fetch(link, data)
    assert report.studies[0].state == "complete"
    assert report.studies[0].error == "series 1.2.2: 5 instances are declared, 4 are here"


def test_without_a_count_of_the_study_its_series_say_how_many_there_should_be(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    with level_archive(study(2, 4)) as archive:
        series = recorded(archive)
        series[1] |= {"numberOfInstances": 5, "instance": []}
        first_pull(server, link, data, archive, series=series, numberOfInstances=None)
        with pytest.warns(NotEverything):
            report = fetch(link, data)
    assert (report.studies[0].state, report.studies[0].expected) == ("partial", 9)


def test_files_that_somebody_removed_are_asked_for_again(server: FhirServer, link: Connection, data: Dataset) -> None:
    with archive(study_answer(PARTS)) as running:
        pulled(server, link, data, at(running))
        fetch(link, data)
        for path in (data.path() / "dicom").rglob("*.dcm"):
            path.unlink()
        (study,) = fetch(link, data).studies
    assert (study.state, study.instances) == ("complete", 2)
    assert files(data) == sorted(PARTS)
