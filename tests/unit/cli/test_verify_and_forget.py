"""`s4s verify` and `s4s forget` as a person and a program use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from s4s_lab.cli.app import app
from s4s_lab.lake import Dataset, open_dataset

URL = "http://127.0.0.1:9/fhir"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """A dataset that two people are connected to."""
    data = open_dataset(tmp_path / "dataset")
    for patient_id in ("p1", "p2"):
        data.connection(URL, patient_id)
    return data


def s4s(*words: object, given: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, words)], input=given)
    return result.exit_code, result.stdout, result.stderr


def patients(data: Dataset) -> list[str]:
    return [record.patient_id for record in data.connections()]


def test_verify_ends_with_0_when_all_is_well_and_with_1_when_something_is_wrong(data: Dataset) -> None:
    code, out, _ = s4s("verify", "--dataset", data.path())
    assert (code, "Verify: done" in out) == (0, True)
    (data.path() / "dataset.json").chmod(0o644)
    code, out, _ = s4s("verify", "--dataset", data.path())
    assert (code, "dataset.json: It is open to other users. Close it." in out) == (1, True)
    code, out, _ = s4s("verify", "--repair", "--json", "--dataset", data.path())
    told = json.loads(out)
    assert (code, told["outcome"], told["problems"][0]["repaired"]) == (0, "done", True)
    assert told["checks"]["connections"]["checked"] == 2


def test_forget_asks_for_the_id_again(data: Dataset) -> None:
    code, out, err = s4s("forget", "p1", "--dataset", data.path(), given="p2\n")
    assert (code, out) == (2, "")
    assert "It cannot be undone" in err
    assert patients(data) == ["p1", "p2"]
    code, out, _ = s4s("forget", "p1", "--dataset", data.path(), given="p1\n")
    assert (code, "Forget: done" in out) == (0, True)
    assert patients(data) == ["p2"]


def test_a_program_says_yes(data: Dataset) -> None:
    code, out, _ = s4s("forget", "p1", "--json", "--dataset", data.path())
    assert (code, json.loads(out)["outcome"]) == (2, "failed")
    assert patients(data) == ["p1", "p2"]
    code, out, _ = s4s("forget", "p1", "--json", "--yes", "--fhir-url", URL, "--dataset", data.path())
    told = json.loads(out)
    assert (code, told["outcome"], told["removed"]["connections"]) == (0, "done", 1)


def test_an_unknown_patient_names_nobody_else(data: Dataset) -> None:
    code, out, err = s4s("forget", "nobody", "--yes", "--dataset", data.path())
    assert (code, out) == (1, "")
    assert "no patient with this id. It has 2 connections" in err
    assert "p1" not in err
