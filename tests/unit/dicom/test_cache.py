"""The cache's index: states, generations, the table, several processes, and what is broken."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.dicom import DicomCache, instance_schema
from s4s_lab.errors import DatasetError
from tests.unit.dicom.depositing import ARCHIVE, KEY, put
from tests.unit.dicom.samples import STUDY, image_file

PARTS = [image_file(f"1.9.{number}", number=number) for number in (1, 2)]


@pytest.fixture
def cache(tmp_path: Path) -> DicomCache:
    return DicomCache(tmp_path / "dicom")


def test_an_empty_cache_is_empty_and_makes_nothing(cache: DicomCache) -> None:
    assert cache.generation == 0
    assert cache.study(ARCHIVE, STUDY).state == "missing"
    assert cache.instances().num_rows == 0
    assert cache.instances().schema.equals(instance_schema(), check_metadata=True)
    assert not cache.root.exists()


def test_a_study_is_partial_until_it_is_settled(cache: DicomCache) -> None:
    put(cache, PARTS)
    study = cache.study(ARCHIVE, STUDY)
    assert (study.state, study.instances, study.bytes) == ("partial", 2, sum(map(len, PARTS)))
    cache.index.settle(KEY, "complete", 2)
    study = cache.study(ARCHIVE, STUDY)
    assert (study.state, study.instances, study.expected) == ("complete", 2, 2)


def test_a_complete_study_is_partial_again_when_more_comes(cache: DicomCache) -> None:
    put(cache, PARTS[:1])
    cache.index.settle(KEY, "complete", None)
    put(cache, PARTS)
    assert cache.study(ARCHIVE, STUDY).state == "partial"


def test_the_generation_grows_with_every_change_and_with_nothing_else(cache: DicomCache) -> None:
    seen = [cache.generation]
    for change in (
        lambda: put(cache, PARTS[:1]),
        lambda: put(cache, PARTS),
        lambda: put(cache, [b"odd"]),
        lambda: cache.index.settle(KEY, "complete", 2),
        lambda: cache.index.settle(KEY, "complete", 3),
    ):
        change()
        seen.append(cache.generation)
    assert seen == sorted(set(seen))
    for same in (lambda: put(cache, PARTS), lambda: put(cache, [b"odd"]), lambda: cache.instances()):
        same()
    # Writing the same parts again brings nothing new.
    assert cache.generation == seen[-1]


def test_the_table_may_be_asked_for_one_study(cache: DicomCache) -> None:
    put(cache, PARTS)
    assert cache.instances(STUDY).num_rows == 2
    assert cache.instances("1.2.3").num_rows == 0


def test_the_columns_begin_with_whose_they_are_and_end_with_the_issues() -> None:
    names = instance_schema().names
    assert names[:6] == ["source", "participant_id", "patient_id", "study_uid", "series_uid", "instance_uid"]
    assert names[-1] == "parse_issues"
    assert len(set(names)) == len(names)
    assert DicomCache.instance_schema().equals(instance_schema(), check_metadata=True)


def test_every_column_says_its_meaning_and_unit() -> None:
    for field in instance_schema():
        assert field.metadata[b"meaning"], field.name
        assert b"unit" in field.metadata
    units = {field.name: field.metadata[b"unit"].decode() for field in instance_schema()}
    assert (units["pixel_spacing"], units["slice_thickness"], units["image_position_patient"]) == ("mm", "mm", "mm")
    assert instance_schema().field("modality").metadata[b"dicom"] == b"(0008,0060)"


def test_list_columns_are_never_null(cache: DicomCache) -> None:
    put(cache, PARTS)
    table = cache.instances()
    assert all(table[field.name].null_count == 0 for field in table.schema if pa.types.is_list(field.type))


def test_the_index_is_in_write_ahead_mode_and_holds_the_rows_as_columns(cache: DicomCache) -> None:
    put(cache, PARTS)
    connection = sqlite3.connect(cache.root / "index.sqlite")
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        rows = connection.execute('SELECT instance_uid, "rows", parse_issues FROM instances').fetchall()
    finally:
        connection.close()
    assert sorted(rows) == [("1.9.1", 64, "[]"), ("1.9.2", 64, "[]")]


WRITER = """
import sys; from pathlib import Path
from s4s_lab.dicom import DicomCache
from s4s_lab.dicom.index import StudyKey
from tests.unit.dicom.depositing import put
from tests.unit.dicom.samples import image_file
who = sys.argv[2]
key = StudyKey("0123456789abcdef", f"1.2.{who}", "https://ehr.example/fhir", "p", None)
cache = DicomCache(Path(sys.argv[1]))
for number in range(20):
    put(cache, [image_file(f"1.9.{who}.{number}", study=key.study_uid, size=4)], key=key)
"""


def test_four_processes_may_write_at_once_from_the_very_first_moment(cache: DicomCache) -> None:
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(cache.root), str(who)], cwd=root, stderr=subprocess.PIPE)
        for who in range(1, 5)
    ]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == [b""] * 4
    assert cache.instances().num_rows == 80
    assert len(set(cache.instances()["path"].to_pylist())) == 80


def test_the_second_to_retrieve_a_study_waits_and_is_told_so(cache: DicomCache) -> None:
    told: list[bool] = []

    def second() -> None:
        with cache.receiving(ARCHIVE, STUDY) as waited:
            told.append(waited)

    thread = threading.Thread(target=second)
    with cache.receiving(ARCHIVE, STUDY) as first_waited:
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert told == []
    thread.join(30)
    assert (first_waited, told) == (False, [True])


def test_the_wait_for_another_one_ends_when_its_caller_wants(cache: DicomCache) -> None:
    held, over = threading.Event(), threading.Event()

    def first() -> None:
        with cache.receiving(ARCHIVE, STUDY):
            held.set()
            over.wait(20)

    def on_wait() -> None:
        calls.append(threading.get_ident())
        if len(calls) == 3:
            raise KeyboardInterrupt

    calls: list[int] = []
    thread = threading.Thread(target=first)
    thread.start()
    held.wait(10)
    try:
        with pytest.raises(KeyboardInterrupt), cache.receiving(ARCHIVE, STUDY, on_wait):
            pytest.fail("nobody else may have it now")
        assert thread.is_alive()
    finally:
        over.set()
        thread.join(10)


@pytest.mark.parametrize(
    "content", [b"no database at all, only some text" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_broken_index_is_told_with_what_to_do(cache: DicomCache, content: bytes) -> None:
    cache.root.mkdir()
    (cache.root / "index.sqlite").write_bytes(content)
    with pytest.raises(DatasetError, match="index cannot be used"):
        cache.instances()


def test_an_index_of_a_newer_version_is_left_alone(cache: DicomCache) -> None:
    put(cache, PARTS)
    connection = sqlite3.connect(cache.root / "index.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatasetError, match="another version"):
        put(cache, PARTS)


def test_the_table_survives_a_move_of_the_dataset(cache: DicomCache, tmp_path: Path) -> None:
    put(cache, PARTS)
    moved = DicomCache(cache.root.rename(tmp_path / "elsewhere"))
    for path in moved.instances()["path"].to_pylist():
        assert (tmp_path / path).is_file()


def test_values_come_back_as_they_went_in(cache: DicomCache) -> None:
    put(cache, PARTS)
    row = cache.instances().to_pylist()[0]
    assert json.loads(json.dumps(row["image_type"])) == []
    assert (row["instance_number"], row["bits_stored"], row["photometric_interpretation"]) == (1, 8, "MONOCHROME2")
    assert row["study_date"] is None
