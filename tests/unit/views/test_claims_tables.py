"""Claims tables: money exact, codes by system, STU3 and R4 alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

Tabulated = Callable[..., list[dict[str, Any]]]
EX_CLAIM, CLAIM = "http://hl7.org/fhir/ex-claimtype", "http://terminology.hl7.org/CodeSystem/claim-type"


def eob(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "ExplanationOfBenefit", "id": "e"} | elements


def usd(value: Any, member: str) -> dict[str, Any]:
    return {"value": value, member: "USD"}


def concept(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "s", "code": code, "display": code.upper()}]}


def item(service: str, team: str, money: str) -> dict[str, Any]:
    return {
        "sequence": 1,
        service: concept("99213"),
        "modifier": [concept("m1"), concept("m2")],
        "servicedPeriod": {"start": "2016-01-15", "end": "2016-01-27"},
        "locationCodeableConcept": concept("11"),
        "quantity": {"value": 2, "unit": "d"},
        "net": usd(Decimal("12.340"), money),
        team: [1, 2],
        "adjudication": [{"category": concept("submitted"), "amount": usd(Decimal("1.10"), money)},
                         {"category": concept("submitted"), "reason": concept("r")}],
        "detail": [{"sequence": 9, "adjudication": [{"category": concept("benefit"), "value": Decimal("0.5")}]}],
    }  # fmt: skip


STU3 = eob(
    patient={"reference": "Patient/-7"},
    insurance={"coverage": {"reference": "Coverage/c"}},
    outcome=concept("complete"),
    payment={"amount": usd(Decimal("7699.48"), "code"), "date": "2016-02"},
    totalCost=usd(Decimal("84999.37"), "code"),
    totalBenefit=usd(Decimal("0.10"), "code"),
    item=[item("service", "careTeamLinkId", "code")],
)
R4 = eob(
    patient={"reference": "Patient/-7"},
    insurance=[{"coverage": {"reference": "Coverage/x"}}, {"focal": True, "coverage": {"reference": "Coverage/c"}}],
    outcome="complete",
    payment={"amount": usd(Decimal("7699.48"), "currency"), "date": "2016-02"},
    total=[
        {
            "category": {"coding": [{"code": "x"}, {"code": "submitted"}]},
            "amount": usd(Decimal("84999.37"), "currency"),
        },
        {"category": concept("benefit"), "amount": usd(Decimal("0.10"), "currency")},
        {"amount": usd(1, "currency")},
    ],
    item=[item("productOrService", "careTeamSequence", "currency")],
    adjudication=[{"category": concept("header")}],
)


def test_a_claim_of_either_version_gives_the_same_row(tabulated: Tabulated) -> None:
    old, new = tabulated("explanation_of_benefit", STU3, R4)
    assert old == new
    assert (old["patient_id"], old["coverage_reference"], old["outcome"]) == ("-7", "Coverage/c", "complete")
    assert (old["payment_amount"], old["payment_currency"]) == (Decimal("7699.48"), "USD")
    assert (old["payment_date"], old["payment_date_text"]) == (date(2016, 2, 1), "2016-02")
    assert (old["total_cost"], old["total_benefit"]) == (Decimal("84999.37"), Decimal("0.10"))


def test_an_item_of_either_version_gives_the_same_row(tabulated: Tabulated) -> None:
    old, new = tabulated("eob_item", STU3, R4)
    assert old == new
    assert (old["product_or_service"], old["product_or_service_display"]) == ("99213", "99213")
    assert (old["modifiers"], old["care_team_sequence"]) == (["m1", "m2"], [1, 2])
    assert (old["serviced_start"], old["serviced_end"]) == (date(2016, 1, 15), date(2016, 1, 27))
    assert (old["net"], old["net_currency"], old["quantity_unit"]) == (Decimal("12.34"), "USD", "d")
    assert old["location"] == "11"


def test_a_single_serviced_date_fills_both_ends(tabulated: Tabulated) -> None:
    (row,) = tabulated("eob_item", eob(item=[{"servicedDate": "2016-01-15"}]))
    assert row["serviced_start"] == row["serviced_end"] == date(2016, 1, 15)


def test_adjudications_of_items_details_and_header_are_rows_with_their_place(tabulated: Tabulated) -> None:
    places = [
        (row["item_sequence"], row["detail_sequence"], row["row_index"]) for row in tabulated("eob_adjudication", R4)
    ]
    assert places == [(1, None, 0), (1, None, 1), (1, 9, 0), (None, None, 0)]
    rows = tabulated("eob_adjudication", STU3)
    assert [row["category"] for row in rows] == ["submitted", "submitted", "benefit"]
    assert [row["amount"] for row in rows] == [Decimal("1.10"), None, None]
    assert [row["value"] for row in rows] == [None, None, Decimal("0.5")]
    assert [row["currency"] for row in rows] == ["USD", None, None]
    assert rows[1]["reason"] == "r"


def test_totals_of_either_version_are_rows(tabulated: Tabulated) -> None:
    old = [(row["element"], row["category"], row["amount"], row["currency"]) for row in tabulated("eob_total", STU3)]
    new = [(row["row_index"], row["category"], row["amount"]) for row in tabulated("eob_total", R4)]
    assert old == [
        ("totalCost", "submitted", Decimal("84999.37"), "USD"),
        ("totalBenefit", "benefit", Decimal("0.10"), "USD"),
    ]
    assert new == [(0, "x", Decimal("84999.37")), (1, "benefit", Decimal("0.10")), (2, None, Decimal(1))]


@pytest.mark.parametrize(("system", "outcome"), [(EX_CLAIM, {}), (CLAIM, "complete")])
def test_the_kind_of_claim_is_chosen_by_system_not_by_position(system: str, outcome: Any, tabulated: Tabulated) -> None:
    codings = [{"system": "nch", "code": "60"}, {"system": "eob-type", "code": "INPATIENT"}]
    chosen = {"system": system, "code": "institutional", "display": "Institutional"}
    claims = [
        eob(outcome=outcome, type={"coding": coding})
        for coding in ([*codings, chosen], [chosen, *codings], codings, [])
    ]
    rows = tabulated("explanation_of_benefit", *claims)
    assert [row["type"] for row in rows] == ["institutional", "institutional", "60", None]
    assert [row["type_system"] for row in rows] == [system, system, "nch", None]
    assert rows[0]["type_codes"] == ["60", "INPATIENT", "institutional"]


def test_amounts_that_no_decimal_holds_become_null_and_are_said(tabulated: Tabulated) -> None:
    claim = eob(totalCost={"value": Decimal("1E-22"), "code": "USD"}, payment={"amount": {"value": "12"}})
    (row,) = tabulated("explanation_of_benefit", claim)
    assert (row["total_cost"], row["payment_amount"]) == (None, None)
    assert row["parse_issues"] == [
        "payment_amount: '12' is no decimal",
        "total_cost: 1E-22 has more digits than decimal128(38, 18) holds",
    ]


def test_a_claim_of_the_wrong_shapes_is_still_one_row(tabulated: Tabulated) -> None:
    odd = eob(
        type="institutional",
        created="IGNORED_FIELD",
        insurance=["c"],
        payment=[],
        totalCost=[{"value": 1}, {"value": 2}],
        patient={"reference": "urn:uuid:lost"},
    )
    (row,) = tabulated("explanation_of_benefit", odd)
    assert (row["type"], row["created"], row["created_text"]) == (None, None, "IGNORED_FIELD")
    for issue in (
        "type: 'institutional' is no object",
        "created: 'IGNORED_FIELD' is no dateTime",
        "coverage_reference: 'c' is no object",
        "total_cost: 2 values where one is due",
        "patient_id: 'urn:uuid:lost' leads to no resource",
    ):
        assert issue in row["parse_issues"]


def test_diagnoses_procedures_and_care_teams_are_rows(tabulated: Tabulated) -> None:
    claim = eob(
        diagnosis=[{"sequence": 2, "diagnosisCodeableConcept": concept("a40"), "type": [concept("principal")]},
                   {"sequence": 3, "diagnosisReference": {"reference": "Condition/c"}, "packageCode": concept("695")}],
        procedure=[{"sequence": 1, "date": "2016-01-16T00:00:00+00:00", "procedureCodeableConcept": concept("b")}],
        careTeam=[{"sequence": 1, "provider": {"identifier": {"value": "0000099"}}, "responsible": False,
                   "role": concept("primary"), "qualification": concept("207")}],
    )  # fmt: skip
    coded, referred = tabulated("eob_diagnosis", claim)
    assert (coded["sequence"], coded["diagnosis"], coded["types"]) == (2, "a40", ["principal"])
    assert (referred["diagnosis"], referred["diagnosis_reference"]) == (None, "Condition/c")
    assert referred["package_code"] == "695"
    (procedure,) = tabulated("eob_procedure", claim)
    assert (procedure["procedure"], procedure["date"]) == ("b", datetime(2016, 1, 16, tzinfo=UTC))
    (member,) = tabulated("eob_care_team", claim)
    assert (member["provider_identifier"], member["responsible"], member["role"]) == ("0000099", False, "primary")


@pytest.mark.parametrize(
    ("elements", "deceased", "moment"),
    [
        ({"deceasedBoolean": True}, True, None),
        ({"deceasedBoolean": False}, False, None),
        ({"deceasedDateTime": "2015"}, True, datetime(2015, 1, 1, tzinfo=UTC)),
        ({}, None, None),
    ],
)
def test_a_patient_is_deceased_when_said_or_dated(
    elements: dict[str, Any], deceased: bool | None, moment: datetime | None, tabulated: Tabulated
) -> None:
    patient = {"resourceType": "Patient", "id": "0012", "birthDate": "1970-06", "name": [{"family": "X"}]} | elements
    (row,) = tabulated("patient", patient)
    assert (row["deceased"], row["deceased_date_time"]) == (deceased, moment)
    assert (row["birth_date"], row["birth_date_text"], row["patient_id"]) == (date(1970, 6, 1), "1970-06", "0012")
    assert "X" not in str(row)


def test_coverage_gives_group_and_plan_from_either_version(tabulated: Tabulated) -> None:
    shared = {"resourceType": "Coverage", "beneficiary": {"reference": "Patient/7"}, "payor": [{"reference": "o"}]}
    old = shared | {"grouping": {"group": "G", "plan": "P"}}
    new = shared | {"class": [{"type": concept("plan"), "value": "P"}, {"type": concept("group"), "value": "G"}]}
    for row in tabulated("coverage", old, new):
        assert (row["group"], row["plan"], row["patient_id"], row["payor_references"]) == ("G", "P", "7", ["o"])


def test_a_report_gives_time_and_performers_from_either_version(tabulated: Tabulated) -> None:
    shared = {"resourceType": "DiagnosticReport", "subject": {"reference": "Patient/7"}, "code": concept("c")}
    old = shared | {
        "context": {"reference": "Encounter/e"},
        "category": concept("RAD"),
        "performer": [{"actor": {"reference": "Practitioner/p"}}],
        "effectiveDateTime": "2016-01-15",
    }
    new = shared | {"encounter": {"reference": "Encounter/e"}, "category": [concept("RAD")],
                    "performer": [{"reference": "Practitioner/p"}],
                    "effectivePeriod": {"start": "2016-01-15", "end": "2016-01-15"}}  # fmt: skip
    for row in tabulated("diagnostic_report", old, new):
        assert (row["category"], row["code"], row["encounter_reference"]) == ("RAD", "c", "Encounter/e")
        assert row["performer_references"] == ["Practitioner/p"]
        assert row["effective_start"] == row["effective_end"] == datetime(2016, 1, 15, tzinfo=UTC)
