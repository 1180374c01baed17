"""The cache checked against its index, repaired, and emptied of one patient."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import DatasetError
from tests.unit.dicom.depositing import ARCHIVE, KEY, files_below, put
from tests.unit.dicom.samples import STUDY, image_file

PARTS = [image_file(f"1.2.826.5.{number}") for number in range(1, 4)]


@pytest.fixture
def cache(tmp_path: Path) -> DicomCache:
    """A cache with three files of one study, settled as complete."""
    cache = DicomCache(tmp_path / "dicom")
    put(cache, PARTS)
    cache.index.settle(KEY, "complete", 3)
    return cache


def images(cache: DicomCache) -> list[Path]:
    return sorted((cache.root / ARCHIVE / STUDY).rglob("*.dcm"))


def flip_one_bit(path: Path, chance: random.Random) -> None:
    """Change one bit of a file as a disk may: its size and times stay."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=times)


def test_a_whole_cache_is_found_whole(cache: DicomCache) -> None:
    seen = cache.verify()
    assert (seen.studies, seen.files, seen.bytes, seen.findings) == (1, 3, sum(map(len, PARTS)), ())
    assert DicomCache(cache.root.parent / "none").verify().findings == ()


def test_one_flipped_bit_in_each_of_a_hundred_files_is_found_and_healed(tmp_path: Path) -> None:
    parts = [image_file(f"1.2.826.6.{number}") for number in range(100)]
    cache = DicomCache(tmp_path / "dicom")
    put(cache, parts)
    chance = random.Random(22)  # noqa: S311 - a repeatable choice of bits, no secret
    for path in images(cache):
        flip_one_bit(path, chance)
    assert {one.kind for one in cache.verify().findings} == {"damaged"}
    repaired = cache.verify(repair=True).findings
    assert (len(repaired), all(one.repaired for one in repaired)) == (100, True)
    # The archive sends the study again.
    put(cache, parts)
    assert sorted(path.read_bytes() for path in images(cache)) == sorted(parts)
    assert cache.verify().findings == ()


def test_repair_sets_aside_what_is_damaged_and_unknown_and_drops_what_is_missing(cache: DicomCache) -> None:
    damaged, missing, _ = images(cache)
    damaged.write_bytes(b"other bytes")
    missing.unlink()
    unknown = damaged.with_name("1.2.3.dcm")
    unknown.write_bytes(b"nobody knows me")
    found = {(one.path, one.kind) for one in cache.verify().findings}
    relative = [path.relative_to(cache.root).as_posix() for path in (damaged, missing, unknown)]
    assert found == set(zip(relative, ["damaged", "missing", "unknown"], strict=True))
    cache.verify(repair=True)
    assert (cache.study(ARCHIVE, STUDY).state, cache.study(ARCHIVE, STUDY).instances) == ("partial", 1)
    aside = {file.reason: (cache.root / file.path).read_bytes() for _, _, file in cache.index.set_aside()}
    assert aside == {"its bytes changed in the cache": b"other bytes", "the index did not know it": b"nobody knows me"}
    assert cache.verify().findings == ()


def test_a_check_changes_nothing(cache: DicomCache) -> None:
    images(cache)[0].write_bytes(b"other bytes")
    before, generation = files_below(cache.root), cache.generation
    cache.verify()
    assert (files_below(cache.root), cache.generation) == (before | {f"{ARCHIVE}/.locks/{STUDY}": b""}, generation)


def test_a_study_that_is_being_retrieved_is_left_out(cache: DicomCache) -> None:
    images(cache)[0].write_bytes(b"other bytes")
    with cache.receiving(ARCHIVE, STUDY):
        seen = cache.verify(repair=True)
    assert (seen.busy, seen.files, seen.findings) == (1, 0, ())


def test_a_damaged_file_in_quarantine_is_found(cache: DicomCache) -> None:
    put(cache, [image_file("1.2.9", study="1.2.8")])
    ((_, _, file),) = cache.index.set_aside()
    (cache.root / file.path).write_bytes(b"other bytes")
    assert [one.kind for one in cache.verify().findings] == ["damaged in quarantine"]


def test_a_damaged_index_is_said(cache: DicomCache) -> None:
    content = bytearray(cache.index.path.read_bytes())
    content[4096:8192] = bytes(4096)
    cache.index.path.write_bytes(content)
    with pytest.raises(DatasetError, match="index cannot be used"):
        cache.verify()


def test_a_patient_is_removed_and_another_stays(cache: DicomCache) -> None:
    other = replace(KEY, archive="fedcba9876543210", patient_id="somebody else")
    put(cache, PARTS, key=other)
    put(cache, [image_file("1.2.9", study="1.2.8")])
    kept = {name: content for name, content in files_below(cache.root).items() if name.startswith(other.archive)}
    removed = cache.remove(KEY.source, KEY.patient_id)
    assert (removed.studies, removed.files) == (1, 4)
    assert files_below(cache.root) == kept
    assert cache.instances()["patient_id"].unique().to_pylist() == ["somebody else"]
    assert KEY.patient_id.encode() not in cache.index.path.read_bytes()
    assert not (cache.root / ARCHIVE).exists()
    # Once more, as after a kill.
    assert cache.remove(KEY.source, KEY.patient_id).studies == 0
    assert files_below(cache.root) == kept


def test_a_study_in_an_archive_of_two_servers_is_removed_for_one_of_them(cache: DicomCache) -> None:
    other = replace(KEY, study_uid="1.2.8", source="https://other.example/fhir")
    put(cache, [image_file("1.2.9", study="1.2.8")], key=other)
    with cache.receiving(ARCHIVE, "1.2.77"):
        pass
    cache.remove(KEY.source, KEY.patient_id, ["1.2.77"])
    assert set(files_below(cache.root)) == {
        f"{ARCHIVE}/1.2.8/{path.parent.name}/1.2.9.dcm" for path in cache.root.rglob("1.2.9.dcm")
    }
