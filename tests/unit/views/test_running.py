"""Running views: provenance, several views at once, own views, chunks."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from s4s_lab.errors import NotFhir, ParseIssues, UsageError, ViewError
from s4s_lab.views import Provenance, Subject, decode, load_view, packaged_views, run_views, table_schema
from s4s_lab.views.building import TableBuilder
from s4s_lab.views.fhirpath import Scope

Tabulated = Callable[..., list[dict[str, Any]]]
STUDY = b"""{"resourceType": "ImagingStudy", "id": "007", "uid": "urn:oid:1.2", "patient": {"reference": "urn:uuid:p"},
             "meta": {"versionId": "1", "lastUpdated": "2016-04-16T10:00:00.123456-05:00"}}"""
PATIENTS = [{"resourceType": "Patient", "id": f"p{number}", "active": True} for number in range(3)]


def own(*columns: dict[str, Any], **elements: Any) -> dict[str, Any]:
    return {"resource": "Patient", "select": [{"column": list(columns)}]} | elements


def test_a_row_says_where_it_came_from() -> None:
    view = load_view("imaging_study")
    provenance = Provenance("https://ehr/fhir", "P-001", None, None)
    subject = Subject(STUDY, provenance, {"urn:uuid:p": "Patient/42"})
    (row,) = run_views([view], [subject])["imaging_study"].to_pylist()
    assert (row["source"], row["participant_id"], row["patient_id"]) == ("https://ehr/fhir", "P-001", "42")
    assert (row["resource_id"], row["version_id"]) == ("007", "1")
    assert row["last_updated"] == datetime(2016, 4, 16, 15, 0, 0, 123000, UTC)
    assert row["patient_reference"] == "urn:uuid:p"


def test_the_patient_who_was_asked_for_goes_before_what_the_resource_says() -> None:
    view = load_view("imaging_study")
    (row,) = run_views([view], [Subject(STUDY, Provenance(patient_id="9"))])["imaging_study"].to_pylist()
    assert (row["patient_id"], row["parse_issues"]) == ("9", ["not retrievable: no endpoint"])


def test_resources_are_taken_as_bytes_text_and_dicts_and_others_are_skipped() -> None:
    views = [load_view("imaging_study"), load_view("patient")]
    raws: list[Any] = [STUDY, STUDY.decode(), decode(STUDY), PATIENTS[0], {"resourceType": "Observation"}, {}, b"[1]"]
    tables = run_views(views, (Subject(raw) for raw in raws))
    assert {name: table.num_rows for name, table in tables.items()} == {"imaging_study": 3, "patient": 1}
    assert len({str(row) for row in tables["imaging_study"].to_pylist()}) == 1


def test_all_packaged_views_run_together_in_the_order_they_were_given() -> None:
    views = [load_view(name) for name in reversed(packaged_views())]
    tables = run_views(views, [Subject(STUDY)])
    assert list(tables) == [view.name for view in views]
    assert all(tables[view.name].schema.equals(table_schema(view)) for view in views)


def test_text_that_is_no_json_is_refused_with_its_position() -> None:
    with pytest.raises(NotFhir, match="Resource 1 is no JSON"):
        run_views([load_view("patient")], [Subject(b"{}"), Subject(b"<html>")])


@pytest.mark.parametrize("text", [b"NaN", b'"\xff"', b"[" * 100_000, b"", b"[" + b"1" * 5000 + b", NaN]"])
def test_json_that_cannot_be_decoded_is_an_error_of_ours(text: bytes) -> None:
    with pytest.raises(NotFhir, match="The text is no JSON"):
        decode(text)


def test_decimals_are_decoded_as_written() -> None:
    assert str(decode(b"0.10")) == "0.10"
    assert decode(b"1.5e99999999999999999999") == Decimal("Infinity")
    assert decode(b'{"a": [0.10, ' + b"1" * 5000 + b"]}") == {"a": [Decimal("0.10"), Decimal("Infinity")]}


def test_two_views_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="Two views are named 'patient'"):
        run_views([load_view("patient"), load_view(own({"name": "a", "path": "id"}, name="patient"))], [])


def test_an_own_view_gives_exactly_its_columns(tabulated: Tabulated) -> None:
    assert tabulated(own({"name": "id", "path": "id"}, {"name": "active", "path": "active"}), *PATIENTS[:1]) == [
        {"id": "p0", "active": "true"}
    ]


def test_a_choice_element_is_found_without_its_type_being_named(tabulated: Tabulated) -> None:
    patients = [{"resourceType": "Patient", "deceasedBoolean": True}, {"resourceType": "Patient", "deceasedness": 1}]
    assert tabulated(own({"name": "deceased", "path": "deceased"}), *patients) == [
        {"deceased": "true"},
        {"deceased": None},
    ]


def test_resources_without_rows_take_no_memory() -> None:
    view = load_view("imaging_series")
    builder = TableBuilder(view)
    for _ in range(5):
        builder.take({"resourceType": "ImagingStudy"}, Scope("s", {}), "stu3", (None,) * 7)
    assert builder.heads == []
    assert builder.drained() == []


def test_an_own_view_keeps_objects_as_json_where_no_type_is_declared(tabulated: Tabulated) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Ä", "given": ["x"]}]}
    assert tabulated(own({"name": "name", "path": "name"}), patient) == [{"name": '{"family":"Ä","given":["x"]}'}]


def test_an_own_view_warns_of_values_that_fit_no_cell() -> None:
    view = load_view(own({"name": "born", "path": "birthDate", "type": "integer"}, name="people"))
    patients: list[dict[str, Any]] = [{"resourceType": "Patient", "birthDate": born} for born in ("1970", 1970)]
    with pytest.warns(ParseIssues, match=r"people: .*\(1 times\): born: '1970' is no integer"):
        table = run_views([view], [Subject(patient) for patient in patients])["people"]
    assert table.to_pylist() == [{"born": None}, {"born": 1970}]


def test_a_packaged_view_never_warns_since_its_table_says_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_views([load_view("patient")], [Subject({"resourceType": "Patient", "birthDate": 5})])


def test_an_own_view_that_finds_several_values_for_a_cell_is_refused(tabulated: Tabulated) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "a"}, {"family": "b"}]}
    with pytest.raises(ViewError, match=r"select\[0\]\.column\[0\]\.path gives 2 values .*first\(\)"):
        tabulated(own({"name": "family", "path": "name.family"}), patient)
    with pytest.raises(ViewError, match=r"column\[0\]\.path: < needs one value and finds 2"):
        tabulated(own({"name": "family", "path": "name.family < 'c'"}), patient)
    with pytest.raises(ViewError, match=r"where\[0\]\.path must give true or false"):
        tabulated(own({"name": "id", "path": "id"}, where=[{"path": "name.family.first()"}]), patient)
    each = {"forEach": "name.family < 'c'", "column": [{"name": "a", "path": "$this"}]}
    with pytest.raises(ViewError, match=r"select\[0\]\.forEach: < needs one value"):
        tabulated({"resource": "Patient", "select": [each]}, patient)


def test_rows_beyond_one_chunk_keep_their_order_and_their_issues() -> None:
    view = load_view("imaging_instance")
    instances = [{"uid": f"1.{number}", "number": number if number % 7 else "odd"} for number in range(15_000)]
    resources: list[dict[str, Any]] = [
        {"resourceType": "ImagingStudy", "id": str(number), "series": [{"uid": "1.0", "instance": instances}]}
        for number in range(3)
    ]
    resources.insert(1, {"resourceType": "ImagingStudy"})
    table = run_views([view], [Subject(resource) for resource in resources])[view.name]
    assert table.num_rows == 45_000
    assert table["instance_uid"].num_chunks == 2
    assert table["resource_id"].to_pylist() == [str(row // 15_000) for row in range(45_000)]
    numbers = table["number"].to_pylist()
    issues = table["parse_issues"].to_pylist()
    for row, (number, said) in enumerate(zip(numbers, issues, strict=True)):
        position = row % 15_000
        assert number == (position if position % 7 else None)
        assert said == ([] if position % 7 else ["number: 'odd' is no unsignedInt"])


def test_a_view_is_loaded_by_name_path_dict_or_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    file.write_bytes(b'\xef\xbb\xbf{"resource": "Patient", "select": [{"column": [{"name": "a", "path": "id"}]}]}')
    loaded = load_view(file)
    assert (loaded.name, loaded.resource_type, loaded.packaged) == ("people", "Patient", False)
    assert load_view(str(file)).columns == loaded.columns
    assert load_view(loaded) is loaded
    assert load_view("patient").packaged
    assert load_view("patient") is load_view("patient")
    assert load_view(own({"name": "a", "path": "id"})).name == "Patient"


@pytest.mark.parametrize(
    ("content", "said"),
    [("nothing here", "it is no JSON"), ("[1]", "a JSON object is due"), ("{}", "resource is missing")],
)
def test_a_file_that_is_no_view_is_refused_by_its_name(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(ViewError, match=rf"odd\.json.*{said}"):
        load_view(tmp_path / "odd.json")


def test_an_unknown_view_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(ViewError, match=r"no view and no file 'imaging_studies'.*imaging_study"):
        load_view("imaging_studies")
    with pytest.raises(ViewError, match="cannot be read"):
        load_view(tmp_path / "absent.json")


def test_an_own_view_documents_the_versions_it_is_for() -> None:
    column = {"name": "a", "path": "gender", "description": "who", "tag": [{"name": "s4s/unit", "value": "1"}]}
    (both,) = load_view(own(column)).columns
    (r4,) = load_view(own(column, fhirVersion=["4.0.1"])).columns
    assert both.paths == {"stu3": "gender", "r4": "gender"}
    assert r4.paths == {"r4": "gender"}
    assert (r4.meaning, r4.unit, r4.type) == ("who", "1", None)


@pytest.mark.parametrize("name", packaged_views())
def test_a_resource_nested_as_deep_as_json_is_read_gives_its_rows_all_the_same(name: str) -> None:
    view = load_view(name)
    for member in ("type", "item", "series", "identifier", "modality", "adjudication", "extension"):
        text = f'{{"resourceType": "{view.resource_type}", "{member}": ' + '{"coding": [' * 400 + "]}" * 400 + "}"
        rows = run_views([view], [Subject(text)])[name].to_pylist()
        assert all(row["resource_id"].startswith("sha256-") for row in rows)
        assert len(rows) <= 1


def test_instants_of_an_own_view_are_moments_and_date_times_stay_text(tabulated: Tabulated) -> None:
    patient = {"resourceType": "Patient", "meta": {"lastUpdated": "2016-04-16T10:00:00.1-05:00"}, "birthDate": "1970"}
    columns: list[dict[str, Any]] = [
        {"name": "at", "path": "meta.lastUpdated", "type": "instant"},
        {"name": "as_sent", "path": "meta.lastUpdated", "type": "dateTime"},
        {"name": "born", "path": "birthDate", "type": "date"},
        {"name": "first_day", "path": "birthDate", "type": "date", "tag": [{"name": "ansi/type", "value": "DATE"}]},
    ]
    (row,) = tabulated(own(*columns), patient)
    assert row["at"] == datetime(2016, 4, 16, 15, 0, 0, 100000, UTC)
    assert (row["as_sent"], row["born"]) == ("2016-04-16T10:00:00.1-05:00", "1970")
    assert row["first_day"] == date(1970, 1, 1)


@pytest.mark.parametrize("view", ["eob_item", own({"name": "id", "path": "id", "type": "id"}, name="ids")])
def test_a_view_travels_to_another_process(view: Any) -> None:
    made = load_view(view)
    other = pickle.loads(pickle.dumps(made))  # noqa: S301  # made here
    assert (other.name, other.columns, other.plans, other.fingerprint) == (
        made.name, made.columns, made.plans, made.fingerprint,
    )  # fmt: skip
    resources = [Subject(PATIENTS[0]), Subject(b'{"resourceType": "ExplanationOfBenefit", "id": "e", "item": [{}]}')]
    assert run_views([other], resources)[made.name].equals(run_views([made], resources)[made.name])
    assert table_schema(other).equals(table_schema(made), check_metadata=True)
