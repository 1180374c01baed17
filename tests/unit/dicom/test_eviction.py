"""Making room: the studies that were not used for longest go, pinned ones and those being retrieved stay."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.dicom import DicomCache, note_use
from s4s_lab.errors import BadUid, S4SWarning, UsageError
from tests.unit.dicom.depositing import ARCHIVE, KEY, put
from tests.unit.dicom.samples import image_file

STUDIES = ("1.2.1", "1.2.2", "1.2.3")
SIZE = len(image_file("1.9.1", study=STUDIES[0]))


@pytest.fixture
def cache(tmp_path: Path) -> DicomCache:
    """Three studies of two files each, used one after the other."""
    cache = DicomCache(tmp_path / "dicom")
    for age, uid in enumerate(STUDIES):
        key = replace(KEY, study_uid=uid)
        put(cache, [image_file(f"1.9.{number}", study=uid) for number in (1, 2)], key=key)
        cache.index.settle(key, "complete", 2)
        os.utime(cache.root / ARCHIVE / uid, (age, age))
    return cache


def left(cache: DicomCache) -> set[str]:
    """Studies that have files, by the index and by the disk, which have to agree."""
    shown = set(cache.instances()["study_uid"].to_pylist())
    assert {path.parent.parent.name for path in cache.root.rglob("*.dcm")} == shown
    assert cache.verify().findings == ()
    return shown


def test_the_study_that_was_not_used_for_longest_goes_first(cache: DicomCache) -> None:
    evicted = cache.evict(4 * SIZE)
    assert (evicted.studies, evicted.files, evicted.bytes, evicted.left_bytes) == (1, 2, 2 * SIZE, 4 * SIZE)
    assert left(cache) == {"1.2.2", "1.2.3"}


def test_no_more_than_fits_is_left_and_nothing_goes_when_all_fits(cache: DicomCache) -> None:
    assert cache.evict(6 * SIZE).studies == 0
    assert cache.evict(4 * SIZE - 1).left_bytes == 2 * SIZE
    assert left(cache) == {"1.2.3"}
    assert cache.evict(0).left_bytes == 0
    assert left(cache) == set()


def test_a_study_that_is_used_is_kept_longer(cache: DicomCache) -> None:
    note_use(next((cache.root / ARCHIVE / "1.2.1").rglob("*.dcm")))
    cache.evict(2 * SIZE)
    assert left(cache) == {"1.2.1"}


def test_a_pinned_study_stays_until_it_is_pinned_no_more(cache: DicomCache) -> None:
    cache.pin("1.2.1")
    assert cache.evict(0).left_bytes == 2 * SIZE
    assert left(cache) == {"1.2.1"}
    cache.unpin("1.2.1")
    cache.evict(0)
    assert left(cache) == set()


def test_a_pin_says_where_nothing_is_of_a_study_and_counts_all_the_same(cache: DicomCache) -> None:
    with pytest.warns(S4SWarning, match=r"Nothing of study 1\.2\.4 is here: check the UID, or fetch it"):
        cache.pin("urn:oid:1.2.4")
    put(cache, [image_file("1.9.1", study="1.2.4")], key=replace(KEY, study_uid="1.2.4"))
    cache.evict(0)
    assert left(cache) == {"1.2.4"}
    for text in ("the CT", 7, None):
        for action in (cache.pin, cache.unpin):
            with pytest.raises(BadUid, match="is no DICOM UID"):
                action(text)  # type: ignore[arg-type]  # what people type


def test_a_study_that_is_being_retrieved_stays(cache: DicomCache) -> None:
    with cache.receiving(ARCHIVE, "1.2.1"):
        assert cache.evict(0).left_bytes == 2 * SIZE
    assert left(cache) == {"1.2.1"}


def test_an_evicted_study_is_missing_and_comes_again(cache: DicomCache) -> None:
    before, generation = cache.instances(), cache.generation
    cache.evict(4 * SIZE)
    study = cache.study(ARCHIVE, "1.2.1")
    assert (study.state, study.instances, study.expected) == ("missing", 0, 2)
    assert cache.generation > generation
    key = replace(KEY, study_uid="1.2.1")
    assert put(cache, [image_file(f"1.9.{number}", study="1.2.1") for number in (1, 2)], key=key).new == 2
    assert cache.instances().equals(before)


def test_an_empty_cache_has_nothing_to_give(tmp_path: Path) -> None:
    assert DicomCache(tmp_path / "none").evict(0).studies == 0
    assert not (tmp_path / "none").exists()


def killed_while_evicting(cache: DicomCache) -> Path:
    """Leave what an eviction leaves that was killed when it had moved a study's folder aside."""
    trash = cache.root / ARCHIVE / ".evicted"
    cache.evict(2 * SIZE)
    folder = trash / "1.3"
    folder.mkdir(parents=True)
    (folder / "1.9.1.dcm").write_bytes(image_file("1.9.1", study=STUDIES[0]))
    return trash


KILLED = """
import os, sys; from pathlib import Path
from s4s_lab.dicom import DicomCache
left = int(sys.argv[2])
def watch(event, arguments):
    global left
    name = str(arguments[0]) if arguments else ""
    if event == "os.rename" or (event in ("os.remove", "os.rmdir") and "sqlite" not in name):
        left -= 1
        if left < 0:
            os._exit(9)
cache = DicomCache(Path(sys.argv[1]))
sys.addaudithook(watch)
cache.evict(0)
"""


@pytest.mark.parametrize("operations", range(8))
def test_an_eviction_that_is_killed_anywhere_leaves_every_study_whole_or_gone(
    cache: DicomCache, operations: int
) -> None:
    root = Path(__file__).parents[3]
    killed = subprocess.run([sys.executable, "-c", KILLED, cache.root, str(operations)], cwd=root, check=False)
    assert killed.returncode == 9
    # Where people and other programs look for a study, there is never half of one.
    counts = {uid: len(list((cache.root / ARCHIVE / uid).rglob("*.dcm"))) for uid in STUDIES}
    assert set(counts.values()) <= {0, 2}
    known = [cache.study(ARCHIVE, uid).instances for uid in STUDIES]
    # What the index names is there.
    assert all(count >= of_index for count, of_index in zip(counts.values(), known, strict=True))
    # The next one finishes it.
    assert cache.evict(0).left_bytes == 0
    assert left(cache) == set()
    assert not list(cache.root.rglob(".evicted"))


def test_what_a_killed_eviction_left_is_no_finding_and_goes_with_a_repair(cache: DicomCache) -> None:
    trash = killed_while_evicting(cache)
    assert cache.verify().findings == ()
    assert trash.is_dir()
    seen = cache.verify(repair=True)
    assert (seen.findings, seen.studies, trash.exists()) == ((), len(STUDIES), False)


def test_what_a_killed_eviction_left_goes_with_a_patient_also_where_others_stay(cache: DicomCache) -> None:
    trash = killed_while_evicting(cache)
    other = replace(KEY, study_uid="1.2.8", source="https://other.example/fhir")
    put(cache, [image_file("1.9.8", study="1.2.8")], key=other)
    cache.remove(KEY.source, KEY.patient_id)
    assert not trash.exists()
    assert cache.instances()["study_uid"].to_pylist() == ["1.2.8"]


@pytest.mark.parametrize("size", [-1, "1GB", float("nan"), None])
def test_what_is_no_size_removes_nothing(cache: DicomCache, size: Any) -> None:
    with pytest.raises(UsageError, match="is no size"):
        cache.evict(size)
    assert len(list(cache.root.rglob("*.dcm"))) == 6
