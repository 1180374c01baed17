"""`s4s tables`: versions, paths, tables of one's own, and a view that has lost columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from s4s_lab.cli.app import app
from s4s_lab.lake import Dataset, open_dataset
from tests.unit.lake.records import NOON, SOURCE, put, version_of

VIEW = {"name": "sexes", "resource": "Patient", "select": [{"column": [{"name": "sex", "path": "gender"}]}]}
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "female"}


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """A dataset whose patient changed once."""
    made = open_dataset(tmp_path / "dataset")
    record = made.connection(SOURCE, "p")
    for gender in ("female", "other"):
        put(made, record, [version_of(PATIENT, gender=gender)], received_at=NOON)
    return made


def s4s(data: Dataset, *words: str) -> Result:
    return CliRunner().invoke(app, ["tables", "--dataset", str(data.path()), *words])


def told(data: Dataset, *words: str) -> Any:
    result = s4s(data, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def saved(tmp_path: Path, view: Any) -> str:
    path = tmp_path / "view.json"
    path.write_text(json.dumps(view))
    return str(path)


def test_a_tables_version_is_the_logs_at_the_moment_asked_for(data: Dataset) -> None:
    now = told(data, "patient")["patient"]
    assert (now["rows"], now["version"], now["path"]) == (1, 2, str(data.path("patient")))
    assert now["columns"] == data.arrow("patient").column_names
    assert told(data, "patient", "--as-of", "1")["patient"]["version"] == 1
    assert told(data, "patient", "--as-of", "0")["patient"]["rows"] == 0
    assert {row["version"] for row in told(data).values()} == {2}


def test_a_view_is_added_replaced_and_removed(data: Dataset, tmp_path: Path) -> None:
    assert told(data, "--add-view", saved(tmp_path, VIEW))["sexes"]["rows"] == 1
    assert "other" in s4s(data, "sexes").stdout
    again = s4s(data, "--add-view", saved(tmp_path, VIEW))
    assert (again.exit_code, "--replace" in again.stderr) == (2, True)
    changed = json.loads(json.dumps(VIEW).replace("gender", "id"))
    assert s4s(data, "--add-view", saved(tmp_path, changed), "--replace").exit_code == 0
    assert open_dataset(data.path()).table("sexes")["sex"].to_list() == ["p"]
    assert "sexes" not in told(data, "--remove-view", "sexes")
    assert s4s(data, "--remove-view", "patient").exit_code == 1


def test_a_view_that_is_none_is_wrong_usage_and_names_the_element(data: Dataset, tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(VIEW).replace("gender", "gender +"))
    result = s4s(data, "--add-view", saved(tmp_path, wrong))
    assert result.exit_code == 2
    assert "select[0].column[0].path" in result.stderr


def test_lost_columns_are_refused_until_migrate_is_said(data: Dataset, tmp_path: Path) -> None:
    wide = VIEW | {"select": [{"column": [{"name": "sex", "path": "gender"}, {"name": "key", "path": "id"}]}]}
    s4s(data, "--add-view", saved(tmp_path, wide))
    (data.path() / "views" / "sexes.json").write_text(json.dumps(VIEW))
    refused = s4s(data, "sexes")
    assert (refused.exit_code, "lost columns: key" in refused.stderr, "--migrate" in refused.stderr) == (1, True, True)
    assert s4s(data, "sexes", "--migrate").exit_code == 0
    assert s4s(data, "sexes").exit_code == 0


def test_a_view_of_which_there_is_nothing_says_that_it_was_added(data: Dataset, tmp_path: Path) -> None:
    view = saved(tmp_path, VIEW | {"name": "devices", "resource": "Device"})
    result = s4s(data, "--add-view", view)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "devices added: 0 rows")


def test_the_table_of_files_is_among_those_there_are(data: Dataset) -> None:
    assert "dicom_instance" in s4s(data, "no_such").stderr
