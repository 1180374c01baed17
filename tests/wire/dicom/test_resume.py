"""A study that came in part is completed by what is missing of it: by series, by instance, else as a whole."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache, retrieve_study
from s4s_lab.errors import TruncatedAnswer
from s4s_lab.net import HttpClient
from tests.unit.dicom.samples import STUDY
from tests.wire.dicom.levels import LevelArchive, level_archive, study

KILLS = 10


def broken_then_whole(client: HttpClient, cache: DicomCache, archive: LevelArchive, *, named: bool = True) -> list[str]:
    """Retrieve once into a break and once more; return what the second one asked for."""
    with pytest.raises(TruncatedAnswer):
        retrieve_study(client, cache, archive.request(named=named))
    before = len(archive.asked)
    retrieval = retrieve_study(client, cache, archive.request(named=named))
    assert retrieval.state == "complete"
    stored = sorted(path.read_bytes() for path in cache.root.rglob("*.dcm"))
    assert stored == sorted(data for files in archive.files.values() for data in files.values())
    return archive.asked[before:]


def after(archive: LevelArchive, files: int) -> int:
    """Bytes of a body after which so many files are whole, and the next one is not."""
    one = archive.size // sum(len(series) for series in archive.files.values())
    return files * (one + 60) + one // 2


def test_after_a_break_only_the_series_with_holes_are_asked_for(client: HttpClient, cache: DicomCache) -> None:
    with level_archive(study(3, 4)) as archive:
        archive.cuts = [after(archive, 6)]
        assert broken_then_whole(client, cache, archive, named=False) == ["/series/1.2.2", "/series/1.2.3"]


def test_a_small_hole_is_filled_by_instance(client: HttpClient, cache: DicomCache) -> None:
    with level_archive(study(1, 4)) as archive:
        archive.cuts = [after(archive, 3)]
        assert broken_then_whole(client, cache, archive) == ["/series/1.2.1/instances/1.9.1.4"]


def test_an_archive_of_whole_studies_is_asked_for_the_whole_study(client: HttpClient, cache: DicomCache) -> None:
    with level_archive(study(3, 4), levels=0) as archive:
        archive.cuts = [after(archive, 6)]
        assert broken_then_whole(client, cache, archive) == ["/series/1.2.2/instances/1.9.2.3", ""]


def test_a_series_that_breaks_off_keeps_what_came_and_goes_on_from_there(client: HttpClient, cache: DicomCache) -> None:
    with level_archive(study(2, 6)) as archive:
        archive.cuts = [after(archive, 6), after(archive, 4)]
        with pytest.raises(TruncatedAnswer):
            retrieve_study(client, cache, archive.request())
        assert broken_then_whole(client, cache, archive) == [
            "/series/1.2.2/instances/1.9.2.5",
            "/series/1.2.2/instances/1.9.2.6",
        ]


def test_a_study_whose_end_was_never_seen_is_asked_for_once_more(client: HttpClient, cache: DicomCache) -> None:
    """The archive has a fourth file that its record does not tell of, and breaks off within it."""
    with level_archive(study(1, 4)) as archive:
        archive.cuts = [after(archive, 3)]
        declared = archive.request(named=False)
        three = replace(declared, expected=3, series=(replace(declared.series[0], expected=3),))
        with pytest.raises(TruncatedAnswer):
            retrieve_study(client, cache, three)
        retrieval = retrieve_study(client, cache, three)
    assert (retrieval.state, retrieval.issues) == ("partial", ("3 instances were expected, 4 came",))
    assert archive.asked == ["", ""]


def test_a_record_that_declares_more_than_its_series_is_settled_by_the_archive(
    client: HttpClient, cache: DicomCache
) -> None:
    with level_archive(study(1, 3)) as archive:
        more = replace(archive.request(), expected=4)
        assert retrieve_study(client, cache, more).state == "partial"
        assert retrieve_study(client, cache, more).state == "partial"
    assert archive.asked == ["", ""]


CHILD = """
import sys; from pathlib import Path
from s4s_lab.dicom import DeclaredSeries, DicomCache, StudyRequest, retrieve_study
from s4s_lab.net import HttpClient
series = tuple(
    DeclaredSeries(f"1.2.{one}", 25, frozenset(f"1.9.{one}.{number}" for number in range(1, 26))) for one in range(1, 5)
)
request = StudyRequest(sys.argv[1], sys.argv[2], 100, "https://ehr.example/fhir", "smart-1288992", None, series)
with HttpClient() as client:
    retrieve_study(client, DicomCache(Path(sys.argv[3])), request)
"""


def test_killed_ten_times_it_brings_little_twice(client: HttpClient, cache: DicomCache) -> None:
    """Kill it each time that nine more of a hundred files are here: at most 1.5 × their bytes go over the wire."""
    with level_archive(study(4, 25, size=256), pause_s=0.03) as archive:
        command = [sys.executable, "-c", CHILD, archive.base, STUDY, str(cache.root)]
        for kill in range(1, KILLS + 1):
            with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as child:
                ends = time.monotonic() + 60
                while cache.instances().num_rows < kill * 9 and time.monotonic() < ends:
                    time.sleep(0.01)
                assert child.poll() is None
                child.kill()
            assert 90 > cache.instances().num_rows - kill * 9 >= 0
        archive.pause_s = 0
        assert retrieve_study(client, cache, archive.request()).state == "complete"
        assert archive.sent <= 1.5 * archive.size
    stored = sorted(path.read_bytes() for path in cache.root.rglob("*.dcm"))
    assert stored == sorted(data for files in archive.files.values() for data in files.values())
