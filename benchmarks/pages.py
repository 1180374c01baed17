"""Seeded STU3 searchset pages of studies and claims, of the sizes that servers send, written to files once."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

PATIENT = "bench-1"
PAGE = 200
TYPES = ("ImagingStudy", "ExplanationOfBenefit")
_SEED = 20
_BEGIN = datetime(2009, 1, 1, tzinfo=UTC)
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_MONEY = "urn:iso:std:iso:4217"


def pages_of(resources: int, folder: Path) -> Path:
    """Return a folder with at least as many resources, half of them studies, half claims; made when it is missing.

    A file holds the entries of one page, `"entry": […]` and the closing brace: the server writes what comes before.

    Parameters
    ----------
    resources : int
        How many, in whole pages.
    folder : Path
        Where such folders lie from one run to the next.
    """
    wanted = folder / f"pages-{_SEED}-{resources}"
    if wanted.is_dir():
        return wanted
    unfinished = folder / f"{wanted.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    makers = {"ImagingStudy": _study, "ExplanationOfBenefit": _claim}
    for kind, make in makers.items():
        rng = random.Random(f"{_SEED}-{kind}")
        for number in range(resources // len(TYPES) // PAGE):
            (unfinished / f"{kind}-{number + 1}.json").write_bytes(_page(kind, make, rng))
    unfinished.rename(wanted)
    return wanted


def _page(kind: str, make: Callable[[random.Random], dict[str, Any]], rng: random.Random) -> bytes:
    return b'"entry":[' + b",".join(_entries(kind, make, rng)) + b"]}"


def _entries(kind: str, make: Callable[[random.Random], dict[str, Any]], rng: random.Random) -> Iterator[bytes]:
    for _ in range(PAGE):
        resource_id = str(UUID(int=rng.getrandbits(128), version=4))
        meta = {"versionId": "1", "lastUpdated": _moment(rng).isoformat(timespec="milliseconds")}
        resource = {"resourceType": kind, "id": resource_id, "meta": meta, **make(rng)}
        entry = {
            "fullUrl": f"https://ehr.example/fhir/{kind}/{resource_id}",
            "resource": resource,
            "search": {"mode": "match"},
        }
        yield json.dumps(entry, separators=(",", ":")).encode()


def _moment(rng: random.Random) -> datetime:
    return _BEGIN + timedelta(seconds=rng.randrange(15 * 365 * 86400))


def _uid(rng: random.Random) -> str:
    return f"urn:oid:1.2.840.99999999.{rng.randrange(10**8)}.{rng.randrange(10**13)}"


def _code(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": system, "code": code, "display": display}


def _study(rng: random.Random) -> dict[str, Any]:
    """1 to 6 series of 1 to 12 instances; about 4 kB."""
    series = [_series(rng, number) for number in range(rng.randint(1, 6))]
    return {
        "uid": _uid(rng),
        "patient": {"reference": f"Patient/{PATIENT}"},
        "started": _moment(rng).isoformat(),
        "endpoint": [{"reference": "#wado"}],
        "contained": [
            {
                "resourceType": "Endpoint",
                "id": "wado",
                "status": "active",
                "connectionType": _code("http://hl7.org/fhir/endpoint-connection-type", "dicom-wado-rs", "WADO-RS"),
                "address": "https://pacs.example/wado",
            }
        ],
        "modalityList": [_code(_DCM, one, one) for one in sorted({one["modality"]["code"] for one in series})],
        "numberOfSeries": len(series),
        "numberOfInstances": sum(one["numberOfInstances"] for one in series),
        "description": rng.choice(("CT Chest with contrast", "XR Wrist 3+ Views", "MR Brain without contrast")),
        "series": series,
    }


def _series(rng: random.Random, number: int) -> dict[str, Any]:
    modality = rng.choice(("CT", "MR", "DX", "US"))
    instances = [
        {"uid": _uid(rng), "number": place + 1, "sopClass": "urn:oid:1.2.840.10008.5.1.4.1.1.2"}
        for place in range(rng.randint(1, 12))
    ]
    return {
        "uid": _uid(rng),
        "number": number + 1,
        "modality": _code(_DCM, modality, modality),
        "numberOfInstances": len(instances),
        "bodySite": _code("http://snomed.info/sct", "72696002", "Knee"),
        "started": _moment(rng).isoformat(),
        "instance": instances,
    }


def _claim(rng: random.Random) -> dict[str, Any]:
    """1 to 7 items of 2 to 6 adjudications; about 5 kB."""
    bluebutton = "https://bluebutton.cms.gov/resources/"
    return {
        "identifier": [
            {"system": f"{bluebutton}variables/clm_id", "value": str(rng.randrange(10**10))},
            {"system": f"{bluebutton}identifier/claim-group", "value": str(rng.randrange(10**10))},
        ],
        "status": "active",
        "type": {"coding": [_code(f"{bluebutton}codesystem/eob-type", "CARRIER", "EOB Type")]},
        "patient": {"reference": f"Patient/{PATIENT}"},
        "billablePeriod": {"start": _moment(rng).isoformat(), "end": _moment(rng).isoformat()},
        "created": _moment(rng).isoformat(),
        "provider": {"identifier": {"value": str(UUID(int=rng.getrandbits(128)))}},
        "careTeam": [
            {
                "sequence": 1,
                "provider": {"identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "99999999"}},
                "role": {"coding": [_code("http://hl7.org/fhir/claimcareteamrole", "primary", "Primary Practitioner")]},
            }
        ],
        "diagnosis": [
            {
                "sequence": number + 1,
                "diagnosisCodeableConcept": {
                    "coding": [_code("http://hl7.org/fhir/sid/icd-10", f"Z{rng.randrange(100)}.{number}", "Encounter")]
                },
            }
            for number in range(rng.randint(1, 4))
        ],
        "item": [_item(rng, number) for number in range(rng.randint(1, 7))],
        "totalCost": _money(rng),
        "payment": {"amount": _money(rng)},
    }


def _item(rng: random.Random, number: int) -> dict[str, Any]:
    hcpcs = "https://bluebutton.cms.gov/resources/codesystem/hcpcs"
    adjudications = [
        {
            "category": {"coding": [_code("https://bluebutton.cms.gov/resources/codesystem/adjudication", name, name)]},
            "amount": _money(rng),
        }
        for name in ("line_bene_ptb_ddctbl", "line_coinsrnc", "line_prcsg_ind", "sbmtd_chrg", "allowed", "paid")
    ]
    return {
        "sequence": number + 1,
        "service": {"coding": [_code(hcpcs, "99214", "Office visit")]},
        "servicedPeriod": {"start": _moment(rng).date().isoformat(), "end": _moment(rng).date().isoformat()},
        "adjudication": adjudications[: rng.randint(2, 6)],
    }


def _money(rng: random.Random) -> dict[str, Any]:
    return {"value": rng.randrange(10**6) / 100, "system": _MONEY, "code": "USD"}
