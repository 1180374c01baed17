"""FHIRPath on decoded JSON: what each operator and function gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views.fhirpath import Compilation, Moment, Scope, compile_expression, parse
from s4s_lab.views.issues import Unplaced

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "gender": "female",
    "birthDate": "1970-06",
    "name": [
        {"use": "official", "family": "A", "given": ["x", "y"]},
        {"use": "usual", "given": ["x", None, "z"]},
    ],
    "deceasedDateTime": "2015-02-07T13:28:17.239+02:00",
    "multipleBirthInteger": 2,
    "extension": [{"url": "u", "valueCode": "c"}, {"url": "v", "extension": [{"url": "w", "valueDecimal": 1}]}],
    "contained": [{"resourceType": "Organization", "id": "o"}, {"resourceType": "Device", "id": "d"}],
    "period": {"start": "2010-10-10", "end": "2011-01-01"},
    "managingOrganization": {"reference": "Organization/o"},
    "generalPractitioner": [
        {"reference": "https://ehr.example/fhir/Practitioner/pr/_history/3"},
        {"reference": "urn:uuid:1"},
        {"reference": "#local"},
        {"display": "nobody"},
    ],
}
SCOPE = Scope("p", {"urn:uuid:1": "Practitioner/first"}, 4)
CONSTANTS = {"use": "usual", "n": 1, "day": Moment("2015-02-07"), "half": Decimal("0.5")}


def evaluate(text: str, *, tolerant: bool = False, node: Any = PATIENT) -> list[Any]:
    return compile_expression(parse(text), Compilation(CONSTANTS, tolerant))([node], SCOPE)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id", ["p"]),
        ("Patient.id", ["p"]),
        ("Observation.id", []),
        ("name.given", ["x", "y", "x", "z"]),
        ("name.given.first()", ["x"]),
        ("name[1].given", ["x", "z"]),
        ("name[%n].use", ["usual"]),
        ("name[7]", []),
        ("name[-1]", []),
        ("name.nothing.more", []),
        ("id.extension", []),
        ("name.where(use = 'official').family", ["A"]),
        ("name.where(use = %use).given.first()", ["x"]),
        ("name.where(family.exists()).use", ["official"]),
        ("name.given | 'q'", ["x", "y", "z", "q"]),
        ("period | period", [PATIENT["period"]]),
        ("name.exists()", [True]),
        ("name.exists(use = 'old')", [False]),
        ("name.empty()", [False]),
        ("photo.empty()", [True]),
        ("active.not()", [False]),
        ("photo.not()", []),
        ("name.given.join('-')", ["x-y-x-z"]),
        ("photo.join(',')", [""]),
        ("gender.startsWith('fem')", [True]),
        ("gender.startsWith('male')", [False]),
        ("photo.startsWith('x')", []),
        ("extension('u').value.ofType(code)", ["c"]),
        ("extension('v').extension('w').value.ofType(decimal)", [1]),
        ("extension('u').value", ["c"]),
        ("deceased.ofType(dateTime)", ["2015-02-07T13:28:17.239+02:00"]),
        ("deceased.ofType(boolean)", []),
        ("deceased.exists()", [True]),
        ("multipleBirth.ofType(FHIR.integer)", [2]),
        ("contained.ofType(Organization).id", ["o"]),
        ("gender.ofType(string)", ["female"]),
        ("gender.ofType(boolean)", []),
        ("getResourceKey()", ["p"]),
        ("managingOrganization.getReferenceKey()", ["o"]),
        ("managingOrganization.getReferenceKey(Organization)", ["o"]),
        ("managingOrganization.getReferenceKey(Patient)", []),
        ("generalPractitioner.getReferenceKey(Practitioner)", ["pr", "first"]),
        ("%rowIndex", [4]),
        ("{}", []),
        ("$this.id", ["p"]),
        ("name.given.where($this = 'z')", ["z"]),
        ("name.where(use = 'usual').first().given.where($this != 'x')", ["z"]),
    ],
)
def test_a_path_gives_its_values(text: str, found: list[Any]) -> None:
    assert evaluate(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1 + 2", [3]),
        ("7 - 2 * 3", [1]),
        ("3 / 2", [Decimal("1.5")]),
        ("1 / 3", [Decimal("0.333333333333333333")]),
        ("1 / 1048576", [Decimal("0.000000953674316406")]),
        ("1 / 0", []),
        ("0.1 + 0.2", [Decimal("0.3")]),
        ("1.5 * 1.5", [Decimal("2.25")]),
        ("1.5 - 1.5", [Decimal(0)]),
        ("-multipleBirth.ofType(integer)", [-2]),
        ("-gender", []),
        ("'a' + 'b'", ["ab"]),
        ("'a' + 1", []),
        ("1 + photo", []),
        ("%half + 1", [Decimal("1.5")]),
    ],
)
def test_arithmetic_is_exact(text: str, found: list[Any]) -> None:
    assert evaluate(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1 = 1.0", [True]),
        ("1 != 2", [True]),
        ("photo = 1", []),
        ("name.use = 'usual'", [False]),
        ("name.use = name.use", [True]),
        ("active = true", [True]),
        ("active = 1", [False]),
        ("1 < 2", [True]),
        ("2 <= 2.0", [True]),
        ("'b' > 'a'", [True]),
        ("2 >= 3", [False]),
        ("1 < 'a'", []),
        ("photo < 1", []),
        ("period.start < period.end", [True]),
        ("period.start < @2010-10", []),
        ("birthDate < @1971", [True]),
        ("deceased.ofType(dateTime) = @2015-02-07T11:28:17.239Z", [True]),
        ("deceased.ofType(dateTime) > %day", []),
        ("birthDate = @1970-06", [True]),
        ("gender = @1970", []),
        ("true and false", [False]),
        ("photo and false", [False]),
        ("photo and true", []),
        ("photo or true", [True]),
        ("photo or false", []),
        ("false or false", [False]),
        ("gender and true", [True]),
    ],
)
def test_conditions_have_three_values(text: str, found: list[Any]) -> None:
    assert evaluate(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.0.lowBoundary()", [Decimal("0.95")]),
        ("1.0.highBoundary()", [Decimal("1.05")]),
        ("2.lowBoundary()", [Decimal("1.5")]),
        ("birthDate.lowBoundary()", ["1970-06-01"]),
        ("birthDate.highBoundary()", ["1970-06-30"]),
        ("deceased.ofType(dateTime).first().highBoundary()", ["2015-02-07T13:28:17.239+02:00"]),
        ("gender.lowBoundary()", []),
        ("active.lowBoundary()", []),
        ("photo.lowBoundary()", []),
    ],
)
def test_boundaries_reach_as_far_as_the_precision(text: str, found: list[Any]) -> None:
    assert evaluate(text) == found


def test_a_date_is_bounded_as_a_date_time_when_the_column_says_so() -> None:
    how = Compilation(declared="dateTime")
    assert compile_expression(parse("period.start.lowBoundary()"), how)([PATIENT], SCOPE) == [
        "2010-10-10T00:00:00.000+14:00"
    ]


@pytest.mark.parametrize(
    "text", ["name.given < 'a'", "-name.given", "name.use.not()", "name[name.use]", "name.use + 'a'"]
)
def test_an_operator_that_needs_one_value_refuses_several(text: str) -> None:
    with pytest.raises(ViewError, match=r"needs one value and finds \d"):
        evaluate(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%nowhere", "%nowhere is not defined; there are %rowIndex, %use"),
        ("name.sort()", r"sort\(\) is not known; there are .*where"),
        ("name.first(1)", r"first\(\) does not take 1 arguments"),
        ("name.where()", "does not take 0"),
        ("value.ofType('string')", "takes the name of one type"),
        ("value.ofType()", "takes the name of one type"),
        ("subject.getReferenceKey(1)", "takes the name of one type"),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_any_data_is_seen(text: str, said: str) -> None:
    with pytest.raises(ViewError, match=said):
        compile_expression(parse(text), Compilation(CONSTANTS))


def test_the_tolerant_reading_says_what_stands_where_an_object_is_due() -> None:
    odd = {"subject": "Patient/1", "series": [{"uid": "1"}, "two", 3]}
    assert evaluate("subject.reference", node=odd) == []
    assert evaluate("subject.reference", tolerant=True, node=odd) == [Unplaced("'Patient/1' is no object")]
    assert evaluate("series.uid", tolerant=True, node=odd) == [
        "1",
        Unplaced("'two' is no object"),
        Unplaced("3 is no object"),
    ]
    assert evaluate("series.modality.code", tolerant=True, node=odd)[0] == Unplaced("'two' is no object")
    assert evaluate("subject.value.ofType(string)", tolerant=True, node=odd) == [Unplaced("'Patient/1' is no object")]


def test_the_tolerant_reading_says_which_reference_leads_nowhere() -> None:
    found = evaluate("generalPractitioner.getReferenceKey()", tolerant=True)
    assert found == ["pr", "first", Unplaced("'#local' leads to no resource")]
    assert evaluate("link.getReferenceKey()", tolerant=True, node={"link": {"reference": 5}}) == [
        Unplaced("5 leads to no resource")
    ]


def test_values_that_cannot_be_compared_are_not_the_same() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    odd = {"a": [{"v": Decimal("sNaN")}, {"v": Decimal("sNaN")}], "b": Decimal("sNaN"), "c": Decimal("sNaN")}
    assert len(evaluate("a", node=odd)) == len(evaluate("a | a", node=odd)) == 2
    assert evaluate("b = c", node=odd) == [False]
    nested = {"a": {"v": deep}, "b": {"v": [deep]}}
    assert evaluate("a = b", node=nested) == [False]
    assert len(evaluate("a | b", node=nested)) == 2


def test_numbers_of_python_floats_are_taken_at_their_shortest_text() -> None:
    assert evaluate("value + 0.2", node={"value": 0.1}) == [Decimal("0.3")]
    assert evaluate("value < 1", node={"value": float("nan")}) == []
