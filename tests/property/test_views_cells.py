"""Cells: both ways to place them agree, and what is placed is what was sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4s_lab.errors import ViewError
from s4s_lab.values.uids import bare_uid
from s4s_lab.views import Subject, load_view, run_views
from s4s_lab.views.fhirpath import Moment, parse
from s4s_lab.views.fhirpath.moments import boundary, order
from s4s_lab.views.fhirpath.syntax import depth
from s4s_lab.views.issues import Unplaced
from s4s_lab.views.kinds import BOOLEAN, DATE, EXACT, INT32, INT64, MOMENT, TEXT, Kind, place_lists

ZONES = st.integers(min_value=-14 * 60, max_value=14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 30), timezones=ZONES)  # noqa: DTZ001  # hypothesis wants bounds without a zone
DATE_TEXTS = st.one_of(
    INSTANTS.map(datetime.isoformat),
    st.dates().map(date.isoformat),
    st.from_regex(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,4})?(Z|[+-][0-9]{2}:[0-9]{2})",
                  fullmatch=True),
)  # fmt: skip
# A busy machine is no reason to fail.
RELAXED = settings(deadline=None)
COLUMNS: dict[str, tuple[Kind, st.SearchStrategy[Any]]] = {
    "text": (TEXT, st.text(alphabet=st.characters(), max_size=5)),
    "boolean": (BOOLEAN, st.booleans()),
    "int32": (INT32, st.integers(min_value=-(2**33), max_value=2**33)),
    "int64": (INT64, st.integers(min_value=-(2**65), max_value=2**65)),
    "decimal": (EXACT, st.decimals(allow_nan=False, allow_infinity=False) | st.integers()),
    "date": (DATE, DATE_TEXTS),
    "instant": (MOMENT, DATE_TEXTS),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_arrow_and_python_place_the_same_cells(name: str) -> None:
    kind, values = COLUMNS[name]

    @RELAXED
    @given(column=st.lists(values | st.none(), max_size=8))
    def check(column: list[Any]) -> None:
        whole, reasons = kind.place(list(column), "x")
        by_cell, also = kind.place([*column, Unplaced("forces cell by cell")], "x")
        assert whole.to_pylist() == by_cell.to_pylist()[:-1]
        assert reasons == {row: reason for row, reason in also.items() if row < len(column)}
        assert whole.type == kind.arrow

    check()


@RELAXED
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_placed_exactly_or_not_at_all(number: Decimal) -> None:
    (placed,), reasons = (lambda pair: (pair[0].to_pylist(), pair[1]))(EXACT.place([number], "decimal"))
    assert (placed == number) if not reasons else placed is None


@RELAXED
@given(INSTANTS)
def test_an_instant_of_any_zone_is_placed_at_its_millisecond_in_utc(moment: datetime) -> None:
    array, reasons = MOMENT.place([moment.isoformat()], "instant")
    expected = moment.astimezone(UTC)
    assert reasons == {}
    assert array.to_pylist() == [expected.replace(microsecond=expected.microsecond // 1000 * 1000)]


@RELAXED
@given(st.lists(st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=4), max_size=5))
def test_lists_keep_their_rows_and_the_order_of_what_fits(lists: list[list[Any]]) -> None:
    array, reasons = place_lists(INT32, lists, "x")
    fits: Callable[[Any], bool] = lambda one: isinstance(one, int) and -(2**31) <= one < 2**31  # noqa: E731  # one line says it
    assert array.to_pylist() == [[one for one in items if fits(one)] for items in lists]
    assert {row: len(said) for row, said in reasons.items()} == {
        row: lost for row, items in enumerate(lists) if (lost := sum(not fits(one) for one in items))
    }
    assert array.type == pa.list_(pa.int32())


@RELAXED
@given(st.text(max_size=12) | st.from_regex(r"\s?(urn|URN):oid:[0-9.]{0,8}\s?", fullmatch=True))
def test_a_uid_column_is_bare_as_single_uids_are(text: str) -> None:
    study = {"resourceType": "ImagingStudy", "id": "s", "series": [{"uid": text}]}
    table = run_views([load_view("imaging_series")], [Subject(study)])["imaging_series"]
    if all(character.isprintable() for character in text) and text.isascii():
        assert table["series_uid"].to_pylist() == [bare_uid(text)]


@RELAXED
@given(st.text(max_size=40) | st.text(alphabet="ab.()[]{}'|=<>+-*/%$@, 1", max_size=40))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(ViewError):
        assert depth(parse(text)) > 0


@RELAXED
@given(DATE_TEXTS, DATE_TEXTS)
def test_the_order_of_moments_is_one(left: str, right: str) -> None:
    one, other = order(Moment(left), Moment(right)), order(Moment(right), Moment(left))
    assert (one is None) == (other is None)
    assert one is None or other is None or one == -other
    assert order(left, left) in (0, None)


@RELAXED
@given(st.dates().map(date.isoformat), st.sampled_from([4, 7, 10]))
def test_a_date_lies_between_its_boundaries(day: str, length: int) -> None:
    text = day[:length]
    low, high = (boundary(text, high=high, fhir_type="date") for high in (False, True))
    assert low is not None
    assert high is not None
    assert low <= day <= high
    assert low.startswith(text)
    assert high.startswith(text)
