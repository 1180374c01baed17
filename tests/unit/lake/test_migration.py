"""A catalogue that changes: more columns are announced, fewer refused until allowed, and old processes go on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.parquet as pq
import pytest

from s4s_lab.errors import S4SWarning, TableBehind, TableChanged, TableWouldChange
from s4s_lab.lake import Dataset, catalogue, open_dataset
from s4s_lab.lake.delta import open_table
from s4s_lab.lake.tables_folder import invalidate
from tests.unit.lake.records import Person, connect, put, version_of, versions

Column = dict[str, Any]
SEX: Column = {"name": "sex", "path": "gender", "type": "code", "description": "the sex"}
BORN: Column = {"name": "born", "path": "birthDate", "type": "date", "description": "the day"}


def said_by(data: Dataset, *columns: Column) -> None:
    """Change a view's file, as a later version of the package changes its catalogue."""
    folder = data.path() / "views"
    folder.mkdir(exist_ok=True)
    view = {"name": "people", "resource": "Patient", "select": [{"column": list(columns)}]}
    (folder / "people.json").write_text(json.dumps(view))


@contextmanager
def silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", S4SWarning)
        yield


@pytest.fixture
def people(data: Dataset, darcy: Person) -> Dataset:
    """A dataset with a table of two columns."""
    connect(data, darcy)
    said_by(data, SEX, BORN)
    data.refresh()
    return data


def columns(data: Dataset) -> list[str]:
    names: list[str] = data.arrow("people").column_names
    return names[6:-1]


def test_new_columns_are_announced_once_and_filled_from_the_log(people: Dataset, darcy: Person) -> None:
    said_by(people, SEX, BORN, {"name": "key", "path": "id", "type": "id", "description": "the id"})
    version = people.log.version
    with pytest.warns(TableChanged, match=r"Table people was derived anew.*\(new columns: key\)"):
        people.refresh()
    with silence():
        assert people.table("people")["key"].to_list() == [darcy.patient_id]
        open_dataset(people.path()).refresh()
    assert people.log.version == version


def test_no_other_table_is_touched_by_a_change(people: Dataset) -> None:
    before = versions(people)
    said_by(people, SEX, BORN, {"name": "key", "path": "id"})
    with pytest.warns(TableChanged):
        people.refresh()
    assert {name for name, version in versions(people).items() if version != before[name]} == {"people"}


@pytest.mark.parametrize("changed", [BORN | {"path": "'1970-01-01'"}, BORN | {"description": "another word"}])
def test_another_path_or_meaning_is_derived_anew_and_announced(people: Dataset, changed: Column) -> None:
    said_by(people, SEX, changed)
    with pytest.warns(TableChanged, match="the same columns"):
        people.refresh()
    rows = people.table("people")
    assert (str(rows["born"].iloc[0]) == "1970-01-01") == (changed["path"] != "birthDate")
    assert people.arrow("people").schema.field("born").metadata[b"meaning"].decode() == changed["description"]


@pytest.mark.parametrize(
    ("after", "change"),
    [((SEX,), "lost columns: born"), ((SEX, BORN | {"path": "active", "type": "boolean"}), "other types: born")],
    ids=["lost", "retyped"],
)
def test_a_change_that_breaks_is_refused_until_it_is_allowed(
    people: Dataset, darcy: Person, after: tuple[Column, ...], change: str
) -> None:
    before = versions(people)["people"]
    said_by(people, *after)
    with pytest.raises(TableWouldChange, match=rf"people is left as it was.*{change}.*migrate=True.*--migrate"):
        people.table("people")
    with pytest.raises(TableWouldChange):
        people.table("people", as_of=0)
    put(people, people.connections()[0], [version_of(darcy.study, description="again")])
    with pytest.warns(TableBehind, match=change):
        people.refresh()
    assert people.table("imaging_study")["description"].to_list() == ["again"]
    with pytest.warns(TableBehind, match=change):
        assert {row["name"]: row["rows"] for row in people.tables().to_pylist()}["people"] is None
    assert versions(people)["people"] == before
    with pytest.warns(TableChanged, match=change):
        allowed = open_dataset(people.path(), migrate=True)
    assert columns(allowed) == [column["name"] for column in after]
    with silence():
        assert columns(open_dataset(people.path())) == [column["name"] for column in after]


def test_an_earlier_version_is_shown_in_the_present_columns(people: Dataset, darcy: Person) -> None:
    then = people.log.version
    put(people, people.connections()[0], [version_of(darcy.of("Patient")[0], gender="other")])
    people.refresh()
    said_by(people, SEX, BORN, {"name": "key", "path": "id"})
    with pytest.warns(TableChanged):
        people.refresh()
    rows = people.table("people", as_of=then)
    assert rows[["sex", "key"]].to_numpy().tolist() == [[darcy.of("Patient")[0]["gender"], darcy.patient_id]]


@contextmanager
def as_before(monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[None]:
    """Let this process run the view that a file said earlier."""
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "_own", lambda path: catalogue._compiled(text, path.name))
        yield


@pytest.mark.parametrize("later", [(SEX, BORN, {"name": "key", "path": "id"}), (SEX,)], ids=["grown", "narrowed"])
def test_a_process_that_runs_an_earlier_catalogue_reads_on_and_changes_nothing(
    people: Dataset, darcy: Person, monkeypatch: pytest.MonkeyPatch, later: tuple[Column, ...]
) -> None:
    earlier = (people.path() / "views" / "people.json").read_text()
    said_by(people, *later)
    with pytest.warns(TableChanged):
        open_dataset(people.path(), migrate=True)
    written = versions(people)["people"]
    with as_before(monkeypatch, earlier), silence():
        assert columns(people) == ["sex", "born"]
        put(people, people.connections()[0], [version_of(darcy.of("Patient")[0], gender="other")])
        people.refresh()
        assert people.table("people")["sex"].to_list() == ["other"]
        assert people.tables().to_pydict()["rows"].count(None) == 0
    assert versions(people)["people"] == written
    with silence():
        assert people.table("people")["sex"].to_list() == ["other"]
        assert columns(people) == [column["name"] for column in later]


def test_a_table_that_was_made_before_views_were_named_is_derived_anew(
    data: Dataset, darcy: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(data, darcy)
    with monkeypatch.context() as patch:
        patch.setattr("s4s_lab.lake.tables.marks", lambda *_: {})
        data.refresh()
    before = versions(data)["patient"]
    with silence():
        data.refresh()
        data.refresh()
    assert versions(data)["patient"] == before + 1


def test_a_rebuild_keeps_the_order_of_views(people: Dataset) -> None:
    said_by(people, SEX, BORN, {"name": "key", "path": "id"})
    with pytest.warns(TableChanged):
        people.refresh()
    generation = open_table(people.path("people")).transaction_version("view")
    invalidate(people.path() / "tables")
    people.refresh()
    assert open_table(people.path("people")).transaction_version("view") == generation == 2


def test_the_files_of_a_table_say_what_their_columns_mean(people: Dataset) -> None:
    table = open_table(people.path("people"))
    for path in table.file_uris():
        field = pq.read_schema(path.removeprefix("file://")).field("sex")
        assert field.metadata[b"meaning"] == b"the sex"
    fields = {field.name: field.metadata for field in table.schema().fields}
    assert fields["born"]["meaning"] == "the day"
