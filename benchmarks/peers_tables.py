"""The peers of bench_tables: the same columns by fhir-pyrate and by fhiry, each used as its own documentation does.

Runs in an environment of its own (`fhir-pyrate==0.2.6`, `fhiry==5.2.2`, pyarrow), since both pin what others need:
`python benchmarks/peers_tables.py CONTENDER KIND FOLDER OUT`.

fhir-pyrate  `Pirate.bundles_to_dataframe` with a `process_function` that gives a list of records for each table: the
             one way it has to make long tables
fhiry        `process_bundle_dict`, then pandas' `explode` and `json_normalize`: it has no way to make long tables
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

Records = dict[str, list[dict[str, Any]]]
CLAIM_TYPES = ("http://hl7.org/fhir/ex-claimtype", "http://terminology.hl7.org/CodeSystem/claim-type")
_WHOLE = {"number", "number_of_series", "number_of_instances", "sequence", "item_sequence", "row_index"}
_EXACT = {"payment_amount", "total_cost", "quantity", "net", "amount"}
COLUMNS = {
    "imaging_study": "resource_id study_uid accession availability patient_reference started_text number_of_series"
    " number_of_instances description procedure_code procedure_code_display",
    "imaging_series": "resource_id study_uid series_uid number modality description number_of_instances body_site",
    "imaging_instance": "resource_id series_uid instance_uid number sop_class title",
    "explanation_of_benefit": "resource_id status type billable_period_start_text billable_period_end_text created_text"
    " provider_reference outcome payment_amount total_cost",
    "eob_item": "resource_id sequence category product_or_service serviced_start_text quantity net net_currency",
    "eob_adjudication": "resource_id item_sequence row_index category reason amount currency",
}
TABLES = {
    "img": ("imaging_study", "imaging_series", "imaging_instance"),
    "eob": ("explanation_of_benefit", "eob_item", "eob_adjudication"),
}


def _column_type(name: str) -> pa.DataType:
    return pa.int32() if name in _WHOLE else pa.decimal128(38, 18) if name in _EXACT else pa.string()


def schema(table: str) -> pa.Schema:
    """Return the columns that every contender has to give."""
    return pa.schema([(name, _column_type(name)) for name in COLUMNS[table].split()])


def bare(uid: str | None) -> str | None:
    """Take `urn:oid:` off."""
    return uid.removeprefix("urn:oid:") if uid else None


def _first(concept: Any) -> Any:
    return concept.coding[0] if concept is not None and concept.coding else None


def _code(concept: Any) -> str | None:
    coding = _first(concept)
    return None if coding is None else coding.code


def _of(value: Any, name: str) -> Any:
    return None if value is None else getattr(value, name)


def imaging_records(bundle: Any) -> Records:
    """Give the records of a Bundle of studies, as a process function of fhir-pyrate does."""
    tables: Records = {name: [] for name in TABLES["img"]}
    for entry in bundle.entry or []:
        study = entry.resource
        uid = bare(study.uid)
        procedure = _first(study.procedureCode[0]) if study.procedureCode else None
        tables["imaging_study"].append({
            "resource_id": study.id, "study_uid": uid, "accession": _of(study.accession, "value"),
            "availability": study.availability, "patient_reference": _of(study.patient, "reference"),
            "started_text": study.started, "number_of_series": study.numberOfSeries,
            "number_of_instances": study.numberOfInstances, "description": study.description,
            "procedure_code": _of(procedure, "code"), "procedure_code_display": _of(procedure, "display"),
        })  # fmt: skip
        for series in study.series or []:
            series_uid = bare(series.uid)
            tables["imaging_series"].append({
                "resource_id": study.id, "study_uid": uid, "series_uid": series_uid, "number": series.number,
                "modality": _of(series.modality, "code"), "description": series.description,
                "number_of_instances": series.numberOfInstances, "body_site": _of(series.bodySite, "code"),
            })  # fmt: skip
            tables["imaging_instance"] += [
                {"resource_id": study.id, "series_uid": series_uid, "instance_uid": bare(one.uid),
                 "number": one.number, "sop_class": bare(one.sopClass), "title": one.title}
                for one in series.instance or []
            ]  # fmt: skip
    return tables


def _is_r4(claim: Any) -> bool:
    return claim.use is not None


def claim_records(bundle: Any) -> Records:
    """Give the records of a Bundle of claims."""
    tables: Records = {name: [] for name in TABLES["eob"]}
    for entry in bundle.entry or []:
        claim = entry.resource
        r4 = _is_r4(claim)
        currency = "currency" if r4 else "code"
        kinds = [one.code for one in claim.type.coding if one.system in CLAIM_TYPES]
        tables["explanation_of_benefit"].append({
            "resource_id": claim.id, "status": claim.status, "type": kinds[0] if kinds else None,
            "billable_period_start_text": _of(claim.billablePeriod, "start"),
            "billable_period_end_text": _of(claim.billablePeriod, "end"), "created_text": claim.created,
            "provider_reference": _of(claim.provider, "reference"),
            "outcome": claim.outcome if r4 else _code(claim.outcome),
            "payment_amount": _of(_of(claim.payment, "amount"), "value"),
            "total_cost": claim.total[0].amount.value if r4 else _of(claim.totalCost, "value"),
        })  # fmt: skip
        for item in claim.item or []:
            tables["eob_item"].append({
                "resource_id": claim.id, "sequence": item.sequence, "category": _code(item.category),
                "product_or_service": _code(item.productOrService if r4 else item.service),
                "serviced_start_text": _of(item.servicedPeriod, "start"), "quantity": _of(item.quantity, "value"),
                "net": _of(item.net, "value"), "net_currency": _of(item.net, currency),
            })  # fmt: skip
            tables["eob_adjudication"] += [
                {"resource_id": claim.id, "item_sequence": item.sequence, "row_index": index,
                 "category": _code(one.category), "reason": _code(one.reason),
                 "amount": _of(one.amount, "value"), "currency": _of(one.amount, currency)}
                for index, one in enumerate(item.adjudication or [])
            ]  # fmt: skip
    return tables


def fhir_pyrate(kind: str, files: list[Path]) -> dict[str, pd.DataFrame]:
    """Give the tables by fhir-pyrate."""
    from fhir_pyrate import Pirate
    from fhir_pyrate.util import FHIRObj

    pirate = Pirate(base_url="http://127.0.0.1/fhir", auth=None, num_processes=1, disable_multiprocessing_build=True)

    def bundles() -> Iterator[Any]:
        for file in files:
            yield FHIRObj(**json.loads(file.read_bytes()))

    process = imaging_records if kind == "img" else claim_records
    frames: dict[str, pd.DataFrame] = pirate.bundles_to_dataframe(bundles(), process_function=process)
    return frames


def _normalized(rows: pd.DataFrame, column: str, keys: list[str]) -> pd.DataFrame:
    """Make a row of each item of a list column, its keys repeated."""
    long = rows[[*keys, column]].explode(column, ignore_index=True).dropna(subset=[column])
    flat = pd.json_normalize(long[column].tolist())
    return pd.concat([long[keys].reset_index(drop=True), flat.add_prefix(f"{column}.")], axis=1)


def _picked(frame: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({ours: frame.get(theirs) for ours, theirs in names.items()})


def _coding(frame: pd.DataFrame, column: str, field: str = "code") -> pd.Series[Any]:
    if column not in frame:
        return pd.Series([None] * len(frame), dtype=object)
    return frame[column].map(lambda many: many[0].get(field) if isinstance(many, list) and many else None)


def fhiry_imaging(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make the tables of studies out of fhiry's frame."""
    study = _picked(frame, {
        "resource_id": "id", "study_uid": "uid", "accession": "accession.value", "availability": "availability",
        "patient_reference": "patient.reference", "started_text": "started", "number_of_series": "numberOfSeries",
        "number_of_instances": "numberOfInstances", "description": "description",
    })  # fmt: skip
    study["study_uid"] = study["study_uid"].map(bare)
    codes = frame["procedureCode"].map(lambda many: many[0]["coding"][0] if isinstance(many, list) else {})
    study["procedure_code"] = codes.map(lambda one: one.get("code"))
    study["procedure_code_display"] = codes.map(lambda one: one.get("display"))
    series = _normalized(frame, "series", ["id", "uid"])
    for name in ("uid", "series.uid"):
        series[name] = series[name].map(bare)
    instance = _normalized(series, "series.instance", ["id", "series.uid"])
    for name in ("series.instance.uid", "series.instance.sopClass"):
        instance[name] = instance[name].map(bare)
    return {
        "imaging_study": study,
        "imaging_series": _picked(series, {
            "resource_id": "id", "study_uid": "uid", "series_uid": "series.uid", "number": "series.number",
            "modality": "series.modality.code", "description": "series.description",
            "number_of_instances": "series.numberOfInstances", "body_site": "series.bodySite.code",
        }),
        "imaging_instance": _picked(instance, {
            "resource_id": "id", "series_uid": "series.uid", "instance_uid": "series.instance.uid",
            "number": "series.instance.number", "sop_class": "series.instance.sopClass",
            "title": "series.instance.title",
        }),
    }  # fmt: skip


def fhiry_claims(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Make the tables of claims out of fhiry's frame; a page is of one FHIR version."""
    r4 = "use" in frame
    currency = "currency" if r4 else "code"
    claim = _picked(frame, {
        "resource_id": "id", "status": "status", "billable_period_start_text": "billablePeriod.start",
        "billable_period_end_text": "billablePeriod.end", "created_text": "created",
        "provider_reference": "provider.reference", "outcome": "outcome", "payment_amount": "payment.amount.value",
        "total_cost": "totalCost.value",
    })  # fmt: skip
    claim["type"] = frame["type.coding"].map(
        lambda many: next(c["code"] for c in many if c.get("system") in CLAIM_TYPES)
    )
    if r4:
        claim["total_cost"] = frame["total"].map(lambda many: many[0]["amount"]["value"])
    else:
        claim["outcome"] = _coding(frame, "outcome.coding")
    item = _normalized(frame, "item", ["id"])
    item["category"] = _coding(item, "item.category.coding")
    item["product_or_service"] = _coding(item, f"item.{'productOrService' if r4 else 'service'}.coding")
    adjudication = _normalized(item, "item.adjudication", ["id", "item.sequence"])
    adjudication["row_index"] = adjudication.groupby(["id", "item.sequence"]).cumcount()
    adjudication["category"] = _coding(adjudication, "item.adjudication.category.coding")
    adjudication["reason"] = _coding(adjudication, "item.adjudication.reason.coding")
    return {
        "explanation_of_benefit": claim,
        "eob_item": _picked(item, {
            "resource_id": "id", "sequence": "item.sequence", "category": "category",
            "product_or_service": "product_or_service", "serviced_start_text": "item.servicedPeriod.start",
            "quantity": "item.quantity.value", "net": "item.net.value", "net_currency": f"item.net.{currency}",
        }),
        "eob_adjudication": _picked(adjudication, {
            "resource_id": "id", "item_sequence": "item.sequence", "row_index": "row_index", "category": "category",
            "reason": "reason", "amount": "item.adjudication.amount.value",
            "currency": f"item.adjudication.amount.{currency}",
        }),
    }  # fmt: skip


def fhiry(kind: str, files: list[Path]) -> dict[str, pd.DataFrame]:
    """Give the tables by fhiry, page by page."""
    from fhiry.base_fhiry import BaseFhiry

    worker = BaseFhiry(config_json='{"REMOVE": [], "RENAME": {}}')
    worker.delete_col_raw_coding = False
    pages = []
    for file in files:
        frame = worker.process_bundle_dict(json.loads(file.read_bytes()))
        pages.append((fhiry_imaging if kind == "img" else fhiry_claims)(frame))
    return {name: pd.concat([page[name] for page in pages], ignore_index=True) for name in TABLES[kind]}


def _exact(value: Any) -> Decimal | None:
    return None if value is None or value != value else Decimal(repr(value))


def write(frames: dict[str, pd.DataFrame], out: Path) -> None:
    """Write the tables as Parquet, with the declared types."""
    for name, frame in frames.items():
        fields = schema(name)
        arrays = []
        for field in fields:
            values = frame[field.name] if field.name in frame else pd.Series([None] * len(frame), dtype=object)
            exact = [_exact(one) for one in values] if field.name in _EXACT else values
            arrays.append(pa.array(exact, field.type, from_pandas=True))
        pq.write_table(pa.Table.from_arrays(arrays, schema=fields), out / f"{name}.parquet", compression="zstd")


def peak_mb() -> float:
    """Return the peak resident size of this process [MB]; `getrusage` tells that of the one that started it, too."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


def main() -> None:
    """Run one contender and print what it took."""
    contender, kind, folder, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    run = {"fhir-pyrate": fhir_pyrate, "fhiry": fhiry}[contender]
    files = sorted(folder.glob("*.json"))
    before = time.process_time()
    write(run(kind, files), out)
    print(json.dumps({"cpu_s": time.process_time() - before, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
