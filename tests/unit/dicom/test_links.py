"""Symbolic links in a cache: nothing behind one is read, written, moved or removed, and the link is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import DatasetError
from tests.unit.dicom.depositing import ARCHIVE, KEY, put
from tests.unit.dicom.samples import SERIES, STUDY, image_file

PARTS = [image_file(f"1.9.{number}") for number in (1, 2)]
FOLDERS = {
    "archive": ARCHIVE,
    "study": f"{ARCHIVE}/{STUDY}",
    "series": f"{ARCHIVE}/{STUDY}/{SERIES}",
    "file": f"{ARCHIVE}/{STUDY}/{SERIES}/1.9.1.dcm",
}
LEADS_OUT = "leads out of the image cache and is not followed"


@pytest.fixture
def cache(tmp_path: Path) -> DicomCache:
    """A cache with two files of one study, and one that was set aside."""
    cache = DicomCache(tmp_path / "dicom")
    put(cache, [*PARTS, b"no file of DICOM's"])
    cache.index.settle(KEY, "complete", 2)
    return cache


def led_out(cache: DicomCache, name: str) -> Path:
    """Move a part of the cache elsewhere, with a stray part and a stray file, and put a link in its place."""
    place = cache.root / FOLDERS.get(name, f"{ARCHIVE}/{name}")
    outside = cache.root.parent / "elsewhere"
    if place.exists():
        place.rename(outside)
    else:
        outside.mkdir()
    if outside.is_dir():
        for stray in ("1.part", "thesis.doc", STUDY):
            (outside / stray).write_bytes(b"nobody else has this") if not (outside / stray).exists() else None
    place.symlink_to(outside)
    return outside


def content(outside: Path) -> dict[str, bytes]:
    """What lies outside, by path; a lock that is held has no content of its own."""
    paths = [outside] if outside.is_file() else [path for path in outside.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


ACTIONS: dict[str, Callable[[DicomCache], object]] = {
    "a retrieval": lambda cache: put(cache, [PARTS[0], image_file("1.9.3"), b"another"]),
    "an eviction": lambda cache: cache.evict(0),
    "a removal": lambda cache: cache.remove(KEY.source, KEY.patient_id),
    "a look at what is held": lambda cache: cache.held(ARCHIVE, STUDY),
    "a look at a file": lambda cache: cache.file(f"dicom/{FOLDERS['file']}"),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", FOLDERS)
def test_no_link_is_followed_out_of_the_cache(cache: DicomCache, name: str, action: str) -> None:
    outside = led_out(cache, name)
    before = content(outside)
    if (name, action) == ("file", "a retrieval"):
        # A link in the place of a file is replaced by the file, and not written through.
        put(cache, PARTS)
        assert not (cache.root / FOLDERS["file"]).is_symlink()
    else:
        with pytest.raises(DatasetError, match=rf"{FOLDERS[name]} {LEADS_OUT}"):
            ACTIONS[action](cache)
    assert content(outside) == before


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("repair", [False, True])
def test_a_check_names_a_link_and_leaves_alone_what_is_behind_it(cache: DicomCache, name: str, repair: bool) -> None:
    outside = led_out(cache, name)
    before = content(outside)
    found = cache.verify(repair=repair).findings
    assert {(one.kind, one.path, one.repaired) for one in found} == {("link", FOLDERS[name], False)}
    assert content(outside) == before
    assert cache.study(ARCHIVE, STUDY).instances == 2


@pytest.mark.parametrize(
    ("name", "action"),
    [
        (".locks", lambda cache: cache.receiving(ARCHIVE, STUDY).__enter__()),
        (".locks", ACTIONS["an eviction"]),
        (".locks", ACTIONS["a removal"]),
        (".evicted", ACTIONS["an eviction"]),
        ("quarantine", ACTIONS["a removal"]),
        ("quarantine", ACTIONS["a retrieval"]),
    ],
)
def test_no_folder_beside_the_studies_is_followed_out(
    cache: DicomCache, name: str, action: Callable[[DicomCache], object]
) -> None:
    outside = led_out(cache, name)
    before = content(outside)
    with pytest.raises(DatasetError, match=rf"{ARCHIVE}/{name} {LEADS_OUT}"):
        action(cache)
    assert content(outside) == before
    cache.verify(repair=True)
    assert content(outside) == before


def test_an_index_that_is_a_link_is_not_opened(cache: DicomCache) -> None:
    outside = cache.root.parent / "index.sqlite"
    cache.index.path.rename(outside)
    cache.index.path.symlink_to(outside)
    for action in (cache.instances, lambda: cache.pin(STUDY)):
        with pytest.raises(DatasetError, match=LEADS_OUT):
            action()


def test_a_row_that_names_a_place_outside_of_the_cache_is_refused(cache: DicomCache) -> None:
    victim = cache.root.parent / "thesis.doc"
    victim.write_bytes(b"nobody else has this")
    for path in ("../thesis.doc", str(victim)):
        with cache.index.writing() as connection:
            connection.execute("UPDATE instances SET path = ? WHERE instance_uid = '1.9.1'", (path,))
        assert "link" in {one.kind for one in cache.verify(repair=True).findings}
        with pytest.raises(DatasetError, match=LEADS_OUT):
            cache.held(ARCHIVE, STUDY)
    assert victim.read_bytes() == b"nobody else has this"


def test_another_patients_link_hinders_no_removal(cache: DicomCache) -> None:
    other = replace(KEY, archive="fedcba9876543210", patient_id="smart-2")
    put(cache, PARTS, key=other)
    (cache.root / other.archive).rename(cache.root.parent / "elsewhere")
    (cache.root / other.archive).symlink_to(cache.root.parent / "elsewhere")
    before = content(cache.root.parent / "elsewhere")
    assert cache.remove(KEY.source, KEY.patient_id).files == 3
    assert content(cache.root.parent / "elsewhere") == before
    assert not (cache.root / ARCHIVE).exists()


def test_parts_left_behind_a_link_are_nobodys_to_tidy(cache: DicomCache) -> None:
    (cache.root / ARCHIVE / STUDY / "1.part").write_bytes(b"left by a process that was killed")
    assert [path.name for path in cache.unfinished()] == ["1.part"]
    led_out(cache, "study")
    assert cache.unfinished() == []


def test_the_caches_own_folder_may_be_a_link_to_a_larger_disk(cache: DicomCache) -> None:
    disk = cache.root.parent / "disk"
    cache.root.rename(disk)
    cache.root.symlink_to(disk)
    put(cache, [image_file("1.9.3")])
    assert cache.verify().findings == ()
    assert cache.evict(0).files == 3
    assert not any(name.endswith(".dcm") for _, _, names in os.walk(disk / ARCHIVE / STUDY) for name in names)
