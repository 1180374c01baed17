"""ExplanationOfBenefit resources in the manner of Blue Button (STU3), for invented people and their examinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import msgspec

from s4s_lab.sandbox.archive.people import Exam, Person, digest
from s4s_lab.sandbox.archive.protocols import PROTOCOLS
from s4s_lab.sandbox.archive.records import BLUE_BUTTON, HOSPITAL, coverage_id

VARIABLES = f"{BLUE_BUTTON}/variables"
Item = dict[str, Any]


@dataclass(frozen=True)
class ClaimKind:
    """What tells one kind of claim from another.

    Parameters
    ----------
    eob_type : str
        Code of Blue Button's `eob-type`.
    nch_code : str
        NCH claim type code, or empty when the kind has none.
    nch_display : str
        Its meaning.
    claim_type : str
        Code of FHIR's `ex-claimtype`.
    plan : str
        Which coverage pays.
    """

    eob_type: str
    nch_code: str
    nch_display: str
    claim_type: str
    plan: str


KINDS = {
    "inpatient": ClaimKind("INPATIENT", "60", "Inpatient claim", "institutional", "a"),
    "outpatient": ClaimKind("OUTPATIENT", "40", "Hospital outpatient claim", "institutional", "b"),
    "carrier": ClaimKind("CARRIER", "71", "Local carrier claim", "professional", "b"),
    "pde": ClaimKind("PDE", "", "", "pharmacy", "d"),
    "oral": ClaimKind("ORAL", "", "", "oral", "dental"),
}
# National Drug Codes and names that no product carries, with a price [USD].
_DRUGS = (
    ("00999010130", "Losanorin 50 mg", 42.5),
    ("00999020290", "Metaprovil 500 mg", 17.4),
    ("00999030330", "Tervastin 20 mg", 88.05),
)


def _amount(value: float) -> msgspec.Raw:
    """Return a number as money is written, with two decimals: `120.00`, not `120.0`."""
    return msgspec.Raw(f"{value:.2f}".encode())


def _money(value: float) -> dict[str, Any]:
    return {"value": _amount(value), "system": "urn:iso:std:iso:4217", "code": "USD"}


def _coding(name: str, code: str, display: str = "") -> dict[str, str]:
    return {"system": f"{VARIABLES}/{name}", "code": code} | ({"display": display} if display else {})


def _adjudication(charged: float, allowed: float) -> list[dict[str, Any]]:
    """Return what was charged, allowed, paid, and left to the patient; the shares add up to the cent."""
    patient_share = round(allowed * 0.2, 2)
    lines = {
        "line_sbmtd_chrg_amt": ("Submitted charge", charged),
        "line_alowd_chrg_amt": ("Allowed charge", allowed),
        "line_nch_pmt_amt": ("Payment", round(allowed - patient_share, 2)),
        "line_coinsrnc_amt": ("Coinsurance", patient_share),
    }
    system = f"{BLUE_BUTTON}/codesystem/adjudication"
    return [
        {
            "category": {"coding": [{"system": system, "code": f"{VARIABLES}/{code}", "display": display}]},
            "amount": _money(amount),
        }
        for code, (display, amount) in lines.items()
    ]


def _item(
    code: str, day: date, charged: float, *, system: str = f"{BLUE_BUTTON}/codesystem/hcpcs", display: str = ""
) -> Item:
    """Return one line of a claim, without its sequence number."""
    return {
        "careTeamLinkId": [1],
        "diagnosisLinkId": [1],
        "service": {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]},
        "servicedPeriod": {"start": day.isoformat(), "end": day.isoformat()},
        "quantity": {"value": 1},
        "adjudication": _adjudication(charged, round(charged * 0.46, 2)),
        "net": _money(charged),
    }


def claim(
    kind_name: str,
    person: Person,
    items: Sequence[Item],
    *,
    key: object,
    days: tuple[date, date],
    reason: tuple[str, str],
    doctor: str,
) -> dict[str, Any]:
    """Return an ExplanationOfBenefit.

    Parameters
    ----------
    kind_name : str
        Key into `KINDS`.
    person : Person
        Who was treated.
    items : sequence of dict
        Its lines, in order.
    key : object
        Tells this claim from the person's others.
    days : (date, date)
        First and last day of service.
    reason : (str, str)
        ICD-10-CM code and text.
    doctor : str
        Family name of who treated.

    References
    ----------
    FHIR STU3, "ExplanationOfBenefit".
    """
    kind = KINDS[kind_name]
    number = int.from_bytes(digest(person.seed, person.patient_id, kind_name, key)[:5])
    total = sum(float(bytes(one["net"]["value"])) for one in items)
    paid = sum(float(bytes(one["adjudication"][2]["amount"]["value"])) for one in items)
    created = days[1] + timedelta(days=9)
    return {
        "resourceType": "ExplanationOfBenefit",
        "id": f"{kind_name}-{number}",
        "extension": _extensions(kind, number, paid),
        "identifier": [
            {"system": f"{VARIABLES}/clm_id", "value": str(number)},
            {"system": f"{BLUE_BUTTON}/identifier/claim-group", "value": str(number // 7)},
        ],
        "status": "active",
        "type": {"coding": _types(kind)},
        "patient": {"reference": f"Patient/{person.patient_id}"},
        "billablePeriod": {"start": days[0].isoformat(), "end": days[1].isoformat()},
        "created": created.isoformat(),
        "insurer": {"display": "Marlow Valley Health Plan"},
        "provider": {
            "identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "9999999999"},
            "display": HOSPITAL,
        },
        "disposition": "01",
        "outcome": {"coding": [{"system": "http://hl7.org/fhir/remittance-outcome", "code": "complete"}]},
        "careTeam": [
            {
                "sequence": 1,
                "provider": {"display": f"Dr. {doctor}"},
                "responsible": True,
                "role": {"coding": [{"system": "http://hl7.org/fhir/claimcareteamrole", "code": "primary"}]},
            }
        ],
        "diagnosis": [
            {
                "sequence": 1,
                "diagnosisCodeableConcept": {
                    "coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": reason[0], "display": reason[1]}]
                },
                "type": [{"coding": [{"system": f"{BLUE_BUTTON}/codesystem/diagnosis-type", "code": "principal"}]}],
            }
        ],
        "insurance": {"coverage": {"reference": f"Coverage/{coverage_id(person, kind.plan)}"}},
        "item": [{"sequence": position} | one for position, one in enumerate(items, 1)],
        "totalCost": _money(total),
        "payment": {"date": (created + timedelta(days=5)).isoformat(), "amount": _money(paid)},
    }


def _types(kind: ClaimKind) -> list[dict[str, str]]:
    """Return the codings of a claim's type; as in Blue Button, `eob-type` comes second where there is an NCH code."""
    codings = [_coding("nch_clm_type_cd", kind.nch_code, kind.nch_display)] if kind.nch_code else []
    codings.append({"system": f"{BLUE_BUTTON}/codesystem/eob-type", "code": kind.eob_type})
    codings.append({"system": "http://hl7.org/fhir/ex-claimtype", "code": kind.claim_type})
    return codings


def _extensions(kind: ClaimKind, number: int, paid: float) -> list[dict[str, Any]]:
    extensions: list[dict[str, Any]] = [{"url": f"{VARIABLES}/prpayamt", "valueMoney": _money(0)}]
    if kind.plan == "a":
        extensions.append({"url": f"{VARIABLES}/nch_bene_ip_ddctbl_amt", "valueMoney": _money(1556)})
        extensions.append({"url": f"{VARIABLES}/clm_utlztn_day_cnt", "valueQuantity": {"value": 4, "unit": "days"}})
    if kind.plan == "b":
        extensions.append({"url": f"{VARIABLES}/nch_clm_prvdr_pmt_amt", "valueMoney": _money(paid)})
        extensions.append(
            {
                "url": f"{VARIABLES}/carr_num",
                "valueIdentifier": {"system": f"{VARIABLES}/carr_num", "value": str(number % 10**5).zfill(5)},
            }
        )
    return extensions


def exam_claims(exam: Exam) -> list[dict[str, Any]]:
    """Return the claims that an examination leads to: of the hospital, and of who read the images.

    Parameters
    ----------
    exam : Exam
        The examination; a CT of the head after an injury is part of a stay in hospital.
    """
    protocol, day = PROTOCOLS[exam.protocol], exam.started.date()
    image = _item(protocol.procedure, day, protocol.price)
    read = _item(protocol.procedure, day, round(protocol.price * 0.17, 2))
    read["modifier"] = [{"coding": [{"system": f"{BLUE_BUTTON}/codesystem/hcpcs", "code": "26"}]}]
    if exam.protocol == "CT head":
        stay = [image, *(_item("99232", day + timedelta(days=n), 214.7) for n in range(1, 4))]
        hospital = ("inpatient", stay, (day, day + timedelta(days=4)))
    else:
        hospital = (
            "outpatient",
            [image, _item("Q9967", day, 31.25)] if "contrast" in protocol.title else [image],
            (day, day),
        )
    return [
        claim(kind, exam.person, items, key=exam.number, days=days, reason=exam.reason, doctor=exam.doctor)
        for kind, items, days in (hospital, ("carrier", [read], (day, day)))
    ]


def pharmacy_claim(person: Person, day: date, number: int) -> dict[str, Any]:
    """Return the claim for a drug that was dispensed.

    Parameters
    ----------
    person : Person
        Who takes it.
    day : date
        When it was dispensed.
    number : int
        Tells it from the person's others; it also chooses the drug.
    """
    code, name, price = _DRUGS[number % len(_DRUGS)]
    line = _item(code, day, price, system="http://hl7.org/fhir/sid/ndc", display=name)
    line["quantity"] = {"value": 30}
    return claim(
        "pde", person, [line], key=number, days=(day, day), reason=("I10", "High blood pressure"), doctor="Sandoval"
    )


def oral_claim(person: Person, day: date) -> dict[str, Any]:
    """Return a dentist's claim.

    Parameters
    ----------
    person : Person
        Who was treated.
    day : date
        When.
    """
    line = _item("1200", day, 135.57, system="http://hl7.org/fhir/ex-USCLS")
    return claim("oral", person, [line], key=0, days=(day, day), reason=("K02.9", "Tooth decay"), doctor="Iyer")
