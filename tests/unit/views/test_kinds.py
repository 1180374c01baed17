"""Cells: exact or not at all, and the same whether Arrow or Python places them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views.issues import Unplaced
from s4s_lab.views.kinds import (
    ANY,
    BOOLEAN,
    DATE,
    EXACT,
    INT32,
    INT64,
    MOMENT,
    TEXT,
    Kind,
    kind_of,
    list_column,
    place_lists,
)


def nested(depth: int) -> dict[str, Any]:
    """An object in an object, and so on."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        (TEXT, "0012", "0012"),
        (TEXT, "", ""),
        (BOOLEAN, False, False),
        (INT32, 2**31 - 1, 2**31 - 1),
        (INT32, Decimal("2.0"), 2),
        (INT64, -(2**63), -(2**63)),
        (INT64, "9007199254740993", 9007199254740993),
        (EXACT, Decimal("0.10"), Decimal("0.10")),
        (EXACT, 7, Decimal(7)),
        (EXACT, 0.1, Decimal("0.1")),
        (EXACT, Decimal("1E+3"), Decimal(1000)),
        (EXACT, Decimal("99999999999999999999.999999999999999999"), Decimal("99999999999999999999.999999999999999999")),
        (EXACT, Decimal("1.1000000000000000000000000"), Decimal("1.1")),
        (DATE, "2015-02-07", date(2015, 2, 7)),
        (DATE, "2015", date(2015, 1, 1)),
        (DATE, "2015-02-07T23:30:00-10:00", date(2015, 2, 7)),
        (MOMENT, "2015-02-07T13:28:17.239+02:00", datetime(2015, 2, 7, 11, 28, 17, 239000, UTC)),
        (MOMENT, "2015-02-07T13:28:17.2399999Z", datetime(2015, 2, 7, 13, 28, 17, 239000, UTC)),
        (MOMENT, "2015-02", datetime(2015, 2, 1, tzinfo=UTC)),
        (MOMENT, "9999-12-31T00:00:00.000+00:00", datetime(9999, 12, 31, tzinfo=UTC)),
        (MOMENT, "1928-03-01T00:00:00-05:00", datetime(1928, 3, 1, 5, tzinfo=UTC)),
        (ANY, True, "true"),
        (ANY, Decimal("1.50"), "1.50"),
        (ANY, 12, "12"),
        (ANY, {"value": Decimal("1.50")}, '{"value":1.50}'),
    ],
)
def test_a_fitting_value_is_placed_alone_and_beside_one_that_does_not_fit(kind: Kind, value: Any, cell: Any) -> None:
    whole, nothing = kind.place([value, None], "x")
    assert (whole.to_pylist(), nothing) == ([cell, None], {})
    by_cell, reasons = kind.place([value, Unplaced("gone")], "x")
    assert (by_cell.to_pylist(), reasons) == ([cell, None], {1: "gone"})
    assert whole.type == by_cell.type == kind.arrow


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (TEXT, 12, "12 is no x"),
        (TEXT, {"a": 1}, "an object is no x"),
        (TEXT, ["a"], "a list is no x"),
        (TEXT, "\ud800", r"'\ud800' is no Unicode text"),
        (ANY, "\ud800", r"'\ud800' is no Unicode text"),
        (ANY, {"a": "\ud800"}, "an object holds no Unicode text"),
        (ANY, nested(5000), "an object is nested too deep"),
        (BOOLEAN, 1, "1 is no x"),
        (BOOLEAN, "true", "'true' is no x"),
        (INT32, 2**31, "2147483648 does not fit 32 bits"),
        (INT32, 10**50, "a huge number does not fit 32 bits"),
        (INT32, "3", "'3' is no x"),
        (INT32, True, "true is no x"),
        (INT32, 1.5, "1.5 is no x"),
        (INT32, Decimal("1E+999999"), "1E+999999 is no x"),
        (INT64, 2**63, "9223372036854775808 does not fit 64 bits"),
        (EXACT, Decimal("1E-19"), "1E-19 has more digits than decimal128(38, 18) holds"),
        (EXACT, 10**20, "100000000000000000000 has more digits than decimal128(38, 18) holds"),
        (EXACT, "1.0", "'1.0' is no x"),
        (EXACT, float("nan"), "nan is no x"),
        (EXACT, Decimal("Infinity"), "Infinity is no x"),
        (DATE, "2015-02-30", "'2015-02-30' is no x"),
        (DATE, "0000-01-01", "'0000-01-01' is no x"),
        (DATE, 2015, "2015 is no x"),
        (MOMENT, "yesterday", "'yesterday' is no x"),
        (MOMENT, "2015-02-07T25:00:00Z", "'2015-02-07T25:00:00Z' is no x"),
        (MOMENT, "9999-12-31T23:59:59-12:00", "'9999-12-31T23:59:59-12:00' is no x"),
        (MOMENT, 1423315697, "1423315697 is no x"),
    ],
)
def test_a_value_that_does_not_fit_becomes_null_with_the_reason(kind: Kind, value: Any, reason: str) -> None:
    array, reasons = kind.place([None, value], "x")
    assert (array.to_pylist(), reasons) == ([None, None], {1: reason})


def test_a_column_of_many_kinds_of_numbers_stays_exact() -> None:
    numbers = [Decimal("0.1"), 1, Decimal("12345678901234567890.123456789012345678"), None, Decimal("-3E-18")]
    array, reasons = EXACT.place(list(numbers), "decimal")
    assert (array.to_pylist(), reasons) == (numbers, {})


def test_lists_are_never_null_and_lose_only_what_does_not_fit() -> None:
    array, reasons = place_lists(INT32, [[1, "x", 2], [], [None], ["y"], [3]], "positiveInt")
    assert array.to_pylist() == [[1, 2], [], [None], [], [3]]
    assert reasons == {0: ["'x' is no positiveInt"], 3: ["'y' is no positiveInt"]}
    assert array.null_count == 0


def test_a_column_of_text_lists_keeps_every_row() -> None:
    assert list_column([["a"], [], ["b", "c"]]).to_pylist() == [["a"], [], ["b", "c"]]
    assert list_column([]).type == pa.list_(pa.string())


@pytest.mark.parametrize(
    ("fhir_type", "sql_type", "arrow"),
    [
        (None, None, pa.string()),
        ("Coding", None, pa.string()),
        ("id", None, pa.string()),
        ("date", None, pa.string()),
        ("dateTime", None, pa.string()),
        ("instant", None, pa.timestamp("ms", "UTC")),
        ("unsignedInt", None, pa.int32()),
        ("integer64", None, pa.int64()),
        ("decimal", None, pa.decimal128(38, 18)),
        ("boolean", None, pa.bool_()),
        ("date", "DATE", pa.date32()),
        ("dateTime", "timestamp(3)  with time zone", pa.timestamp("ms", "UTC")),
        ("integer", "BIGINT", pa.int64()),
        ("decimal", "NUMERIC(38, 18)", pa.decimal128(38, 18)),
        ("code", "CHARACTER VARYING(20)", pa.string()),
    ],
)
def test_a_column_is_stored_as_its_types_say(fhir_type: str | None, sql_type: str | None, arrow: pa.DataType) -> None:
    assert kind_of(fhir_type, sql_type).arrow == arrow


def test_unknown_types_are_refused_with_those_there_are() -> None:
    with pytest.raises(ViewError, match="'text' is no FHIR primitive type; there are base64Binary"):
        kind_of("text", None)
    with pytest.raises(ViewError, match="ansi/type 'JSON' is not known"):
        kind_of("string", "JSON")


def test_no_decimal_is_rounded_where_arrow_would_round_it() -> None:
    for number in ("6.89999999999997477760322795121E-28", "2E-93"):
        array, reasons = EXACT.place([Decimal(number), Decimal("0.10")], "decimal")
        assert array.to_pylist() == [None, Decimal("0.10")]
        assert "more digits" in reasons[0]


@pytest.mark.parametrize("more", [0, 20, 70_000])
@pytest.mark.parametrize(
    "values", [[0, 1, 127], [0, None, 5], [128, 3, None], [-1, 3], [2**31 - 1, 7], [1, True], [3, []], [2, ""], [4, {}]]
)
def test_small_whole_numbers_are_placed_as_all_others(values: list[Any], more: int) -> None:
    array, reasons = INT32.place([*values, *[7] * more], "integer")
    fits = [one if one.__class__ is int else None for one in values]
    assert array.to_pylist() == [*fits, *[7] * more]
    assert sorted(reasons) == [i for i, one in enumerate(values) if one is not None and fits[i] is None]


WRITTEN = ["1", "-0.50", "12.25", "1e2", "1E-3", "12345678901234567890", "0.0000000000000000001", "1e999999999999999"]


@pytest.mark.parametrize("chosen", [slice(0, 3), slice(0, 6), slice(0, 7), slice(0, 8), slice(7, 8)])
def test_numbers_as_they_are_written_stay_exact(chosen: slice) -> None:
    texts = WRITTEN[chosen]
    array, reasons = EXACT.place([None, *(msgspec.Raw(one.encode()) for one in texts), None], "decimal")
    fitting = [i for i, one in enumerate(texts, 1) if one not in WRITTEN[6:]]
    assert [i for i, one in enumerate(array.to_pylist()) if one is not None] == fitting
    assert [array[i].as_py() for i in fitting] == [Decimal(texts[i - 1]) for i in fitting]
    assert sorted(reasons) == [i for i in range(1, len(texts) + 1) if i not in fitting]
