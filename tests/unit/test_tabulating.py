"""Files and resources to DataFrames: every form a file can have, and all real files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s4s_lab.errors import NotFhir, UsageError, ViewError
from s4s_lab.explore import tabulating
from s4s_lab.explore.tabulating import tabulate, tabulate_many, tabulate_to
from s4s_lab.views import Document, load_view, packaged_views, run_views, table_schema
from s4s_lab.views.projected import running

HEAD_TABLES = {
    "imaging_study": "ImagingStudy",
    "imaging_endpoint": "Endpoint",
    "explanation_of_benefit": "ExplanationOfBenefit",
    "patient": "Patient",
    "coverage": "Coverage",
    "diagnostic_report": "DiagnosticReport",
}


def study(resource_id: str, **elements: Any) -> dict[str, Any]:
    return {"resourceType": "ImagingStudy", "id": resource_id} | elements


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


def write(path: Path, *documents: Any, indent: int | None = None) -> Path:
    path.write_text("\n".join(json.dumps(one, indent=indent) for one in documents), encoding="utf-8")
    return path


def ids(source: Any) -> list[str]:
    return [str(one) for one in tabulate(source, "imaging_study")["resource_id"]]


def test_the_table_is_a_frame_backed_by_arrow_with_the_columns_of_the_view() -> None:
    frame = tabulate([study("0012", uid="urn:oid:1.2", started="9999-12-31T00:00:00Z")], "imaging_study")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == table_schema(load_view("imaging_study")).names
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert (frame["resource_id"][0], frame["started"][0].year) == ("0012", 9999)
    assert frame["source"].isna().all()


def test_nothing_to_tabulate_gives_the_same_columns() -> None:
    frame = tabulate([], "imaging_study")
    assert len(frame) == 0
    assert list(frame.columns) == table_schema(load_view("imaging_study")).names


def test_resources_bundles_and_bundles_in_bundles_give_one_row_each() -> None:
    nested = bundle(study("b"), bundle(study("c"), {"resourceType": "Patient"}), study("d"))
    assert ids([study("a"), nested, {"resourceType": "Observation"}]) == ["a", "b", "c", "d"]
    assert ids(nested) == ["b", "c", "d"]


def test_contained_resources_and_entries_without_a_resource_give_no_row() -> None:
    holder = study("a", contained=[study("inner")])
    odd = bundle(holder, None, "text", {})
    odd["entry"] += [None, "text", {"fullUrl": "x"}, {"resource": {"id": "no type"}}]
    assert ids([odd, {"resourceType": "Bundle"}, {"resourceType": "Bundle", "entry": {"resource": study("b")}}]) == [
        "a",
        "b",
    ]


def test_a_bundle_in_thousands_of_bundles_is_followed_to_the_end() -> None:
    deep: Any = study("a")
    for _ in range(3000):
        deep = bundle(deep)
    assert ids([deep]) == ["a"]


def test_references_by_urn_uuid_are_followed_through_full_url_of_their_own_bundle() -> None:
    patient = {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "p"}}
    inner = {"resourceType": "Bundle", "entry": [{"resource": study("b", subject={"reference": "urn:uuid:1"})}]}
    asks = study("a", patient={"reference": "urn:uuid:1"})
    outer = {"resourceType": "Bundle", "entry": [{"resource": asks}, patient, {"resource": inner}]}
    other = bundle(study("c", patient={"reference": "urn:uuid:1"}))
    frame = tabulate([outer, other], "imaging_study")
    assert frame["patient_id"].fillna("none").tolist() == ["p", "p", "none"]
    assert "patient_id: 'urn:uuid:1' leads to no resource" in frame["parse_issues"][2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one.json", '{"resourceType": "ImagingStudy", "id": "a"}'),
        ("pretty.json", json.dumps(study("a"), indent=2)),
        ("bom.json", "\ufeff" + json.dumps(study("a"))),
        ("blank-lines.json", "\n\n  \n" + json.dumps(study("a")) + "\n\n"),
        ("bundle.ndjson", json.dumps(bundle(study("a")), indent=1)),
        ("lines.json", json.dumps({"resourceType": "Patient"}) + "\r\n\r\n" + json.dumps(study("a"))),
        ("José 日本.json", json.dumps(study("a"))),
        ("a[1].json", json.dumps(study("a"))),
    ],
)
def test_a_file_is_read_whatever_its_name_and_layout(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert ids(path) == ids(str(path)) == ids([path, study("b")])[:1] == ["a"]


def test_ndjson_gives_a_row_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "studies.ndjson", *(study(str(number)) for number in range(100)))
    assert ids(path) == [str(number) for number in range(100)]


def test_a_pattern_reaches_into_folders_in_a_stable_order(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.json", "deep/a.json", "deep/er/c.json", "other.txt"):
        write(tmp_path / name, study(name))
    assert ids(f"{tmp_path}/**/*.json") == ["b.json", "deep/a.json", "deep/er/c.json"]
    assert ids([f"{tmp_path}/*.json", tmp_path / "other.txt"]) == ["b.json", "other.txt"]


@pytest.mark.parametrize("name", ["absent.json", "*.json", "**/nothing-*"])
def test_what_matches_no_file_is_wrong_usage(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="No file matches"):
        tabulate(str(tmp_path / name), "imaging_study")


def test_a_folder_and_a_thing_that_is_no_source_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder.*\*\*"):
        tabulate(tmp_path, "imaging_study")
    with pytest.raises(UsageError, match="not int"):
        tabulate(5, "imaging_study")  # type: ignore[arg-type]  # what a user may pass all the same


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>no</html>", "is no JSON"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"{}", "resourceType is missing"),
        (b"[]", "a JSON object is due"),
        (b'"text"', "a JSON object is due"),
        (b'{"resourceType": 5}', "resourceType is missing"),
        (b'{"resourceType": "ImagingStudy"', "is no JSON"),
        (b'{"resourceType": "ImagingStudy"}\n{"resourceType": ', r"line 2, is no JSON"),
        (b'\n{"resourceType": "ImagingStudy"}\n\n[1]', r"line 4, holds no FHIR resource"),
        (b"\xff\xfe{\x00}\x00", "is no JSON"),
        (b'{"resourceType": "ImagingStudy", "id": "\xff"}', "is no JSON"),
        (b'{"resourceType": "ImagingStudy", "series": ' + b"[" * 100_000, "is no JSON"),
    ],
)
def test_a_broken_file_among_good_ones_is_named_and_nothing_is_returned(
    tmp_path: Path, content: bytes, said: str
) -> None:
    write(tmp_path / "a.json", study("a"))
    write(tmp_path / "z.json", study("z"))
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(NotFhir, match=rf"broken\.json.*{said}"):
        tabulate(f"{tmp_path}/*.json", "imaging_study")


def test_something_in_a_list_that_is_no_resource_is_named_by_its_position() -> None:
    with pytest.raises(NotFhir, match="Resource 1 holds no FHIR resource"):
        tabulate([study("a"), {"id": "b"}], "imaging_study")
    with pytest.raises(NotFhir, match="Resource 0 holds no FHIR resource"):
        tabulate([5], "imaging_study")  # type: ignore[list-item]  # what a user may pass all the same


def test_the_views_are_checked_before_a_file_is_opened() -> None:
    with pytest.raises(ViewError, match="nothing"):
        tabulate("/no/such/file.json", "nothing")


def test_an_own_view_and_packaged_ones_share_one_pass(tmp_path: Path) -> None:
    own = {"name": "mine", "resource": "ImagingStudy", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    once = iter([study("a", series=[{}, {}]), study("b")])
    tables = tabulate_many(once, ["imaging_study", own, "imaging_series"])
    assert {name: table.num_rows for name, table in tables.items()} == {
        "imaging_study": 2,
        "mine": 2,
        "imaging_series": 2,
    }


def resources_of(value: Any) -> Iterator[dict[str, Any]]:
    """Count independently: a resource, or those of a Bundle's entries at any depth."""
    if value["resourceType"] != "Bundle":
        yield value
    for entry in value.get("entry", ()):
        if "resource" in entry:
            yield from resources_of(entry["resource"])


@pytest.fixture(scope="module")
def real_resources(test_data: Path) -> list[dict[str, Any]]:
    paths = sorted((test_data / "fhir").rglob("*.json"))
    assert len(paths) == 238
    return [one for path in paths for one in resources_of(json.loads(path.read_bytes()))]


@pytest.fixture(scope="module")
def real_tables(test_data: Path) -> dict[str, pa.Table]:
    return tabulate_many(f"{test_data}/fhir/**/*.json", packaged_views())


@pytest.mark.parametrize("name", HEAD_TABLES)
def test_every_real_resource_becomes_exactly_one_row(
    name: str, real_tables: dict[str, pa.Table], real_resources: list[dict[str, Any]]
) -> None:
    expected = Counter(one.get("id") for one in real_resources if one["resourceType"] == HEAD_TABLES[name])
    without_id = expected.pop(None, 0)
    found = Counter(real_tables[name]["resource_id"].to_pylist())
    assert found.total() == expected.total() + without_id
    assert expected - found == Counter()
    assert all(real_tables[name]["resource_id"].to_pylist())


def elements(resources: list[dict[str, Any]], resource_type: str, *steps: str) -> int:
    """Count the elements at a path, with nothing but dicts and lists."""
    level: list[Any] = [one for one in resources if one["resourceType"] == resource_type]
    for step in steps:
        level = [below for one in level for below in one.get(step, ())]
    return len(level)


@pytest.mark.parametrize(
    ("name", "resource_type", "steps"),
    [
        ("imaging_series", "ImagingStudy", ["series"]),
        ("imaging_instance", "ImagingStudy", ["series", "instance"]),
        ("eob_item", "ExplanationOfBenefit", ["item"]),
        ("eob_diagnosis", "ExplanationOfBenefit", ["diagnosis"]),
        ("eob_procedure", "ExplanationOfBenefit", ["procedure"]),
        ("eob_care_team", "ExplanationOfBenefit", ["careTeam"]),
    ],
)
def test_every_real_element_becomes_exactly_one_row(
    name: str, resource_type: str, steps: list[str], real_tables: dict[str, pa.Table], real_resources: Any
) -> None:
    assert real_tables[name].num_rows == elements(real_resources, resource_type, *steps) > 0


def test_every_real_adjudication_and_total_becomes_one_row(
    real_tables: dict[str, pa.Table], real_resources: list[dict[str, Any]]
) -> None:
    eob = "ExplanationOfBenefit"
    places = [("item", "adjudication"), ("item", "detail", "adjudication"), ("adjudication",)]
    assert real_tables["eob_adjudication"].num_rows == sum(elements(real_resources, eob, *one) for one in places)
    claims = [one for one in real_resources if one["resourceType"] == eob]
    single = sum(name in claim for claim in claims for name in ("totalCost", "unallocDeductable", "totalBenefit"))
    assert real_tables["eob_total"].num_rows == single + elements(real_resources, eob, "total") > 0


def test_the_only_issues_of_real_files_are_blanked_dates_and_studies_without_endpoint(
    real_tables: dict[str, pa.Table],
) -> None:
    issues = Counter(
        issue for table in real_tables.values() for said in table["parse_issues"].to_pylist() for issue in said
    )
    assert set(issues) == {
        "last_updated: 'IGNORED_FIELD' is no instant",
        "created: 'IGNORED_FIELD' is no dateTime",
        "not retrievable: no endpoint",
    }
    assert issues["not retrievable: no endpoint"] == 61


def test_no_amount_of_a_real_claim_changes_its_value(real_tables: dict[str, pa.Table], test_data: Path) -> None:
    texts = [
        json.loads(path.read_bytes(), parse_float=str, parse_int=str) for path in test_data.rglob("fhir/**/*.json")
    ]
    claims = [one for text in texts for one in resources_of(text) if one["resourceType"] == "ExplanationOfBenefit"]
    paid = [claim["payment"]["amount"]["value"] for claim in claims if "amount" in claim.get("payment", {})]
    found = real_tables["explanation_of_benefit"]["payment_amount"].drop_null().to_pylist()
    assert len(paid) > 500
    assert Counter(found) == Counter(map(Decimal, paid))


def keyed(test_data: Path, folder: str, view: str, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    table = tabulate_many(f"{test_data}/fhir/{folder}/**/*.json", [view])[view]
    return {tuple(row[name] for name in key): row for row in table.to_pylist()}


SAME = {
    "imaging_study": ("study_uid", "patient_id started started_text modalities number_of_series number_of_instances "
                      "parse_issues"),
    "imaging_series": ("series_uid", "study_uid number modality body_site body_site_display started_text"),
    "imaging_instance": ("series_uid instance_uid", "study_uid number sop_class title"),
    "patient": ("resource_id", "patient_id gender birth_date deceased deceased_date_time deceased_date_time_text"),
}  # fmt: skip


@pytest.mark.parametrize("view", SAME)
@pytest.mark.parametrize(("version", "patients"), [("r4", 5), ("dstu2", 2)])
def test_the_same_synthetic_patients_give_the_same_rows_in_every_version(
    view: str, version: str, patients: int, test_data: Path
) -> None:
    key, columns = (names.split() for names in SAME[view])
    stu3 = keyed(test_data, "stu3/smart-bulk-synthea", view, *key)
    other = keyed(test_data, f"{version}/smart-bulk-synthea", view, *key)
    assert len(other) >= patients
    assert other.keys() <= stu3.keys()
    for one, row in other.items():
        assert {name: row[name] for name in columns} == {name: stu3[one][name] for name in columns}


CLAIM_COLUMNS = (
    "patient_id status billable_period_start billable_period_end payment_amount payment_currency payment_date "
    "total_cost total_benefit facility_reference disposition"
)


def test_the_same_claims_of_cms_give_the_same_money_and_dates_in_both_versions(test_data: Path) -> None:
    old = keyed(test_data, "stu3/cms-bfd-v1", "explanation_of_benefit", "resource_id")
    new = keyed(test_data, "r4/cms-bfd-v2", "explanation_of_benefit", "resource_id")
    assert len(old.keys() & new.keys()) == 9
    for one in old.keys() & new.keys():
        for name in CLAIM_COLUMNS.split():
            assert old[one][name] == new[one][name], (one, name)
    inpatient = old[("inpatient-333333222222",)]
    assert (str(inpatient["total_cost"]), str(inpatient["payment_amount"])) == (
        "84999.370000000000000000",
        "7699.480000000000000000",
    )


def test_files_appear_whole_private_and_with_the_rows_that_a_table_has(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", bundle(*(study(f"s{i}", uid=f"urn:oid:1.2.{i}") for i in range(300))))
    target = tmp_path / "new" / "t.parquet"
    assert tabulate_to([source], ["imaging_study"], {"imaging_study": target}) == {"imaging_study": 300}
    assert target.stat().st_mode & 0o777 == 0o600
    file = pq.ParquetFile(target)
    assert file.read().equals(tabulate_many([source], ["imaging_study"])["imaging_study"])
    columns = {file.metadata.row_group(0).column(i).path_in_schema: i for i in range(file.metadata.num_columns)}
    used = {name: file.metadata.row_group(0).column(i).has_dictionary_page for name, i in columns.items()}
    assert not used["study_uid"]
    assert used["source"]
    told = {name for name, i in columns.items() if file.metadata.row_group(0).column(i).is_stats_set}
    assert "number_of_series" in told
    assert not {"study_uid", "source"} & told
    assert [one.name for one in target.parent.iterdir()] == ["t.parquet"]


def test_a_bad_file_leaves_no_file_and_views_without_rows_get_one(tmp_path: Path) -> None:
    good = write(tmp_path / "a.json", study("s"))
    bad = tmp_path / "b.json"
    bad.write_text("{", encoding="utf-8")
    paths = {name: tmp_path / "out" / f"{name}.parquet" for name in ("imaging_study", "patient")}
    with pytest.raises(NotFhir, match=r"b\.json"):
        tabulate_to([good, bad], list(paths), paths)
    assert not list(tmp_path.glob("out/*"))
    assert tabulate_to([good], list(paths), paths) == {"imaging_study": 1, "patient": 0}
    assert pq.read_table(paths["patient"]).schema.equals(table_schema(load_view("patient")))


def test_rows_that_wait_for_their_row_group_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tabulating, "_GROUP_BYTES", 1)
    monkeypatch.setattr(running, "_BATCH_BYTES", 1)
    files = [write(tmp_path / f"{name}.json", study(name, uid="urn:oid:1.2", description="ä")) for name in "abc"]
    target = tmp_path / "studies.parquet"
    assert tabulate_to(files, ["imaging_study"], {"imaging_study": target}) == {"imaging_study": 3}
    assert pq.ParquetFile(target).num_row_groups == 3
    assert pq.read_table(target).select(["resource_id", "study_uid", "description"]).to_pylist() == [
        {"resource_id": name, "study_uid": "1.2", "description": "ä"} for name in "abc"
    ]


def test_one_odd_resource_of_a_bundle_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    general = running._OfType._general

    def counted(self: Any, waiting: Any, place: int, builders: Any) -> None:
        read.append(place)
        general(self, waiting, place, builders)

    monkeypatch.setattr(running._OfType, "_general", counted)
    pages = bundle(study("a", description="x"), study("b", description=5), study("c", description="y"))
    document = Document(json.dumps(pages).encode(), "page")
    table = run_views([load_view("imaging_study")], [document])["imaging_study"]
    assert read == [1]
    assert table.column("resource_id").to_pylist() == ["a", "b", "c"]
    assert table.column("description").to_pylist() == ["x", None, "y"]
