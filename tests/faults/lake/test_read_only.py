"""A dataset that cannot be written to can be read."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from s4s_lab.dicom.index import unusable
from s4s_lab.lake import open_dataset
from tests.faults.lake import working
from tests.faults.lake.working import Step
from tests.unit.lake.forgetting import keep_images
from tests.unit.lake.records import Person, put


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users can look into; pytest's own is closed to them."""
    folder = Path(mkdtemp(prefix="s4s-lab-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)


def close(root: Path) -> None:
    """Take away every right to write; where we are root, give the dataset to nobody."""
    for path in [*root.rglob("*"), root]:
        path.chmod(0o500 if path.is_dir() else 0o400)
        if os.geteuid() == 0:
            os.chown(path, working.NOBODY, working.NOBODY)


def look(root: Path, step: Step) -> list[str]:
    """Let somebody without rights use it."""
    with working.child(working.look_without_rights, root, step) as (_, pipe):
        answers: list[str] = pipe.recv()
    return answers


def test_a_current_table_is_shown_and_writing_is_refused(
    shared_folder: Path, person: Person, steps: list[Step]
) -> None:
    data = open_dataset(shared_folder / "dataset")
    working.run(data, person.patient_id, steps[:1])
    close(data.path())
    refused = f"DatasetError: The dataset {data.path()} cannot be written to: Permission denied."
    assert look(data.path(), steps[1]) == ["2 rows", refused, refused]


def test_a_table_that_is_behind_is_shown_with_the_reason(
    shared_folder: Path, person: Person, steps: list[Step]
) -> None:
    data = open_dataset(shared_folder / "dataset")
    working.run(data, person.patient_id, steps[:1])
    put(data, data.connections()[0], steps[1])
    close(data.path())
    rows, behind, *refused = look(data.path(), steps[2])
    assert (rows, len(refused)) == ("2 rows", 3)
    assert behind.startswith("TableBehind: Table explanation_of_benefit does not show the newest")
    assert behind.endswith("cannot be written to: Permission denied.")


def test_tables_that_were_never_stored_are_derived(shared_folder: Path, person: Person, steps: list[Step]) -> None:
    data = open_dataset(shared_folder / "dataset")
    put(data, data.connection(working.SOURCE, person.patient_id), steps[0])
    close(data.path())
    assert look(data.path(), steps[1])[0] == "2 rows"


def test_images_are_listed_and_verified(shared_folder: Path, person: Person, steps: list[Step]) -> None:
    data = open_dataset(shared_folder / "dataset")
    working.run(data, person.patient_id, steps[:1])
    keep_images(data.images, data.connections()[0], 0)
    data.refresh_images()
    close(data.path())
    with working.child(working.look_at_images_without_rights, data.path()) as (_, pipe):
        assert pipe.recv() == (2, [])


def test_what_hinders_the_index_for_a_while_comes_with_advice() -> None:
    for text, advice in (("database or disk is full", "Make room"), ("attempt to write a readonly database", "Copy")):
        assert advice in unusable(sqlite3.OperationalError(text)).hint
