"""ViewDefinitions are checked whole before they run; the error names the element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views import load_view
from s4s_lab.views.definition import read_definition
from s4s_lab.views.fhirpath import Moment

COLUMN = {"name": "id", "path": "id", "type": "id"}


def view_with(**changes: Any) -> dict[str, Any]:
    return {"resource": "Patient", "select": [{"column": [COLUMN]}]} | changes


def column_with(**changes: Any) -> dict[str, Any]:
    return view_with(select=[{"column": [COLUMN, {"name": "b", "path": "gender"} | changes]}])


def select_with(**changes: Any) -> dict[str, Any]:
    return view_with(select=[{"column": [COLUMN]} | changes])


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({}, "resource is missing"),
        (view_with(resource=7), "resource must be a text"),
        (view_with(select=[]), "select must name at least one column"),
        (view_with(select={"column": []}), "select must be a list of objects"),
        (view_with(select=["id"]), "select must be a list of objects"),
        (view_with(resourceType="Patient"), "resourceType is 'Patient', not ViewDefinition"),
        (view_with(where=[{"path": "a b"}]), r"where\[0\]\.path: 'a b' is no FHIRPath"),
        (view_with(where=[{}]), r"where\[0\]\.path must be a FHIRPath expression"),
        (column_with(path=None), r"select\[0\]\.column\[1\]\.path must be a FHIRPath expression"),
        (column_with(path="  "), r"column\[1\]\.path must be"),
        (column_with(path="first(1)"), r"column\[1\]\.path: first\(\) does not take 1"),
        (column_with(name="2nd"), r"column\[1\]\.name '2nd' is no column name"),
        (column_with(name="id"), r"column\[1\]\.name 'id' occurs twice"),
        (column_with(type="strin"), r"column\[1\]\.type: 'strin' is no FHIR primitive type"),
        (column_with(type=3), r"column\[1\]\.type must be a text"),
        (column_with(collection="yes"), r"column\[1\]\.collection must be true or false"),
        (column_with(tag=[{"name": "ansi/type"}]), r"column\[1\]\.tag\[0\]\.value is missing"),
        (column_with(tag=[{"name": "ansi/type", "value": "FLOAT"}]), "ansi/type 'FLOAT' is not known"),
        (column_with(colection=True), r"column\[1\]\.colection is no element"),
        (select_with(foreach="name"), r"select\[0\]\.foreach is no element"),
        (select_with(forEach=1), r"select\[0\]\.forEach must be a FHIRPath expression"),
        (select_with(forEach="name", forEachOrNull="name"), "forEach and forEachOrNull exclude each other"),
        (select_with(repeat="item"), r"select\[0\]\.repeat must be a list"),
        (select_with(repeat=["item", "@@"]), r"select\[0\]\.repeat\[1\]"),
        (select_with(select=[{"column": [COLUMN]}]), r"select\[0\]\.select\[0\]\.column\[0\]\.name 'id' occurs twice"),
        (view_with(constant=[{"name": "a"}]), r"constant\[0\] 'a' must have exactly one value"),
        (view_with(constant=[{"name": "a b", "valueCode": "c"}]), r"constant\[0\]\.name 'a b' is no name"),
        (view_with(constant=[{"name": "rowIndex", "valueCode": "c"}]), "is no name for a constant"),
        (view_with(constant=[{"name": "a", "valueInteger": "1"}]), r"valueInteger has a value of the wrong type"),
        (view_with(constant=[{"name": "a", "valueBoolean": 1}]), "wrong type"),
        (view_with(constant=[{"name": "a", "valueCode": 1}]), "wrong type"),
        (view_with(constant=[{"name": "a", "valueCode": "1"}] * 2), r"constant\[1\]\.name 'a' occurs twice"),
    ],
)
def test_a_faulty_view_is_refused_and_the_element_named(view: dict[str, Any], said: str) -> None:
    with pytest.raises(ViewError, match=said):
        load_view(view)


def branches(*columns: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resource": "Patient", "select": [{"unionAll": [{"column": one} for one in columns]}]}


@pytest.mark.parametrize(
    "other",
    [
        [{"name": "other", "path": "id", "type": "id"}],
        [{"name": "id", "path": "id", "type": "string"}],
        [{"name": "id", "path": "id", "type": "id", "collection": True}],
        [COLUMN, {"name": "more", "path": "id"}],
    ],
)
def test_branches_of_a_union_must_have_the_same_columns(other: list[dict[str, Any]]) -> None:
    with pytest.raises(ViewError, match=r"select\[0\]\.unionAll\[1\] must have the columns of unionAll\[0\]"):
        load_view(branches([COLUMN], other))


def test_selects_nested_without_end_are_refused() -> None:
    select: dict[str, Any] = {"column": [COLUMN]}
    for _ in range(200):
        select = {"select": [select]}
    with pytest.raises(ViewError, match="nested more than 50 deep"):
        load_view(view_with(select=[select]))


def test_metadata_and_extensions_of_the_resource_are_welcome() -> None:
    view = view_with(
        resourceType="http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/ViewDefinition",
        url="https://example.org/view",
        status="draft",
        name="people",
        fhirVersion=["4.0.1"],
        select=[{"id": "s", "column": [COLUMN | {"_path": {"id": "x"}, "extension": []}]}],
    )
    assert read_definition(view).name == "people"


def test_columns_come_in_the_order_own_nested_union() -> None:
    def column(name: str) -> list[dict[str, Any]]:
        return [{"name": name, "path": "id"}]

    select = {"unionAll": [{"column": column("c")}], "select": [{"column": column("b")}], "column": column("a")}
    definition = read_definition(view_with(select=[select, {"column": column("d")}]))
    assert [one.name for one in definition.all_columns()] == ["a", "b", "c", "d"]


def test_constants_keep_their_value_and_dates_are_known_as_such() -> None:
    constants = [
        {"name": "day", "valueDate": "2015-02"},
        {"name": "code", "valueCode": "2015-02"},
        {"name": "n", "valuePositiveInt": 3},
        {"name": "yes", "valueBoolean": True},
    ]
    found = read_definition(view_with(constant=constants)).constants
    assert found == {"day": "2015-02", "code": "2015-02", "n": 3, "yes": True}
    assert isinstance(found["day"], Moment)
    assert not isinstance(found["code"], Moment)


@pytest.mark.parametrize(
    ("repeat", "refused"), [(["$this"], True), (["item"], False)], ids=["to itself", "to its children"]
)
def test_a_repeat_that_never_ends_is_refused(repeat: list[str], refused: bool, tabulated: Callable[..., Any]) -> None:
    view = {"resource": "Patient", "select": [{"repeat": repeat, "column": [{"name": "n", "path": "n"}]}]}
    patient = {"resourceType": "Patient", "item": [{"n": "1", "item": [{"n": "2"}]}, {"n": "3"}]}
    if refused:
        with pytest.raises(ViewError, match=r"repeat\[0\] does not end"):
            tabulated(view, patient)
    else:
        assert tabulated(view, patient) == [{"n": "1"}, {"n": "2"}, {"n": "3"}]
