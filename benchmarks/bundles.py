"""FHIR Bundles from a seed: pages of ImagingStudy (STU3) or ExplanationOfBenefit (STU3, every fourth page R4).

What makes them like real ones: a narrative, codings with displays, offsets mixed, fractions of seconds on most
instants, elements left out at random, quotes, backslashes, umlauts, six adjudications an item, Blue Button extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import msgspec

PAGE_ENTRIES = 50
_JSON = msgspec.json.Encoder(decimal_format="number")
_ZONES = ("Z", "+00:00", "-05:00", "+01:00", "-08:00")
_WORDS = ("Thorax", "Schädel", 'knee "left"', "AP\\PA", "Abdomen", "follow-up", "Größe", "contrast", "routine", "MRT")
_MODALITIES = ("CT", "MR", "US", "DX", "CR", "PT")
_BLUE_BUTTON = "https://bluebutton.cms.gov/resources/"


def _moment(random: Random) -> str:
    day = f"{random.randint(1998, 2026)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    fraction = f".{random.randint(0, 999):03}" if random.random() < 0.7 else ""
    clock = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}"
    return f"{day}T{clock}{fraction}{random.choice(_ZONES)}"


def _day(random: Random) -> str:
    return f"{random.randint(2010, 2026)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"


def _uid(random: Random) -> str:
    return f"urn:oid:1.2.840.99999999.{random.randint(1, 99_999_999)}.{random.randint(1, 9_999_999_999_999)}"


def _text(random: Random, words: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(words))


def _narrative(random: Random, words: int) -> dict[str, str]:
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{_text(random, words)}</p></div>',
    }


def _coding(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _some(random: Random, share: float, element: dict[str, Any]) -> dict[str, Any]:
    return element if random.random() < share else {}


def _instance(random: Random, number: int) -> dict[str, Any]:
    return {
        "uid": _uid(random),
        "number": number,
        "sopClass": f"urn:oid:1.2.840.10008.5.1.4.1.1.{random.randint(1, 9)}",
    } | (_some(random, 0.6, {"title": _text(random, 2)}))


def _series(random: Random, number: int) -> dict[str, Any]:
    instances = random.randint(25, 55)
    modality = random.choice(_MODALITIES)
    return (
        {
            "uid": _uid(random),
            "number": number,
            "modality": {
                "system": "http://dicom.nema.org/resources/ontology/DCM",
                "code": modality,
                "display": modality,
            },
            "numberOfInstances": instances,
            "instance": [_instance(random, i) for i in range(1, instances + 1)],
        }
        | _some(random, 0.8, {"description": _text(random, 3), "started": _moment(random)})
        | _some(
            random,
            0.7,
            {"bodySite": {"system": "http://snomed.info/sct", "code": "67734004", "display": "Upper trunk"}},
        )
    )


def imaging_study(random: Random, number: int, _r4: bool) -> dict[str, Any]:
    """Make one STU3 study of one to five series."""
    series = [_series(random, i) for i in range(1, random.choice((1, 2, 3, 3, 4, 5)) + 1)]
    identifier = {"type": _coding("http://hl7.org/fhir/identifier-type", "ACSN", "Accession ID")}
    study = {
        "resourceType": "ImagingStudy",
        "id": f"study-{number}",
        "meta": {"versionId": str(random.randint(1, 9)), "lastUpdated": _moment(random)},
        "text": _narrative(random, 20),
        "uid": _uid(random),
        "accession": identifier | {"use": "usual", "value": f"A{random.randint(1, 999_999_999):09}"},
        "availability": random.choice(("ONLINE", "NEARLINE", "OFFLINE")),
        "patient": {"reference": f"Patient/{number // 3}", "display": 'Müller, "Jo"'},
        "numberOfSeries": len(series),
        "numberOfInstances": sum(len(one["instance"]) for one in series),
        "endpoint": [{"reference": "Endpoint/wado"}],
        "series": series,
    }
    study |= _some(random, 0.9, {"started": _moment(random)}) | _some(random, 0.8, {"description": _text(random, 4)})
    codes = sorted({one["modality"]["code"] for one in series})
    study |= _some(random, 0.7, {"modalityList": [{"system": "DCM", "code": code} for code in codes]})
    return study | _some(
        random, 0.5, {"procedureCode": [_coding("http://www.ama-assn.org/go/cpt", "71250", "CT thorax")]}
    )


def _money(random: Random, *, r4: bool) -> dict[str, Any]:
    amount = Decimal(f"{random.randint(0, 999_999)}.{random.randint(0, 99):02}")
    return {"value": amount, "currency": "USD"} if r4 else {
        "value": amount, "system": "urn:iso:std:iso:4217", "code": "USD",
    }  # fmt: skip


def _adjudication(random: Random, kind: int, *, r4: bool) -> dict[str, Any]:
    code = ("line_sbmtd_chrg_amt", "line_alowd_chrg_amt", "line_nch_pmt_amt", "line_coinsrnc_amt", "tax", "eligible")[
        kind
    ]
    category = {
        "coding": [{"system": f"{_BLUE_BUTTON}codesystem/adjudication", "code": code, "display": _text(random, 4)}]
    }
    if random.random() < 0.08:
        return {"category": category, "reason": _coding(f"{_BLUE_BUTTON}variables/line_prcsg_ind_cd", "A", "Allowed")}
    return {"category": category, "amount": _money(random, r4=r4)}


def _item(random: Random, number: int, *, r4: bool) -> dict[str, Any]:
    service = "productOrService" if r4 else "service"
    item = {
        "sequence": number,
        ("careTeamSequence" if r4 else "careTeamLinkId"): [1],
        ("diagnosisSequence" if r4 else "diagnosisLinkId"): [1, 2],
        "category": _coding(f"{_BLUE_BUTTON}variables/line_cms_type_srvc_cd", "1", "Medical care"),
        service: _coding("http://hl7.org/fhir/sid/hcpcs", f"{random.randint(10_000, 99_999)}", _text(random, 3)),
        "quantity": {"value": random.randint(1, 9)},
        "adjudication": [_adjudication(random, kind, r4=r4) for kind in range(6)],
        "extension": [_extension(random, "line_icd_dgns_cd"), _extension(random, "betos_cd")],
    }
    item |= _some(random, 0.7, {"servicedPeriod": {"start": _day(random), "end": _day(random)}})
    return item | _some(random, 0.6, {"net": _money(random, r4=r4)})


def _extension(random: Random, variable: str) -> dict[str, Any]:
    url = f"{_BLUE_BUTTON}variables/{variable}"
    return {"url": url, "valueCoding": {"system": url, "code": str(random.randint(1, 99)), "display": _text(random, 5)}}


def _claim_type(*, r4: bool) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/claim-type" if r4 else "http://hl7.org/fhir/ex-claimtype"
    return {
        "coding": [
            {"system": f"{_BLUE_BUTTON}variables/nch_clm_type_cd", "code": "71", "display": "Local carrier claim"},
            {"system": f"{_BLUE_BUTTON}codesystem/eob-type", "code": "CARRIER"},
            {"system": system, "code": "professional", "display": "Professional"},
        ]
    }


def _care_team(random: Random) -> dict[str, Any]:
    return {
        "sequence": 1,
        "provider": {
            "identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": str(random.randint(1, 10**9))}
        },
        "role": _coding("http://hl7.org/fhir/claimcareteamrole", "primary", "Primary provider"),
        "extension": [_extension(random, "carr_line_prvdr_type_cd"), _extension(random, "prtcptng_ind_cd")],
    }


def explanation_of_benefit(random: Random, number: int, r4: bool) -> dict[str, Any]:
    """Make one claim of two to seven items, STU3 or R4."""
    diagnosis = [
        {
            "sequence": i,
            "diagnosisCodeableConcept": _coding("http://hl7.org/fhir/sid/icd-10", f"E1{i}", _text(random, 4)),
        }
        for i in (1, 2)
    ]
    claim = {
        "resourceType": "ExplanationOfBenefit",
        "id": f"carrier-{number}",
        "meta": {"lastUpdated": _moment(random)},
        "text": _narrative(random, 15),
        "extension": [_extension(random, name) for name in ("carr_num", "carr_clm_pmt_dnl_cd", "asgmntcd")],
        "identifier": [{"system": f"{_BLUE_BUTTON}variables/clm_id", "value": str(number)}],
        "status": "active",
        "type": _claim_type(r4=r4),
        "patient": {"reference": f"Patient/{-number // 7}"},
        "billablePeriod": {"start": _day(random), "end": _day(random)},
        "careTeam": [_care_team(random)],
        "diagnosis": diagnosis,
        "item": [_item(random, i, r4=r4) for i in range(1, random.randint(2, 7) + 1)],
        "payment": {"amount": _money(random, r4=r4), "date": _day(random)},
    }
    insurance = {"coverage": {"reference": f"Coverage/{number}"}}
    claim |= _some(random, 0.8, {"created": _moment(random)})
    claim |= _some(random, 0.8, {"provider": {"reference": f"Practitioner/{number % 97}"}})
    if r4:
        submitted = {
            "category": _coding("http://terminology.hl7.org/CodeSystem/adjudication", "submitted", "Submitted")
        }
        total = [submitted | {"amount": _money(random, r4=True)}]
        return claim | {
            "use": "claim",
            "outcome": "complete",
            "insurance": [insurance | {"focal": True}],
            "total": total,
        }
    outcome = _coding("http://hl7.org/fhir/remittance-outcome", "complete", "Processing complete")
    return claim | {"insurance": insurance, "outcome": outcome, "totalCost": _money(random, r4=False)}


KINDS: dict[str, Callable[[Random, int, bool], dict[str, Any]]] = {"img": imaging_study, "eob": explanation_of_benefit}


def write_bundles(kind: str, folder: Path, megabytes: int, seed: int = 20) -> list[Path]:
    """Write pages of one kind until they are as large as asked for, and return their paths.

    Parameters
    ----------
    kind : str
        `img` or `eob`.
    folder : Path
        Made when missing; its pages are kept when they are of the same kind, size and seed.
    megabytes : int
        In all [MB].
    seed : int
        Of the content.
    """
    done = folder / f"{kind}-{megabytes}-{seed}.done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        random, written, page = Random(seed), 0, 0
        while written < megabytes * 1_000_000:
            numbers = range(page * PAGE_ENTRIES, (page + 1) * PAGE_ENTRIES)
            resources = [KINDS[kind](random, number, page % 4 == 3) for number in numbers]
            entries = [
                {"fullUrl": f"https://ehr.example/fhir/{one['resourceType']}/{one['id']}", "resource": one,
                 "search": {"mode": "match"}}
                for one in resources
            ]  # fmt: skip
            bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
            written += (folder / f"{page:06}.json").write_bytes(_JSON.encode(bundle))
            page += 1
        done.touch()
    return sorted(folder.glob("*.json"))
