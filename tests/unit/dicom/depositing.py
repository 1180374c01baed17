"""Putting parts into a cache without a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from s4s_lab.dicom import DicomCache
from s4s_lab.dicom.deposit import Deposit, deposit
from s4s_lab.dicom.index import StudyKey
from tests.unit.dicom.samples import STUDY

ARCHIVE = "0123456789abcdef"
KEY = StudyKey(ARCHIVE, STUDY, "https://ehr.example/fhir", "smart-1288992", "P-0007")


def put(cache: DicomCache, parts: Iterable[bytes], *, key: StudyKey = KEY) -> Deposit:
    """Deposit whole parts, and return the deposit for what it says."""
    with deposit(cache.root, cache.index, key) as incoming:
        for part in parts:
            incoming.begin_part({"content-length": str(len(part))})
            incoming.part_data(memoryview(part))
            incoming.end_part()
    return incoming


def files_below(root: Path) -> dict[str, bytes]:
    """Content by path of every DICOM file, quarantine included, and of anything left over."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("index.sqlite")}
