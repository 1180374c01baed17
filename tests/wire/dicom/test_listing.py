"""What an archive lists of a study (WADO-RS metadata) fills the holes that the record does not describe."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
from s4s_lab.dicom.listing import listed_series
from s4s_lab.errors import TruncatedAnswer, Waiting
from s4s_lab.net import HttpClient
from tests.unit.dicom.samples import STUDY
from tests.wire.dicom.levels import LevelArchive, level_archive, study
from tests.wire.dicom.test_resume import after


def undescribed(archive: LevelArchive) -> StudyRequest:
    """A request with nothing of the record but the number of all files."""
    return replace(archive.request(), series=())


def broken_off(client: HttpClient, cache: DicomCache, archive: LevelArchive, request: StudyRequest, files: int) -> None:
    """Retrieve so many whole files and a bit of the next."""
    archive.cuts = [after(archive, files)]
    with pytest.raises(TruncatedAnswer):
        retrieve_study(client, cache, request)
    archive.asked.clear()


def test_a_study_that_the_record_does_not_describe_is_completed_by_the_archives_list(
    client: HttpClient, cache: DicomCache
) -> None:
    with level_archive(study(2, 4)) as archive:
        archive.list_all()
        broken_off(client, cache, archive, undescribed(archive), 3)
        retrieval = retrieve_study(client, cache, undescribed(archive))
    assert archive.asked == ["/series/1.2.1/instances/1.9.1.4", "/series/1.2.2"]
    assert (retrieval.state, retrieval.instances, retrieval.new) == ("complete", 8, 5)


def test_of_a_series_whose_instances_the_record_does_not_name_only_the_missing_one_is_asked_for(
    client: HttpClient, cache: DicomCache
) -> None:
    with level_archive(study(1, 4)) as archive:
        archive.list_all()
        broken_off(client, cache, archive, archive.request(named=False), 3)
        assert retrieve_study(client, cache, archive.request(named=False)).state == "complete"
    assert archive.asked == ["/series/1.2.1/instances/1.9.1.4"]


def all_here_but_not_settled(client: HttpClient, cache: DicomCache, archive: LevelArchive) -> None:
    """Leave what a kill leaves that came behind the last file, before the study was called complete."""
    retrieve_study(client, cache, archive.request())
    (key,) = cache.index.studies()
    cache.index.settle(key, "partial", None)
    archive.asked.clear()
    archive.list_all()


def test_a_study_that_is_all_here_is_complete_when_list_and_record_agree(client: HttpClient, cache: DicomCache) -> None:
    with level_archive(study(1, 3)) as archive:
        all_here_but_not_settled(client, cache, archive)
        retrieval = retrieve_study(client, cache, archive.request())
    assert (retrieval.state, retrieval.instances, archive.asked) == ("complete", 3, [])


@pytest.mark.parametrize("expected", [None, 5])
def test_a_list_that_may_still_grow_completes_nothing(
    client: HttpClient, cache: DicomCache, expected: int | None
) -> None:
    """The archive lists what is here, and the record says that there is more, or nothing."""
    with level_archive(study(1, 3)) as archive:
        all_here_but_not_settled(client, cache, archive)
        retrieve_study(client, cache, replace(undescribed(archive), expected=expected))
    assert archive.asked == [""]


def test_what_the_record_names_exactly_needs_no_list(client: HttpClient, cache: DicomCache) -> None:
    with level_archive(study(2, 4)) as archive:
        archive.list_all()
        broken_off(client, cache, archive, archive.request(), 3)
        retrieve_study(client, cache, archive.request())
        assert archive.lists == 0


@pytest.mark.parametrize("declared", [None, 9])
def test_a_study_of_which_less_comes_than_the_archive_lists_is_not_complete(
    client: HttpClient, cache: DicomCache, declared: int | None
) -> None:
    with level_archive(study(3, 4)) as archive:
        archive.list_all()
        request = replace(undescribed(archive), expected=declared)
        broken_off(client, cache, archive, request, 4)
        archive.files = {
            uid: dict(list(files.items())[: 4 if uid == "1.2.1" else 1]) for uid, files in archive.files.items()
        }
        retrieval = retrieve_study(client, cache, request)
    assert (archive.asked, retrieval.state, retrieval.instances) == (["/series/1.2.2", "/series/1.2.3"], "partial", 6)
    assert retrieval.issues[-1] == "the archive lists 12 instances, 6 came"


def test_a_series_that_comes_empty_behind_another_is_waited_for(client: HttpClient, cache: DicomCache) -> None:
    files = study(3, 2)
    with level_archive(files) as archive:
        broken_off(client, cache, archive, archive.request(), 2)
        archive.empty = ("/series/1.2.3",)
        with pytest.raises(Waiting):
            retrieve_study(client, cache, archive.request())
        archive.empty = ()
        assert retrieve_study(client, cache, archive.request()).state == "complete"
    assert archive.asked == ["/series/1.2.2", "/series/1.2.3", "/series/1.2.3"]


GOOD = {"0020000D": {"Value": [STUDY]}, "0020000E": {"Value": ["1.2"]}, "00080018": {"Value": ["1.3"]}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"{}",
        json.dumps([GOOD, {**GOOD, "0020000D": {"Value": ["1.2.3"]}}]).encode(),
        json.dumps([GOOD, {**GOOD, "00080018": {"Value": ["../../etc"]}}]).encode(),
        json.dumps([GOOD, {**GOOD, "00080018": {"vr": "UI"}}]).encode(),
        json.dumps([GOOD, {"0020000D": {"Value": [STUDY]}}]).encode(),
        json.dumps([GOOD, {**GOOD, "0020000E": {"Value": [7]}}]).encode(),
        b" " * (65 << 20),
    ],
    ids=["empty", "none", "page", "object", "other study", "no UID", "no value", "no series", "number", "endless"],
)
def test_a_list_that_cannot_be_believed_is_none(client: HttpClient, body: bytes) -> None:
    with level_archive({}, listing=body) as archive:
        assert listed_series(client, f"{archive.base}/studies/{STUDY}", STUDY) is None
        assert archive.lists == 1


def test_a_good_list_names_series_and_instances(client: HttpClient) -> None:
    with level_archive({}, listing=json.dumps([GOOD]).encode()) as archive:
        (series,) = listed_series(client, f"{archive.base}/studies/{STUDY}", STUDY) or ()
    assert (series.series_uid, series.count, series.instances) == ("1.2", 1, frozenset({"1.3"}))
