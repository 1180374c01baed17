"""verify: whatever changes by itself is found, what can be made anew is, and the log is never touched."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from s4s_lab.lake import Dataset, VerifyReport, delta, open_dataset
from s4s_lab.lake.catalogue import catalogue, layout
from s4s_lab.values.instants import utc_now
from tests.unit.lake.forgetting import STUDY_UIDS, hashed, pull
from tests.unit.lake.records import Person, put, version_of

PARQUET = {
    "resources": "resources/**/*.parquet",
    "pulls": "pulls/*.parquet",
    "a view's table": "tables/explanation_of_benefit/**/*.parquet",
    "the table of images": "tables/dicom_instance/**/*.parquet",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, darcy: Person) -> Path:
    """A dataset after two pulls and a fetch of one person, whole."""
    root = tmp_path_factory.mktemp("filled") / "dataset"
    record = pull(open_dataset(root), darcy, 0)
    record.grants_path.unlink()
    return root


@pytest.fixture
def data(tmp_path: Path, filled: Path) -> Dataset:
    """A copy of it."""
    return open_dataset(shutil.copytree(filled, tmp_path / "dataset"))


def flip_one_bit(path: Path, chance: random.Random) -> None:
    """Change one bit of a file as a disk may: its size and times stay."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=times)


def wrong(report: VerifyReport) -> set[str]:
    return {problem.where for problem in report.problems}


def test_a_whole_dataset_is_found_whole(data: Dataset, darcy: Person) -> None:
    report = data.verify()
    assert (report.outcome, report.problems) == ("done", ())
    checked = report.table()["checked"].to_dict()
    assert (checked["resources"], checked["pulls"], checked["connections"]) == (len(darcy.resources), 2, 1)
    # Two images, and one that was set aside.
    assert checked["dicom"] == 3
    assert repr(report).startswith("VerifyReport: done\n")


@pytest.mark.parametrize("kind", PARQUET)
def test_one_flipped_bit_in_any_parquet_file_of_a_kind_is_found(data: Dataset, kind: str) -> None:
    chance = random.Random(kind)  # noqa: S311 - a repeatable choice of bits, no secret
    files = sorted(data.path().glob(PARQUET[kind]))
    for path in files:
        flip_one_bit(path, chance)
    report = data.verify()
    assert wrong(report) >= {path.relative_to(data.path()).as_posix() for path in files}
    assert report.outcome == "failed"


def test_one_flipped_bit_in_each_log_entry_is_found(data: Dataset) -> None:
    chance = random.Random(5)  # noqa: S311 - as above
    entries = sorted(data.path().glob("resources/_delta_log/*.json"))
    for path in entries:
        flip_one_bit(path, chance)
    assert wrong(data.verify()) >= {path.relative_to(data.path()).as_posix() for path in entries}


def test_a_damaged_file_of_the_log_is_named_with_version_and_participant_and_left_alone(data: Dataset) -> None:
    (file,) = data.path().glob("resources/resource_type=Patient/*/*.parquet")
    flip_one_bit(file, random.Random(1))  # noqa: S311 - as above
    content = file.read_bytes()
    report = data.verify(repair=True)
    (problem,) = [one for one in report.problems if one.part == "resources"]
    assert (problem.repaired, file.read_bytes()) == (False, content)
    assert "version 1: Patient of P-0" in problem.what
    assert "Restore it from a backup" in problem.todo
    assert report.outcome == "failed"


@pytest.mark.parametrize("kind", ["a view's table", "the table of images"])
def test_a_damaged_table_is_made_anew(data: Dataset, kind: str) -> None:
    name = PARQUET[kind].split("/")[1]
    before = data.arrow(name)
    flip_one_bit(next(data.path().glob(PARQUET[kind])), random.Random(3))  # noqa: S311 - as above
    report = data.verify(repair=True)
    assert [(one.part, one.repaired) for one in report.problems] == [("tables", True)]
    assert report.outcome == data.verify().outcome == "done"
    assert data.arrow(name).equals(before)


def test_a_table_that_does_not_hold_what_the_log_gives_is_found_and_made_anew(data: Dataset) -> None:
    path = data.path("patient")
    before = data.arrow("patient")
    rows = delta.read(delta.open_table(path), layout(catalogue()["patient"]).stored)
    changed = rows.set_column(rows.schema.get_field_index("gender"), rows.schema.field("gender"), [["other"]])
    marks = {"resources": data.log.version}
    delta.make_durable([delta.replace(path, changed, where="bucket >= 0", transactions=marks)])
    assert data.arrow("patient")["gender"].to_pylist() == ["other"]
    (problem,) = data.verify().problems
    assert problem.where == "tables/patient"
    assert problem.what == "Its rows are not what the log gives, in 1 of its buckets."
    assert data.verify(repair=True).outcome == "done"
    assert data.arrow("patient").equals(before)


def test_a_hash_that_is_not_its_jsons_is_found(data: Dataset, darcy: Person) -> None:
    (record,) = data.connections()
    put(data, record, [replace(version_of(darcy.of("Patient")[0]), content_hash="0" * 64)])
    (problem,) = [one for one in data.verify().problems if one.part == "resources"]
    assert "1 rows whose JSON is not what was received" in problem.what


def test_a_damaged_image_is_found_and_set_aside(data: Dataset) -> None:
    image = next(data.path().glob(f"dicom/*/{STUDY_UIDS[0]}/*/*.dcm"))
    flip_one_bit(image, random.Random(4))  # noqa: S311 - as above
    report = data.verify(repair=True)
    assert [(one.part, one.repaired) for one in report.problems] == [("dicom", True)]
    where = image.relative_to(data.path()).as_posix()
    command = f"s4s fetch --dataset {data.path()} --study {STUDY_UIDS[0]}"
    assert report.lines() == [
        f"repaired: {where}: Its bytes have changed. (study {STUDY_UIDS[0]}) It was moved to quarantine.",
        f"note: 1 image file was taken out and can be fetched again: {command}",
    ]
    assert data.verify().outcome == "done"
    assert len(data.table("dicom_instance")) == 1


def test_an_open_file_is_closed(data: Dataset) -> None:
    (data.path() / "dataset.json").chmod(0o644)
    assert [(one.where, one.what) for one in data.verify().problems] == [("dataset.json", "It is open to other users.")]
    assert data.verify(repair=True).outcome == data.verify().outcome == "done"


def test_a_watermark_in_the_future_is_found(data: Dataset, darcy: Person) -> None:
    (record,) = data.connections()
    cursor = data.cursor(record, "Patient", "query")
    rows = [hashed(version_of(darcy.of("Patient")[0]))]
    ahead = utc_now() + timedelta(days=1)
    data.log.commit(record, rows, run_id="r", received_at=utc_now(), cursor_id=cursor, last_check=ahead)
    data.refresh()
    (problem,) = data.verify().problems
    assert problem.what.startswith("lastCheck of Patient lies in the future")


def test_lost_and_stray_files_are_found(data: Dataset) -> None:
    (record,) = data.connections()
    grants = data.path() / "grants"
    (grants / "stray.json").touch(0o600)
    (data.path() / "connections" / f"{record.connection_id}.json").unlink()
    found = {(one.part, one.what) for one in data.verify().problems}
    assert ("connections", "It is missing, and the log has its rows.") in found
    assert {what for part, what in found if part == "grants"} == {"It belongs to no connection.", "It is damaged."}


def test_a_damaged_checksum_accuses_no_file(data: Dataset) -> None:
    path = data.path() / "pulls" / "_checksums" / f"{1:020}.json"
    content = json.loads(path.read_text())
    content["sha256"] = dict.fromkeys(content["sha256"], "0" * 64)
    path.write_text(json.dumps(content))
    (problem,) = data.verify().problems
    assert (problem.what, problem.where) == ("The checksums are damaged.", path.relative_to(data.path()).as_posix())
    assert data.verify(repair=True).outcome == data.verify().outcome == "done"


def test_found_lists_every_problem(data: Dataset) -> None:
    (data.path() / "dataset.json").chmod(0o644)
    assert data.verify().found.to_dict("records") == [
        {
            "part": "files",
            "where": "dataset.json",
            "what": "It is open to other users.",
            "todo": "Close it.",
            "repaired": False,
        }
    ]


def test_a_participant_whose_file_is_damaged_can_be_forgotten(data: Dataset, darcy: Person) -> None:
    for path in data.path().glob("resources/**/*.parquet"):
        path.write_bytes(b"nothing of use")
    assert data.verify().outcome == "failed"
    data.forget(darcy.patient_id)
    report = data.verify()
    assert report.problems == (), report


def test_a_whole_dataset_of_two_people_with_images_is_whole(data: Dataset, leroy: Person) -> None:
    pull(data, leroy, 1).grants_path.unlink()
    assert len(set(data.images.instances()["patient_id"].to_pylist())) == 2
    assert data.verify().problems == ()


def test_changed_rows_of_images_are_made_anew_from_the_caches_index(data: Dataset) -> None:
    path = data.path("dicom_instance")
    handle = delta.open_table(path)
    rows = delta.read(handle, pa.schema(handle.schema().to_arrow()))
    marks = {"dicom": data.images.generation}
    delta.make_durable([delta.replace(path, rows.slice(1), where=None, transactions=marks)])
    (problem,) = data.verify(repair=True).problems
    assert (problem.repaired, problem.todo) == (True, "Verify with repair: it is made anew from the cache's index.")
    assert data.arrow("dicom_instance").equals(data.images.instances())
