"""The wheel: in an environment of its own, away from the checkout, it works."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STUDY = {
    "resourceType": "ImagingStudy",
    "id": "a",
    "uid": "urn:oid:1.2.3",
    "patient": {"reference": "Patient/p"},
    "numberOfInstances": 2,
}


def run(*command: object, cwd: Path) -> str:
    ran = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, PROJECT, cwd=folder)
    (built,) = folder.glob("s4s_lab-*.whl")
    return built


def test_it_carries_catalogue_types_and_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    views = {name for name in names if "/catalogue/" in name and name.endswith(".json")}
    assert views == {str(path.relative_to(PROJECT)) for path in (PROJECT / "s4s_lab").rglob("catalogue/*/*.json")}
    assert "s4s_lab/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "notebooks/", "docs/"))]


def test_it_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    home = tmp_path / "env" / "bin"
    pip = (home / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "-c", PROJECT / "constraints.txt", wheel, cwd=tmp_path)
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    written = run(
        home / "s4s", "tabulate", "imaging_study", "study.json", "--out", "out.parquet", "--json", cwd=tmp_path
    )
    assert json.loads(written)["imaging_study"]["rows"] == 1
    code = "import pandas as pd; print(pd.read_parquet('out.parquet').study_uid[0])"
    assert run(home / "python", "-W", "error", "-c", code, cwd=tmp_path).strip() == "1.2.3"
    told = subprocess.run([home / "s4s", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "s4s-lab[sandbox]" in told.stderr
