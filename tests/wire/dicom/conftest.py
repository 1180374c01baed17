"""A client and an empty cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache
from s4s_lab.net import HttpClient


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient() as client:
        yield client


@pytest.fixture
def cache(tmp_path: Path) -> DicomCache:
    return DicomCache(tmp_path / "dataset" / "dicom")
