"""The demo: the whole way, and what it says against what lies on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pytest

S4S = str(Path(sys.executable).with_name("s4s"))


def demo(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([S4S, "demo", *words], capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ran = demo("--json", cwd=tmp_path_factory.mktemp("demo"))
    assert ran.returncode == 0, ran.stderr
    return {**json.loads(ran.stdout), "cwd": ran.args} | {"stderr": ran.stderr}


def test_it_takes_less_than_90_seconds_and_says_nothing_else(told: dict[str, Any]) -> None:
    assert told["seconds"] < 90
    assert told["stderr"] == ""


def test_the_archive_is_as_rich_as_promised(told: dict[str, Any]) -> None:
    assert told["images"]["studies"] >= 12
    assert told["tables"]["patient"] >= 3
    assert told["tables"]["imaging_series"] > told["tables"]["imaging_study"]
    assert told["tables"]["eob_item"] > told["tables"]["explanation_of_benefit"] > 3


def test_each_pull_does_its_part(told: dict[str, Any]) -> None:
    by_mode: dict[str, list[dict[str, Any]]] = {}
    for report in told["pulls"]:
        study = report["types"]["ImagingStudy"]
        by_mode.setdefault(study["mode"], []).append(study)
    assert set(by_mode) == {"first", "update", "broad"}
    assert sum(study["new"] for study in by_mode["update"]) == 1
    assert sum(study["changed"] for study in by_mode["update"]) == 1
    assert sum(study["fallen_out"] for study in by_mode["update"]) == 0
    assert sum(study["fallen_out"] for study in by_mode["broad"]) == 1
    first = sum(study["new"] for study in by_mode["first"])
    assert told["tables"]["imaging_study"] == first + 1 - 1 == told["images"]["studies"]


def test_the_files_are_dicom_and_as_many_as_told(told: dict[str, Any], tmp_path: Path) -> None:
    files = list(Path(told["dataset"]).rglob("*.dcm"))
    assert len(files) == told["images"]["instances"] == told["tables"]["dicom_instance"]
    assert sum(path.stat().st_size for path in files) == told["images"]["bytes"]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    assert len({header.StudyInstanceUID for header in headers}) == told["images"]["studies"]
    assert len({header.Modality for header in headers}) >= 6
    assert len({header.StudyDate[:4] for header in headers}) >= 5


def test_the_plot_is_a_picture(told: dict[str, Any]) -> None:
    (plot,) = told["plots"]
    assert Path(plot).read_bytes().startswith(b"\x89PNG")
    assert Path(plot).stat().st_size > 20_000


def test_people_see_what_was_done_and_a_second_demo_takes_a_folder_of_its_own(tmp_path: Path) -> None:
    ran = demo(cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    for word in ("First pull", "Update", "Broad pull", "Images", "Tables", "imaging_study", "Plot", "data/demo"):
        assert word in ran.stdout
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    busy = demo("--dataset", "mine", cwd=tmp_path)
    assert busy.returncode == 1
    assert "not empty" in busy.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
