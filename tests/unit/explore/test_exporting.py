"""Exports: every digit, every row, nothing that a spreadsheet would run, readable with no options."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.errors import UsageError
from s4s_lab.explore.exporting import save_table, write_table

EXACT = "12345678901234567890.123456789012345678"


def written(table: pa.Table, kind: str) -> str:
    handle = io.BytesIO()
    write_table(table, handle, kind)
    return handle.getvalue().decode()


def column(values: list[object], kind: pa.DataType) -> pa.Table:
    return pa.table({"a": pa.array(values, kind), "b": pa.array(["x"] * len(values))})


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.parametrize(
    ("text", "shown"), [(EXACT, EXACT), ("120.00", "120"), ("0.10", "0.1"), ("-5", "-5"), ("1000", "1000"), ("0", "0")]
)
def test_decimals_are_written_digit_by_digit(kind: str, text: str, shown: str) -> None:
    out = written(column([Decimal(text)], pa.decimal128(38, 18)), kind)
    assert (json.loads(out)["a"] if kind == "ndjson" else out.split("\r\n")[1].split(",")[0]) == shown


@given(st.lists(st.text(alphabet="ab,;\"\r\n\t ='é", max_size=8), min_size=1, max_size=5))
def test_any_text_comes_back_from_csv_as_one_row_each(texts: list[str]) -> None:
    table = pa.table({"a": [f"x{text}" for text in texts], "b": ["end"] * len(texts)})
    back = pd.read_csv(io.StringIO(written(table, "csv"), newline=""), dtype="string", keep_default_na=False)
    assert back["b"].tolist() == ["end"] * len(texts)


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\tx", "\rx", " =1", "\n=1", "+-+-1", "-", "=-2"])
def test_what_a_spreadsheet_would_run_is_guarded(text: str) -> None:
    back = pd.read_csv(io.StringIO(written(column([text], pa.string()), "csv"), newline=""), dtype="string")
    assert str(back["a"][0]).startswith("'")


@pytest.mark.parametrize("text", ["-20140000008325", "+1.5", "plain", "1=1", "a@b"])
def test_ids_that_look_like_numbers_and_plain_text_stay_as_they_are(text: str) -> None:
    assert written(column([text], pa.string()), "csv").split("\r\n")[1] == f"{text},x"


def test_instants_lists_and_missing_values_have_one_form() -> None:
    table = pa.table(
        {
            "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC), None], pa.timestamp("ms", "UTC")),
            "codes": pa.array([["CT", "é"], []], pa.list_(pa.string())),
            "yes": pa.array([True, None]),
        }
    )
    assert written(table, "csv").split("\r\n")[1:3] == ['2026-01-02T03:04:05.006Z,"[""CT"", ""é""]",true', ",[],"]
    first, second = map(json.loads, written(table, "ndjson").splitlines())
    assert first == {"at": "2026-01-02T03:04:05.006Z", "codes": ["CT", "é"], "yes": True}
    assert second == {"at": None, "codes": [], "yes": None}


@pytest.mark.parametrize("rows", [0, 2])
def test_parquet_is_read_with_no_options_empty_or_not_and_is_the_owners_alone(rows: int, tmp_path: Path) -> None:
    target = tmp_path / "a.parquet"
    save_table(column([Decimal("1.50")] * rows, pa.decimal128(38, 18)), target, "parquet")
    back = pd.read_parquet(target)
    assert (list(back.columns), back["a"].tolist()) == (["a", "b"], [Decimal("1.50")] * rows)
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parquet, csv, ndjson"):
        save_table(column([], pa.string()), tmp_path / "a.xlsx", "xlsx")
    assert list(tmp_path.iterdir()) == []
