"""Making and opening a dataset: what is one, who may look in, what is put right."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from s4s_lab.errors import DatasetError, NotADataset, S4SWarning
from s4s_lab.lake import Dataset, open_dataset
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.opening import look_after


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_dataset_is_made_with_all_its_rooms(tmp_path: Path) -> None:
    data = open_dataset(tmp_path / "new" / "dataset")
    assert {path.name for path in data.path().iterdir()} == {
        ".locks", "connections", "dataset.json", "pulls", "resources", "tables",
    }  # fmt: skip
    assert json.loads((data.path() / "dataset.json").read_text()).keys() == {
        "format",
        "dataset_id",
        "buckets",
        "created",
    }
    assert (data.log.version, data.log.buckets) == (0, 64)


def test_it_is_the_same_dataset_when_it_opens_again(data: Dataset) -> None:
    again = open_dataset(str(data.path()), create=False)
    assert again.dataset_id == data.dataset_id
    assert open_dataset(data.path().parent / "other").dataset_id != data.dataset_id


def test_an_empty_folder_becomes_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    assert mode(open_dataset(tmp_path / "empty").path()) == 0o700


def test_everything_in_it_is_private(data: Dataset) -> None:
    data.refresh()
    modes = {path: mode(path) for path in data.path().rglob("*")}
    assert {found for path, found in modes.items() if path.is_dir()} == {0o700}
    assert {found for path, found in modes.items() if path.is_file()} == {0o600}
    assert mode(data.path()) == 0o700


def test_a_creation_that_was_killed_while_it_wrote_its_last_file_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / ".part-8ems6be3").write_text('{"form')
    assert len(open_dataset(tmp_path).dataset_id) == 36


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(NotADataset, match="holds other things"):
        open_dataset(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_is_made_where_nothing_was_asked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotADataset, match="no dataset in"):
        open_dataset(tmp_path / name, create=False)
    assert list(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADataset, match="is no folder"):
        open_dataset(tmp_path / "file")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "dataset_id": "x", "buckets": "y"}']
)
def test_settings_that_cannot_be_read_are_named(data: Dataset, content: str) -> None:
    (data.path() / "dataset.json").write_text(content)
    with pytest.raises(NotADataset, match=r"dataset\.json is not the settings file"):
        open_dataset(data.path())


def test_a_format_of_the_future_is_refused(data: Dataset) -> None:
    path = data.path() / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(NotADataset, match=r"has format 2; this version of S4S Lab knows 1.*newer"):
        open_dataset(data.path())


def test_a_creation_that_was_interrupted_is_finished(data: Dataset) -> None:
    (data.path() / "dataset.json").unlink()
    again = open_dataset(data.path())
    assert (again.dataset_id != data.dataset_id, again.log.version) == (True, 0)


def test_a_folder_that_others_could_look_into_is_closed_with_a_warning(data: Dataset) -> None:
    data.path().chmod(0o755)
    with pytest.warns(S4SWarning, match="was open to other users") as caught:
        open_dataset(data.path())
    assert caught[0].filename == __file__
    assert mode(data.path()) == 0o700
    assert look_after(data.path()) == []


def test_opening_a_healthy_dataset_changes_nothing(data: Dataset) -> None:
    data.refresh()
    before = {path: path.stat().st_mtime_ns for path in data.path().rglob("*") if path.is_file()}
    open_dataset(data.path())
    assert {path: path.stat().st_mtime_ns for path in data.path().rglob("*") if path.is_file()} == before


def test_it_opens_while_others_write(data: Dataset) -> None:
    with Locks(data.path() / ".locks").writing():
        open_dataset(data.path())


@pytest.mark.parametrize("name", ["resources", "pulls"])
def test_a_dataset_that_lost_its_log_is_refused(data: Dataset, name: str) -> None:
    (data.path() / name).rename(data.path() / "elsewhere")
    with pytest.raises(DatasetError, match="has lost its log"):
        open_dataset(data.path())
