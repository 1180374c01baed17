"""Views of one's own as tables of a dataset: filled from the log, kept, refreshed, replaced and removed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.errors import NotInDataset, S4SWarning, TableBehind, UsageError, ViewError
from s4s_lab.explore import export
from s4s_lab.lake import Dataset, ResourceVersion, open_dataset
from tests.unit.lake.records import NOON, SOURCE, Person, connect, place, put, tombstone_of, version_of

HEAD = ["source", "participant_id", "patient_id", "resource_id", "version_id", "last_updated"]


def view(name: str = "sexes", path: str = "gender", resource: str = "Patient", **more: Any) -> dict[str, Any]:
    column = {"name": "sex", "path": path, "type": "code", "description": "as the record has it"} | more
    return {"name": name, "resource": resource, "select": [{"column": [column]}]}


def test_a_view_becomes_a_table_filled_from_the_log(data: Dataset, darcy: Person, leroy: Person) -> None:
    connect(data, darcy, "S-7")
    connect(data, leroy)
    before = data.log.version
    assert data.add_view(view()) == "sexes"
    table = data.table("sexes")
    assert list(table.columns) == [*HEAD, "sex", "parse_issues"]
    expected = {person.patient_id: person.of("Patient")[0]["gender"] for person in (darcy, leroy)}
    assert dict(zip(table["patient_id"], table["sex"], strict=True)) == expected
    assert set(table["participant_id"].dropna()) == {"S-7"}
    assert data.log.version == before


def test_it_is_listed_explained_exported_and_survives_reopening(data: Dataset, darcy: Person, tmp_path: Path) -> None:
    connect(data, darcy)
    data.add_view(view())
    again = open_dataset(data.path())
    listed = {row["name"]: row for row in again.tables().to_pylist()}["sexes"]
    assert (listed["rows"], listed["path"]) == (1, str(data.path() / "tables" / "sexes"))
    said = again.dictionary("sexes").set_index("column").loc["sex"]
    assert (said["meaning"], said["fhir_r4"]) == ("as the record has it", "gender")
    assert "sexes" in set(export(again, tmp_path / "out")["table"])
    assert (tmp_path / "out" / "sexes.parquet").is_file()
    assert json.loads((data.path() / "views" / "sexes.json").read_text())["select"] == view()["select"]


def test_a_file_is_named_by_its_name_when_the_view_has_none(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "by_file.json"
    nameless = view()
    del nameless["name"]
    path.write_text("\ufeff" + json.dumps(nameless), encoding="utf-8")
    assert data.add_view(str(path)) == "by_file"
    assert data.table("by_file").empty


def test_it_is_refreshed_with_the_others_and_shown_as_it_was(data: Dataset, darcy: Person, leroy: Person) -> None:
    record = connect(data, darcy)
    connect(data, leroy)
    data.add_view(view())
    then = data.log.version
    patient = darcy.of("Patient")[0]
    put(data, record, [version_of(patient, gender="other")])
    data.refresh([place(record)])
    assert "other" in set(data.table("sexes")["sex"])
    assert "other" not in set(data.table("sexes", as_of=then)["sex"])
    put(data, record, [tombstone_of(patient)], received_at=NOON + timedelta(days=1))
    assert len(data.table("sexes")) == 1
    assert len(data.table("sexes", fallen_out=True)) == 2


def test_a_type_that_the_catalogue_lacks_can_have_a_table(data: Dataset) -> None:
    record = data.connection(SOURCE, "p", "S-1")
    observation = {"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p"}, "status": "final"}
    raw = json.dumps(observation)
    put(data, record, [ResourceVersion("Observation", "o", None, None, "h", raw, "r4")])
    data.add_view(view("observations", "status", "Observation"))
    rows = data.table("observations")[["participant_id", "patient_id", "resource_id", "sex"]].to_numpy().tolist()
    assert rows == [["S-1", "p", "o", "final"]]


def test_a_view_over_what_no_pull_brings_says_that_its_table_stays_empty(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    with pytest.warns(S4SWarning, match="Table heights stays empty: no pull brings Observation, only Coverage"):
        assert data.add_view(view("heights", "status", "Observation")) == "heights"
    assert data.table("heights").empty


@pytest.mark.parametrize("name", ["imaging_study", "Patient", "DICOM_INSTANCE", "Eob_Item"])
def test_the_names_of_packaged_tables_are_taken(data: Dataset, name: str) -> None:
    with pytest.raises(ViewError, match=r"name: there is a table .* already"):
        data.add_view(view(name), replace=True)


@pytest.mark.parametrize("name", ["../x", "a b", "1st", "a" * 64, "a.b", "é", "_delta_log"])
def test_a_name_that_cannot_be_a_folder_everywhere_is_refused(data: Dataset, name: str) -> None:
    with pytest.raises(ViewError, match=r"name: .* cannot be a table's"):
        data.add_view(view(name))
    assert not (data.path() / "views").exists()


def test_what_is_wrong_with_a_view_is_named_by_its_element(data: Dataset) -> None:
    with pytest.raises(UsageError, match=r"sexes: select\[0\]\.column\[0\]\.path: .*nonsense"):
        data.add_view(view(path="gender.nonsense()"))
    with pytest.raises(NotInDataset, match="'sexes'"):
        data.table("sexes")


def test_a_view_is_replaced_only_by_an_explicit_word(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    data.add_view(view())
    with pytest.raises(ViewError, match="replace=True"):
        data.add_view(view(path="birthDate"))
    assert set(data.table("sexes")["sex"]) == {darcy.of("Patient")[0]["gender"]}
    data.add_view(view(path="birthDate", name="sexes", type="date"), replace=True)
    assert [str(one) for one in data.table("sexes")["sex"]] == [darcy.of("Patient")[0]["birthDate"]]


def test_a_removed_view_is_gone_with_its_table_and_the_log_keeps_everything(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    data.add_view(view())
    version = data.log.version
    data.remove_view("sexes")
    assert not (data.path() / "tables" / "sexes").exists()
    assert "sexes" not in data.tables()["name"].to_pylist()
    assert data.log.version == version
    for name in ("sexes", "patient"):
        with pytest.raises(NotInDataset, match="no view of your own"):
            data.remove_view(name)
    data.add_view(view(path="id"))
    assert data.table("sexes")["sex"].to_list() == [darcy.patient_id]


def test_columns_that_every_table_has_get_another_name_with_a_warning(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    own = view() | {"select": [{"column": [{"name": "patient_id", "path": "gender"}], "select": [
        {"unionAll": [{"column": [{"name": "Bucket", "path": "id"}]}]}]}]}  # fmt: skip
    with pytest.warns(S4SWarning, match="patient_id is view_patient_id, Bucket is view_Bucket") as caught:
        data.add_view(own)
    assert caught[0].filename == __file__
    row = data.table("sexes").iloc[0]
    assert (row["patient_id"], row["view_patient_id"]) == (darcy.patient_id, darcy.of("Patient")[0]["gender"])
    assert row["view_Bucket"] == darcy.patient_id


def test_several_values_for_one_cell_are_told_and_stop_nothing(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    data.add_view(view(path="gender | birthDate | id", name="many"))
    (row,) = data.arrow("many").to_pylist()
    assert (row["sex"], row["parse_issues"]) == (None, ["sex: 3 values where one is due"])


def test_a_view_that_cannot_run_over_what_comes_later_stops_no_other(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    data.add_view(view() | {"where": [{"path": "active"}]})
    patient = darcy.of("Patient")[0]
    put(data, record, [version_of(patient, active="perhaps", gender="other")])
    with pytest.warns(TableBehind, match=r"sexes does not show the newest: .*where\[0\]\.path must give true or false"):
        data.refresh()
    assert data.table("patient")["gender"].to_list() == ["other"]
    put(data, record, [version_of(patient, active=True, gender="female")])
    assert data.table("sexes")["sex"].to_list() == ["female"]


def test_a_view_that_cannot_run_over_what_is_there_is_not_added(data: Dataset, darcy: Person) -> None:
    record = connect(data, darcy)
    put(data, record, [version_of(darcy.of("Patient")[0], active="perhaps")])
    with pytest.raises(ViewError, match=r"where\[0\]\.path"):
        data.add_view(view() | {"where": [{"path": "active"}]})
    assert not list(data.path().glob("views/*.json"))


def test_a_file_that_was_damaged_is_named_and_the_other_tables_are_read(data: Dataset, darcy: Person) -> None:
    connect(data, darcy)
    data.add_view(view())
    (data.path() / "views" / "sexes.json").write_text("{")
    with pytest.warns(S4SWarning, match=r"sexes\.json is left out: .*no JSON"):
        assert "sexes" not in data.tables()["name"].to_pylist()
    with pytest.raises(ViewError, match="no JSON"):
        data.table("sexes")
