"""Tables derived from the log: what is in them, and what a change costs."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from s4s_lab.errors import NotInDataset, TableBehind, TableChanged
from s4s_lab.lake import Dataset, delta, open_dataset
from s4s_lab.lake.delta import open_table
from s4s_lab.lake.entries import entry_path, read_entry
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.stored import Layout
from s4s_lab.views import load_view, packaged_views, table_schema
from tests.unit.lake.records import NOON, SOURCE, Person, connect, place, put, tombstone_of, version_of, versions

HEAD = ["source", "participant_id", "patient_id", "resource_id", "version_id", "last_updated"]


def everything(data: Dataset) -> dict[str, pa.Table]:
    """All tables derived from the log, with what fell out."""
    return {name: data.arrow(name, fallen_out=True) for name in packaged_views()}


def test_an_empty_dataset_has_every_table_with_all_its_columns(data: Dataset) -> None:
    for name in packaged_views():
        table = data.arrow(name)
        assert table.num_rows == 0
        assert table.schema.equals(table_schema(load_view(name)), check_metadata=True)
        assert table.column_names[:6] == HEAD
    assert data.table("imaging_study").empty


def test_rows_are_as_many_as_a_count_in_the_json(data: Dataset, darcy: Person, leroy: Person) -> None:
    for person in (darcy, leroy):
        connect(data, person)
    both = [*darcy.resources, *leroy.resources]
    studies = [one for one in both if one["resourceType"] == "ImagingStudy"]
    series = [one for study in studies for one in study.get("series", [])]
    claims = [one for one in both if one["resourceType"] == "ExplanationOfBenefit"]
    expected = {
        "imaging_study": len(studies),
        "imaging_series": len(series),
        "imaging_instance": sum(len(one.get("instance", [])) for one in series),
        "explanation_of_benefit": len(claims),
        "eob_item": sum(len(one.get("item", [])) for one in claims),
        "diagnostic_report": sum(one["resourceType"] == "DiagnosticReport" for one in both),
        "patient": 2,
    }
    assert all(expected.values())
    assert {name: len(data.table(name)) for name in expected} == expected


def test_rows_say_where_they_come_from(data: Dataset, darcy: Person) -> None:
    connect(data, darcy, "S-7")
    rows = data.table("eob_item")
    assert set(rows["source"]) == {SOURCE}
    assert set(rows["patient_id"]) == {darcy.patient_id}
    assert set(rows["participant_id"]) == {"S-7"}
    assert set(rows["resource_id"]) == {one["id"] for one in darcy.of("ExplanationOfBenefit")}


def test_a_new_pseudonym_shows_in_the_tables_at_once(data: Dataset, darcy: Person, leroy: Person) -> None:
    connect(data, darcy, "S-7")
    connect(data, leroy, "S-8")
    data.refresh()
    data.connection(SOURCE, darcy.patient_id, "S-9")
    assert set(data.table("patient")["participant_id"]) == {"S-9", "S-8"}


def test_frames_are_arrow_backed(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    kinds = {str(dtype) for dtype in data.table("imaging_study").dtypes}
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in data.table("imaging_study").dtypes)
    assert {"string[pyarrow]", "timestamp[ms, tz=UTC][pyarrow]"} <= kinds


def test_rows_are_in_the_order_of_patients_resources_and_elements(data: Dataset, darcy: Person, leroy: Person) -> None:
    for person in (leroy, darcy):
        connect(data, person)
    rows = data.table("eob_item")
    expected = [
        (person.patient_id, claim["id"], item["sequence"])
        for person in sorted((darcy, leroy), key=lambda one: one.patient_id)
        for claim in sorted(person.of("ExplanationOfBenefit"), key=lambda one: str(one["id"]))
        for item in claim.get("item", [])
    ]
    assert list(zip(rows["patient_id"], rows["resource_id"], rows["sequence"], strict=True)) == expected


def test_a_changed_resource_replaces_all_its_rows(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    claim = darcy.of("ExplanationOfBenefit")[0]
    before = len(data.table("eob_item"))
    put(data, record, [version_of(claim, item=claim["item"][:1])])
    assert len(data.table("eob_item")) == before - len(claim["item"]) + 1


def test_what_fell_out_is_left_out_unless_asked_for(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    put(data, record, [tombstone_of(darcy.study)], received_at=NOON + timedelta(days=3))
    there = data.table("imaging_study")
    assert darcy.study["id"] not in set(there["resource_id"])
    assert "fell_out_at" not in there.columns
    all_rows = data.table("imaging_study", fallen_out=True).set_index("resource_id")
    assert all_rows.columns[-1] == "fell_out_at"
    assert all_rows.loc[darcy.study["id"], "fell_out_at"] == NOON + timedelta(days=3)
    assert len(all_rows) == len(there) + 1
    assert not len(data.table("imaging_series")[lambda rows: rows["resource_id"] == darcy.study["id"]])


def test_what_returns_is_shown_again(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    put(data, record, [tombstone_of(darcy.study)])
    data.refresh()
    put(data, record, [version_of(darcy.study)])
    assert darcy.study["id"] in set(data.table("imaging_study")["resource_id"])
    assert data.table("imaging_study", fallen_out=True)["fell_out_at"].isna().all()


def test_refreshing_what_is_current_makes_no_version(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    data.refresh()
    before = versions(data)
    data.refresh()
    data.refresh([place(record)])
    assert data.table("imaging_study").shape[0]
    assert versions(data) == before


def test_one_patients_change_rewrites_that_patients_bucket_and_nothing_else(
    data: Dataset, darcy: Person, leroy: Person
) -> None:
    record = connect(data, darcy)
    other = connect(data, leroy)
    data.refresh()
    assert data.log.bucket(*place(record)) != data.log.bucket(*place(other))
    put(data, record, [version_of(darcy.study, description="seen again")])
    data.refresh([place(record)])
    written = {}
    for name, version in versions(data).items():
        entry = read_entry(data.path(name), version)
        assert entry.transactions == {"resources": data.log.version}
        written[name] = (len(entry.added), entry.removed)
        assert {file.partition["bucket"] for file in entry.added} <= {str(data.log.bucket(*place(record)))}
    touched = {"imaging_study", "imaging_series", "imaging_instance"}
    assert {name for name, counts in written.items() if counts != (0, 0)} == touched
    assert {written[name] for name in touched} == {(1, 1)}


def test_all_tables_show_one_version_of_the_log(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    put(data, data.connection(SOURCE, darcy.patient_id), [version_of(darcy.of("Patient")[0], active=True)])
    data.refresh()
    shown = {open_table(data.path(name)).transaction_version("resources") for name in packaged_views()}
    assert shown == {data.log.version}


def test_a_refresh_for_patients_who_are_current_leaves_the_others_for_later(
    data: Dataset, darcy: Person, leroy: Person
) -> None:
    record, other = connect(data, darcy), connect(data, leroy)
    data.refresh()
    before = versions(data)
    put(data, other, [version_of(leroy.study, note="again")])
    data.refresh([place(record)])
    assert versions(data) == before
    data.refresh([place(other), place(record)])
    assert all(after == before[name] + 1 for name, after in versions(data).items())


def test_tables_that_were_thrown_away_come_back_the_same(data: Dataset, darcy: Person, leroy: Person) -> None:
    record = connect(data, darcy, "S-7")
    data.refresh()
    connect(data, leroy)
    put(data, record, [version_of(darcy.study, description="seen again")])
    data.refresh()
    put(data, record, [tombstone_of(darcy.of("ExplanationOfBenefit")[0])])
    before = everything(data)
    shutil.rmtree(data.path() / "tables")
    after = everything(open_dataset(data.path()))
    assert all(before[name].equals(after[name], check_metadata=True) for name in before)
    assert (data.path() / "tables" / "README.md").is_file()


def test_tables_thrown_away_while_the_dataset_is_open_come_back_too(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    data.refresh()
    shutil.rmtree(data.path() / "tables")
    assert len(data.table("patient")) == 1


def test_a_table_of_an_earlier_catalogue_is_derived_anew(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    columns = table_schema(load_view("patient"))
    earlier = Layout(pa.schema([field for field in columns if field.name != "parse_issues"]))
    shown = {"resources": data.log.version}
    delta.create(data.path("patient"), earlier.stored, partition_by=("bucket",), transactions=shown)
    with Locks(data.path() / ".locks").alone("tables", busy="taken"):
        # It cannot be stored anew at this moment, so its rows are derived.
        assert len(data.table("patient")) == 1
    with pytest.warns(TableChanged, match=r"Table patient was derived anew.*new columns: parse_issues"):
        assert data.arrow("patient").column_names == columns.names


def test_every_as_of_is_the_state_of_that_version(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    data.refresh()
    then = everything(data)
    put(data, record, [tombstone_of(darcy.study), version_of(darcy.of("Patient")[0], gender="other")])
    assert "other" in set(data.table("patient")["gender"])
    for name, table in then.items():
        assert data.arrow(name, as_of=1, fallen_out=True).equals(table, check_metadata=True)
    assert data.table("imaging_study", as_of=0).empty
    assert data.table("patient", as_of=data.log.version).equals(data.table("patient"))


def test_tables_are_derived_anew_when_the_log_no_longer_tells_what_changed(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    data.refresh()
    put(data, record, [version_of(darcy.study, description="seen again")])
    lost = entry_path(data.log.path, data.log.version)
    open_table(data.log.path).create_checkpoint()
    lost.rename(lost.with_suffix(".kept"))
    assert data.table("imaging_study")["description"].to_list() == ["seen again"]


def test_an_unknown_table_is_refused_with_the_names_of_those_there_are(data: Dataset) -> None:
    with pytest.raises(NotInDataset, match=r"'studies'.*imaging_study"):
        data.table("studies")


def test_a_table_that_cannot_be_refreshed_now_is_shown_with_a_warning(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    data.refresh()
    put(data, record, [tombstone_of(darcy.study)])
    with (
        Locks(data.path() / ".locks").alone("tables", busy="taken"),
        pytest.warns(TableBehind, match="Another process is refreshing") as caught,
    ):
        assert darcy.study["id"] in set(data.table("imaging_study")["resource_id"])
    assert caught[0].filename == __file__
    assert darcy.study["id"] not in set(data.table("imaging_study")["resource_id"])


def test_a_table_that_was_never_stored_is_derived_when_it_cannot_be_stored_now(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    with Locks(data.path() / ".locks").alone("tables", busy="taken"):
        assert len(data.table("patient")) == 1


def test_odd_ids_are_ids(data: Dataset, darcy: Person) -> None:
    odd = "o'brien\\ 100%"
    record = data.connection(SOURCE, odd)
    for note in ("first", "second"):
        put(data, record, [version_of(darcy.study, id="a'b", description=note)])
        assert data.table("imaging_study")[["patient_id", "resource_id", "description"]].to_numpy().tolist() == [
            [odd, "a'b", note]
        ]


def test_stored_columns_besides_the_views_are_explained_beside_the_tables(data: Dataset) -> None:
    data.refresh()
    page = Path(data.path() / "tables" / "README.md").read_text()
    beside = {field.name for field in open_table(data.path("patient")).schema().fields} - set(
        table_schema(load_view("patient")).names
    )
    assert all(f"`{name}`" in page for name in beside)
    assert beside == {"fell_out_at", "bucket", "row_number"}


def test_other_engines_find_decimals_instants_and_lists_as_delta_types(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    data.refresh()
    schema = json.loads(open_table(data.path("eob_item")).schema().to_json())
    kinds = {field["name"]: field["type"] for field in schema["fields"]}
    assert kinds["last_updated"] == "timestamp"
    assert "decimal(38,18)" in kinds.values()
    assert kinds["parse_issues"]["type"] == "array"
