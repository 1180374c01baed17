"""Values that other tools bend, through the whole chain: files, dataset, exports, and back by pandas and DuckDB."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from s4s_lab.explore import export, tabulate_many
from s4s_lab.lake import Dataset, ResourceVersion, open_dataset
from tests.unit.lake.records import NOON, SOURCE

TOO_MANY = "has more digits than decimal128(38, 18) holds"
# What stands in the JSON, and what it is.
DECIMALS: dict[str, Decimal | None] = {
    "0.1": Decimal("0.1"),
    "120.00": Decimal(120),
    "28.104000000000003": Decimal("28.104000000000003"),
    "-0.10": Decimal("-0.1"),
    "1E-18": Decimal("0.000000000000000001"),
    "1E+2": Decimal(100),
    "12345678901234567890.123456789012345678": Decimal("12345678901234567890.123456789012345678"),
    "99999999999999999999": Decimal(99999999999999999999),
    "123456789012345678901": None,
    "0.1234567890123456789": None,
    "1e400": None,
}
MOMENTS: dict[str, datetime | None] = {
    "2020-01-02T03:04:05.1239999+03:00": datetime(2020, 1, 2, 0, 4, 5, 123000, UTC),
    "9999-12-31T23:59:59.999Z": datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
    "1928-05-06T07:08:09-05:00": datetime(1928, 5, 6, 12, 8, 9, 0, UTC),
    "2020-01-02T23:30:00-10:00": datetime(2020, 1, 3, 9, 30, 0, 0, UTC),
    "2020-02": datetime(2020, 2, 1, tzinfo=UTC),
    "2020": datetime(2020, 1, 1, tzinfo=UTC),
    "2020-02-30T00:00:00Z": None,
    "IGNORED_FIELD": None,
}
DAYS: dict[str, date | None] = {
    "1974-12": date(1974, 12, 1),
    "1974": date(1974, 1, 1),
    "9999-12-31": date(9999, 12, 31),
    "2019-02-29": None,
}
IDS = ["007", "1e5", "-20140000008325", "NaN", "true", "null", "1.0", "9" * 64, "0x1F"]
TEXTS = ["naïve\u202fx", "中文", "\u200b", "=1+1", "a\rb", "a\nb", 'say "x", y', "'quoted", " lead", "NULL", "1.50"]
ROWS = max(len(DECIMALS), len(MOMENTS), len(DAYS), len(IDS), len(TEXTS))


def each(values: Any) -> list[Any]:
    """As many values as there are rows, the last one repeated."""
    listed = list(values)
    return listed + [listed[-1]] * (ROWS - len(listed))


AMOUNT, MOMENT, DAY, TEXT = each(DECIMALS), each(MOMENTS), each(DAYS), each(TEXTS)
KEYS = [*IDS, *(f"k{number}" for number in range(ROWS - len(IDS)))]


def raw_resources() -> dict[tuple[str, str], str]:
    """The JSON of a claim, a study and a patient for each row, by type and id."""
    found = {}
    for key, amount, moment, day, text in zip(KEYS, AMOUNT, MOMENT, DAY, TEXT, strict=True):
        payment = f'{{"amount": {{"value": {amount}, "code": "USD"}}, "date": {json.dumps(day)}}}'
        claim = {"resourceType": "ExplanationOfBenefit", "id": key, "created": moment, "disposition": text}
        found["ExplanationOfBenefit", key] = json.dumps(claim)[:-1] + f', "payment": {payment}}}'
        study = {"resourceType": "ImagingStudy", "id": key, "uid": "urn:oid:1.2.3", "started": moment,
                 "description": text, "modalityList": [None, {"code": "CT"}, {"code": text}],
                 "series": {"uid": "urn:oid:1.2.3.4", "number": 7}}  # fmt: skip
        found["ImagingStudy", key] = json.dumps(study)
        found["Patient", key] = json.dumps({"resourceType": "Patient", "id": key, "birthDate": day})
    return found


def check(tables: dict[str, list[dict[str, Any]]]) -> None:
    """Compare rows of Python values with what was sent."""
    claims, studies, patients = (
        {row["resource_id"]: row for row in tables[name]}
        for name in ("explanation_of_benefit", "imaging_study", "patient")
    )
    assert set(claims) == set(studies) == set(patients) == set(KEYS)
    for key, amount, moment, day, text in zip(KEYS, AMOUNT, MOMENT, DAY, TEXT, strict=True):
        claim, study, patient = claims[key], studies[key], patients[key]
        assert claim["payment_amount"] == DECIMALS[amount], amount
        assert (claim["payment_date"], claim["payment_date_text"]) == (DAYS[day], day)
        assert (claim["created"], claim["created_text"], claim["disposition"]) == (MOMENTS[moment], moment, text)
        assert (study["started"], study["started_text"], study["description"]) == (MOMENTS[moment], moment, text)
        assert list(study["modalities"]) == ["CT", text]
        assert (patient["birth_date"], patient["birth_date_text"]) == (DAYS[day], day)
        told = {issue.partition(":")[0] for issue in claim["parse_issues"]}
        lost = {"payment_amount": DECIMALS[amount], "payment_date": DAYS[day], "created": MOMENTS[moment]}
        assert told == {name for name, value in lost.items() if value is None}
        assert DECIMALS[amount] is not None or any(TOO_MANY in issue for issue in claim["parse_issues"])
    # An object where a list is due is the one element of it.
    assert [(row["series_uid"], row["number"]) for row in tables["imaging_series"]] == [("1.2.3.4", 7)] * ROWS


NAMES = ["explanation_of_benefit", "imaging_study", "imaging_series", "patient"]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset with all of it."""
    data = open_dataset(tmp_path_factory.mktemp("exact") / "dataset")
    versions = [
        ResourceVersion(kind, key, None, None, f"{kind} {key}", raw, "stu3")
        for (kind, key), raw in raw_resources().items()
    ]
    data.log.commit(data.connection(SOURCE, "-1", "007"), versions, run_id="r", received_at=NOON)
    return data


def test_files_give_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    path.write_text("\n".join(raw_resources().values()), encoding="utf-8")
    check({name: table.to_pylist() for name, table in tabulate_many(path, NAMES).items()})


def test_a_dataset_gives_what_was_received(held: Dataset) -> None:
    check({name: held.arrow(name).to_pylist() for name in NAMES})
    frames = {name: held.table(name) for name in NAMES}
    check({name: held.arrow(name).from_pandas(frame).to_pylist() for name, frame in frames.items()})
    assert set(frames["patient"]["patient_id"]) == {"-1"}
    assert set(frames["imaging_series"]["participant_id"]) == {"007"}


def test_parquet_is_read_back_by_pandas(held: Dataset, tmp_path: Path) -> None:
    export(held, tmp_path, tables=NAMES)
    for backend in ("numpy_nullable", "pyarrow"):
        rows = {
            name: pd.read_parquet(tmp_path / f"{name}.parquet", dtype_backend=backend).astype(object).to_dict("records")
            for name in NAMES
        }
        check({name: [_plainly(row) for row in listed] for name, listed in rows.items()})


def _plainly(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return None if value is pd.NA or value is pd.NaT else value


def test_parquet_is_read_back_by_duckdb(held: Dataset, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    export(held, tmp_path, tables=NAMES)
    for name in NAMES:
        found = duckdb.read_parquet(str(tmp_path / f"{name}.parquet"))
        assert (
            found.to_arrow_table().select(["resource_id"]).to_pylist()
            == held.arrow(name).select(["resource_id"]).to_pylist()
        )
        assert str(found.types[found.columns.index("resource_id")]) == "VARCHAR"
    claims = duckdb.read_parquet(str(tmp_path / "explanation_of_benefit.parquet"))
    amounts = dict(claims.select("resource_id", "payment_amount").fetchall())
    assert amounts == dict(zip(KEYS, map(DECIMALS.get, AMOUNT), strict=True))
    studies = duckdb.read_parquet(str(tmp_path / "imaging_study.parquet"))
    moments = dict(studies.project("resource_id, epoch_ms(started)").fetchall())
    assert moments == {key: _millis(MOMENTS[text]) for key, text in zip(KEYS, MOMENT, strict=True)}
    assert len(studies.filter("list_contains(modalities, 'CT')")) == ROWS


def _millis(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def test_ndjson_holds_every_digit_and_letter(held: Dataset, tmp_path: Path) -> None:
    export(held, tmp_path, tables=NAMES, format="ndjson")
    check({name: _typed(held, name, _ndjson(tmp_path / f"{name}.ndjson")) for name in NAMES})


def _ndjson(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_csv_holds_every_digit_and_letter(held: Dataset, tmp_path: Path) -> None:
    export(held, tmp_path, tables=NAMES, format="csv")
    for read in (_by_csv, _by_pandas):
        rows = {name: [_unguarded(row) for row in read(tmp_path / f"{name}.csv")] for name in NAMES}
        check({name: _typed(held, name, listed) for name, listed in rows.items()})


def _by_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_pandas(path: Path) -> list[dict[str, Any]]:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _unguarded(row: dict[str, Any]) -> dict[str, Any]:
    """Take the guard away that keeps spreadsheets from running a formula; nothing is what an empty cell says."""
    return {name: value[1:] if value.startswith("'=") else (value or None) for name, value in row.items()}


def _typed(held: Dataset, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read text as the types that the data dictionary says."""
    kinds = {row["column"]: row["type"] for row in held.dictionary(name).to_dict("records")}
    return [{column: _read(kinds[column], value) for column, value in row.items()} for row in rows]


def _read(kind: str, value: Any) -> Any:
    if value is None or not isinstance(value, str):
        return value
    if kind.startswith("decimal"):
        return Decimal(value)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(value)
    if kind.startswith("date"):
        return date.fromisoformat(value)
    if kind.startswith("int"):
        return int(value)
    return json.loads(value) if kind.startswith("list") else value
