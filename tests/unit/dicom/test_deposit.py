"""What becomes of a part: filed, passed over, or set aside; and what a break leaves behind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache
from s4s_lab.dicom.deposit import deposit
from tests.unit.dicom.depositing import ARCHIVE, KEY, files_below, put
from tests.unit.dicom.samples import SERIES, STUDY, dicom_file, element, identity, image_file

FIRST, SECOND = image_file("1.9.1", filler=1), image_file("1.9.2", filler=2)
FOLDER = f"{ARCHIVE}/{STUDY}"


@pytest.fixture
def cache(tmp_path: Path) -> DicomCache:
    return DicomCache(tmp_path / "dicom")


def quarantined(data: bytes) -> str:
    return f"{ARCHIVE}/quarantine/{hashlib.sha256(data).hexdigest()}.dcm"


def test_a_part_is_filed_under_its_uids_as_it_was_received(cache: DicomCache) -> None:
    incoming = put(cache, [FIRST, SECOND])
    assert files_below(cache.root) == {
        f"{FOLDER}/{SERIES}/1.9.1.dcm": FIRST,
        f"{FOLDER}/{SERIES}/1.9.2.dcm": SECOND,
    }
    assert (incoming.new, incoming.seen, incoming.issues) == (2, {"1.9.1", "1.9.2"}, ())


def test_the_row_says_what_the_file_is_and_where(cache: DicomCache) -> None:
    put(cache, [FIRST])
    (row,) = cache.instances().to_pylist()
    assert row["path"] == f"dicom/{FOLDER}/{SERIES}/1.9.1.dcm"
    assert (cache.root.parent / row["path"]).read_bytes() == FIRST
    assert (row["bytes"], row["sha256"]) == (len(FIRST), hashlib.sha256(FIRST).hexdigest())
    assert (row["source"], row["patient_id"], row["participant_id"]) == (KEY.source, KEY.patient_id, "P-0007")
    assert (row["rows"], row["columns"], row["parse_issues"]) == (64, 64, [])


def test_what_is_there_with_the_same_bytes_is_not_written_again(cache: DicomCache) -> None:
    put(cache, [FIRST, SECOND])
    before = {path: path.stat() for path in cache.root.rglob("*.dcm")}
    generation = cache.generation
    incoming = put(cache, [FIRST, SECOND])
    assert {path: path.stat() for path in cache.root.rglob("*.dcm")} == before
    assert (incoming.new, len(incoming.seen), cache.generation) == (0, 2, generation)


def test_of_two_files_with_one_uid_the_first_stays_and_the_second_is_set_aside(cache: DicomCache) -> None:
    other = image_file("1.9.1", filler=9)
    incoming = put(cache, [FIRST, other])
    assert files_below(cache.root) == {f"{FOLDER}/{SERIES}/1.9.1.dcm": FIRST, quarantined(other): other}
    assert incoming.issues == ("part 2 is in quarantine: instance 1.9.1 is there already with other bytes",)


def test_a_later_retrieval_cannot_replace_a_file_either(cache: DicomCache) -> None:
    put(cache, [FIRST])
    other = image_file("1.9.1", filler=9, series="1.2.3.4")
    put(cache, [other])
    assert files_below(cache.root)[f"{FOLDER}/{SERIES}/1.9.1.dcm"] == FIRST
    assert quarantined(other) in files_below(cache.root)


def test_ten_copies_of_one_instance_are_one_file_and_nine_notes(cache: DicomCache) -> None:
    incoming = put(cache, [FIRST] * 10)
    assert list(files_below(cache.root)) == [f"{FOLDER}/{SERIES}/1.9.1.dcm"]
    assert incoming.issues == tuple(f"part {number} repeats instance 1.9.1" for number in range(2, 11))


NOT_FILED = {
    "no preamble": (b"no dicom at all", "it has no study_uid: it does not begin as a DICOM file"),
    "nothing": (b"", "it has no study_uid: it does not begin as a DICOM file"),
    "no study": (dicom_file(element(0x00080018, b"UI", "1.9")), "it has no study_uid"),
    "another study": (image_file("1.9", study="1.2.3"), "it belongs to another study"),
    "a path for a series": (image_file("1.9", series="../../x"), "its series_uid is no UID"),
    "a path for an instance": (image_file("/etc/cron.d/x"), "its instance_uid is no UID"),
}


@pytest.mark.parametrize("name", NOT_FILED)
def test_what_cannot_be_filed_is_set_aside_and_the_others_are_kept(cache: DicomCache, name: str) -> None:
    part, reason = NOT_FILED[name]
    incoming = put(cache, [FIRST, part, SECOND])
    assert files_below(cache.root) == {
        f"{FOLDER}/{SERIES}/1.9.1.dcm": FIRST,
        f"{FOLDER}/{SERIES}/1.9.2.dcm": SECOND,
        quarantined(part): part,
    }
    assert incoming.issues == (f"part 2 is in quarantine: {reason}",)
    assert cache.instances().num_rows == 2


def test_beyond_fifty_oddities_only_their_number_is_told(cache: DicomCache) -> None:
    issues = put(cache, [b"odd %d" % number for number in range(60)]).issues
    assert len(issues) == 51
    assert issues[-1] == "and 10 more like these"


def test_a_wrong_content_length_is_noted_in_the_row(cache: DicomCache) -> None:
    with deposit(cache.root, cache.index, KEY) as incoming:
        incoming.begin_part({"content-length": "5"})
        incoming.part_data(memoryview(FIRST))
        incoming.end_part()
    (row,) = cache.instances().to_pylist()
    assert row["parse_issues"] == [f"the part's Content-Length is '5', {len(FIRST)} bytes came"]


def interrupted(cache: DicomCache) -> None:
    with deposit(cache.root, cache.index, KEY) as incoming:
        for part in (FIRST, SECOND[:100]):
            incoming.begin_part({})
            incoming.part_data(memoryview(part))
            if part is FIRST:
                incoming.end_part()
        raise KeyboardInterrupt


def test_a_break_keeps_whole_parts_and_removes_the_open_one(cache: DicomCache) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(cache)
    assert files_below(cache.root) == {f"{FOLDER}/{SERIES}/1.9.1.dcm": FIRST}
    assert cache.study(ARCHIVE, STUDY).state == "partial"
    assert cache.instances().num_rows == 1


def test_a_deposit_without_a_whole_part_leaves_no_folder_behind(cache: DicomCache) -> None:
    with deposit(cache.root, cache.index, KEY) as incoming:
        incoming.begin_part({})
    assert not (cache.root / FOLDER).exists()
    assert cache.generation == 0


def test_what_a_killed_process_left_is_swept(cache: DicomCache) -> None:
    left = cache.root / FOLDER / "3.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    put(cache, [FIRST])
    assert not left.exists()


def test_files_that_never_reached_the_index_are_written_anew(cache: DicomCache) -> None:
    orphan = cache.root / FOLDER / SERIES / "1.9.1.dcm"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"torn by a power cut")
    put(cache, [FIRST])
    assert orphan.read_bytes() == FIRST


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_a_damaged_file_is_brought_again(cache: DicomCache, damage: str) -> None:
    put(cache, [FIRST])
    (path,) = cache.root.rglob("*.dcm")
    path.unlink() if damage == "gone" else path.write_bytes(FIRST[:-1])
    incoming = put(cache, [FIRST])
    assert path.read_bytes() == FIRST
    assert incoming.new == 1


def test_a_file_that_is_gone_gives_way_to_one_with_other_bytes(cache: DicomCache) -> None:
    put(cache, [FIRST])
    (path,) = cache.root.rglob("*.dcm")
    path.unlink()
    other = image_file("1.9.1", filler=9)
    assert put(cache, [other]).issues == ()
    assert path.read_bytes() == other
    assert cache.instances()["sha256"].to_pylist() == [hashlib.sha256(other).hexdigest()]


def test_only_this_user_may_read_whatever_the_umask_says(cache: DicomCache) -> None:
    before = os.umask(0)
    try:
        put(cache, [FIRST, b"odd"])
    finally:
        os.umask(before)
    for path in (cache.root, *cache.root.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
        assert not path.is_file() or path.stat().st_mode & 0o111 == 0


def test_a_header_that_does_not_fit_the_head_is_read_from_the_file(cache: DicomCache) -> None:
    bulky = element(0x00090010, b"UN", bytes(200_000))
    uids = identity("1.9.5")
    cut = uids.index(b"\x20\0\x0d\0")
    put(cache, [dicom_file(uids[:cut] + bulky + uids[cut:] + element(0x00280010, b"US", b"\7\0"))])
    (row,) = cache.instances().to_pylist()
    assert (row["instance_uid"], row["rows"]) == ("1.9.5", 7)


def test_hundreds_of_parts_are_indexed_in_batches_without_loss(cache: DicomCache) -> None:
    parts = [image_file(f"1.9.{number}", size=4, number=number) for number in range(1, 301)]
    incoming = put(cache, parts)
    assert incoming.new == 300
    assert cache.instances()["instance_number"].to_pylist() == list(range(1, 301))
    assert cache.generation > 1
