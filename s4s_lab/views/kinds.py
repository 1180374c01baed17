"""The kinds of cell a table has: from JSON values to Arrow arrays, exact or not at all.

Each kind has two ways to the same result: whole columns by Arrow where every value has the plain form, and cell by cell
where one has not. A value that does not fit becomes null, and its position comes back with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Context, Decimal, Inexact, InvalidOperation
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from s4s_lab.errors import ViewError
from s4s_lab.values.instants import parse_date, parse_date_time, to_millis
from s4s_lab.views.issues import Unplaced, shown
from s4s_lab.views.numbers import DECIMAL, SAFE_LENGTH, as_number, small_numbers, written_numbers

INSTANT = pa.timestamp("ms", "UTC")
_FITS = Context(prec=38, traps=[Inexact, InvalidOperation])
_SCALE = Decimal(1).scaleb(-18)
# The forms that Arrow reads exactly as `values.instants` does; year 0 and overflow past 9999 are left to the latter.
_PLAIN_DATE = r"^[1-9]\d{3}-\d\d-\d\d$"
_PLAIN_INSTANT = (
    r"^(?:[1-8]\d{3}|9[0-8]\d\d|99[0-8]\d|999[0-8])-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:\d\d)$"
)
_JSON = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
_INTEGER = re.compile(r"-?\d{1,19}", re.ASCII)

Placed = tuple[pa.Array, dict[int, str]]


@dataclass(frozen=True)
class Kind:
    """A kind of cell.

    Parameters
    ----------
    name : str
        For messages when the column declares no FHIR type.
    arrow : pyarrow.DataType
        How it is stored.
    plain : frozenset of type
        Python types of JSON values that may go to Arrow as they are.
    whole : Callable
        A column of plain values to an array; raises ValueError or OverflowError when one does not fit.
    read : Callable
        One value to what Arrow takes; raises ValueError when it does not fit.
    quick : Callable, optional
        A column to an array by a shorter way, or None where that way is not to be had.
    """

    name: str
    arrow: pa.DataType
    plain: frozenset[type]
    whole: Callable[[list[Any]], pa.Array]
    read: Callable[[Any], Any]
    quick: Callable[[list[Any]], pa.Array | None] | None = None

    def __reduce__(self) -> str:
        """Pickle a kind by its name: each is there once, with functions that do not travel."""
        return next(name for name, one in globals().items() if one is self)

    @property
    def due(self) -> type | None:
        """The type that a decoder may hold values to: `msgspec.Raw` for numbers as they are written, None for none."""
        if self is EXACT:
            return msgspec.Raw
        kinds = self.plain - {_NOTHING}
        return next(iter(kinds)) if len(kinds) == 1 and self is not ANY else None

    def place(self, values: list[Any], called: str) -> Placed:
        """Turn a column of JSON values into an Arrow array.

        Parameters
        ----------
        values : list
            One JSON value, `Unplaced` or None a row.
        called : str
            What a fitting value is called in messages, such as `dateTime`.

        Returns
        -------
        tuple of pyarrow.Array and dict of int to str
            The array, and by position why a value is null that was not.
        """
        if values and values[0] is None and values == [None] * len(values):
            return pa.nulls(len(values), self.arrow), {}
        if self.quick is not None and (array := self.quick(values)) is not None:
            return array, {}
        # Arrow itself refuses to make texts of anything else.
        if self.plain is _STRING or set(map(type, values)) <= self.plain:
            try:
                return self.whole(values), {}
            except (ValueError, OverflowError, TypeError):
                pass
        return self._one_by_one(values, called)

    def _one_by_one(self, values: list[Any], called: str) -> Placed:
        placed: list[Any] = []
        reasons: dict[int, str] = {}
        for position, given in enumerate(values):
            fitting, value = None, as_number(given) if isinstance(given, msgspec.Raw) else given
            if isinstance(value, Unplaced):
                reasons[position] = value.reason
            elif value is not None:
                try:
                    fitting = self.read(value)
                except ValueError as error:
                    reasons[position] = f"{shown(value)} {error.args[0] if error.args else f'is no {called}'}"
            placed.append(fitting)
        return pa.array(placed, self.arrow), reasons


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  # one exception for all that does not fit
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is no Unicode text") from None
    return str(value)


def _read_any(value: Any) -> str:
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    try:
        return _JSON.encode(value).decode()
    except UnicodeEncodeError:
        raise ValueError("holds no Unicode text") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None


def _read_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004  # as above
    return value


def _exact(value: Any) -> Decimal:
    """Return a JSON number as an exact decimal that fits decimal128(38, 18)."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError  # noqa: TRY004  # as above
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise ValueError
    try:
        return _FITS.quantize(number, _SCALE)
    except (Inexact, InvalidOperation):
        raise ValueError("has more digits than decimal128(38, 18) holds") from None


def _whole(value: Any) -> int:
    """Return a decimal such as `2.0` as the integer it is."""
    try:
        exact = _exact(value)
    except ValueError:
        raise ValueError from None
    if exact != exact.to_integral_value():
        raise ValueError
    return int(exact)


def _integer(bits: int) -> Callable[[Any], int]:
    limit = 1 << (bits - 1)

    def read(value: Any) -> int:
        # FHIR R5 writes integer64 as text.
        number = int(value) if bits == 64 and isinstance(value, str) and _INTEGER.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool):
            number = _whole(number)
        if not -limit <= number < limit:
            raise ValueError(f"does not fit {bits} bits")
        return number

    return read


def _read_date(value: Any) -> date:
    return parse_date(_plain_text(value))


def _read_instant(value: Any) -> int:
    return to_millis(parse_date_time(_plain_text(value)))


def _plain_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  # as above
    return str(value)


def _forgetful(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let every misfit of `read` be told in our own words."""

    def plainly(value: Any) -> Any:
        try:
            return read(value)
        except ValueError:
            raise ValueError from None

    return plainly


def _cast(pattern: str, target: pa.DataType) -> Callable[[list[Any]], pa.Array]:
    def whole(values: list[Any]) -> pa.Array:
        texts = pa.array(values, pa.string())
        if pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py() is False:
            raise ValueError
        return texts.cast(target)

    return whole


def _array(target: pa.DataType) -> Callable[[list[Any]], pa.Array]:
    return lambda values: pa.array(values, target)


def _whole_decimals(values: list[Any]) -> pa.Array:
    # Arrow rounds some numbers of more digits than it holds instead of refusing them: long ones, and small powers.
    texts = pa.array([None if one is None else str(one) for one in values], pa.string())
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > SAFE_LENGTH or pc.any(pc.match_substring(texts, "E")).as_py():
        raise ValueError
    return texts.cast(DECIMAL)


_NOTHING: type = type(None)
_STRING: frozenset[type] = frozenset({str, _NOTHING})
TEXT = Kind("string", pa.string(), _STRING, _array(pa.string()), _read_text)
ANY = Kind("value", pa.string(), _STRING, _array(pa.string()), _read_any)
BOOLEAN = Kind("boolean", pa.bool_(), frozenset({bool, _NOTHING}), _array(pa.bool_()), _read_boolean)
_INTEGERS = frozenset({int, _NOTHING})
INT32 = Kind("integer", pa.int32(), _INTEGERS, _array(pa.int32()), _integer(32), small_numbers(pa.int32()))
INT64 = Kind("integer", pa.int64(), _INTEGERS, _array(pa.int64()), _integer(64), small_numbers(pa.int64()))
EXACT = Kind("decimal", DECIMAL, frozenset({int, Decimal, _NOTHING}), _whole_decimals, _exact, written_numbers)
DATE = Kind("date", pa.date32(), _STRING, _cast(_PLAIN_DATE, pa.date32()), _forgetful(_read_date))
MOMENT = Kind("instant", INSTANT, _STRING, _cast(_PLAIN_INSTANT, INSTANT), _forgetful(_read_instant))

# As sent, never re-typed.
_TEXTUAL = "base64Binary canonical code date dateTime id markdown oid string time uri url uuid xhtml"
_BY_FHIR_TYPE = dict.fromkeys(_TEXTUAL.split(), TEXT) | {
    "boolean": BOOLEAN, "decimal": EXACT, "instant": MOMENT,
    "integer": INT32, "positiveInt": INT32, "unsignedInt": INT32, "integer64": INT64,
}  # fmt: skip
_BY_SQL_TYPE = {
    "CHARACTER VARYING": TEXT, "VARCHAR": TEXT, "CHARACTER": TEXT, "CHAR": TEXT,
    "BOOLEAN": BOOLEAN, "SMALLINT": INT32, "INT": INT32, "INTEGER": INT32, "BIGINT": INT64,
    "DECIMAL": EXACT, "NUMERIC": EXACT, "DATE": DATE, "TIMESTAMP WITH TIME ZONE": MOMENT,
}  # fmt: skip


def kind_of(fhir_type: str | None, sql_type: str | None) -> Kind:
    """Choose how a column is stored.

    Parameters
    ----------
    fhir_type : str or None
        The column's FHIR type; without one, and for types that are objects, the cell is text (JSON for objects).
    sql_type : str or None
        The column's tag `ansi/type`, which goes before: `DATE` stores the first day a text names,
        `TIMESTAMP WITH TIME ZONE` its first moment in UTC.

    Raises
    ------
    ViewError
        If either is not known.

    References
    ----------
    SQL on FHIR v2, "Type hinting": dates and dateTimes may be partial, so they stay text unless a view says otherwise.
    """
    if sql_type is not None:
        plain = " ".join(re.sub(r"\([\d ,]*\)", " ", sql_type).upper().split())
        if plain not in _BY_SQL_TYPE:
            raise ViewError(f"ansi/type {sql_type!r} is not known; there are {', '.join(_BY_SQL_TYPE)}.")
        return _BY_SQL_TYPE[plain]
    if fhir_type is None or fhir_type[0].isupper():
        return ANY
    if fhir_type not in _BY_FHIR_TYPE:
        raise ViewError(f"{fhir_type!r} is no FHIR primitive type; there are {', '.join(sorted(_BY_FHIR_TYPE))}.")
    return _BY_FHIR_TYPE[fhir_type]


def place_lists(kind: Kind, values: Sequence[list[Any]], called: str) -> tuple[pa.Array, dict[int, list[str]]]:
    """Turn a column of lists into an Arrow list array; items that do not fit are left out, with the reason by row.

    Parameters
    ----------
    kind : Kind
        Of the items.
    values : sequence of list
        One list a row, never None.
    called : str
        What a fitting item is called in messages.
    """
    counts = np.fromiter(map(len, values), np.int64, len(values))
    return place_items(kind, list(chain.from_iterable(values)), counts, called)


def place_items(
    kind: Kind, items: list[Any], counts: npt.NDArray[np.int64], called: str
) -> tuple[pa.Array, dict[int, list[str]]]:
    """Do the same with all items one after the other.

    Parameters
    ----------
    kind : Kind
        Of the items.
    items : list
        Of all rows.
    counts : numpy.ndarray, shape (rows,)
        How many items each row has.
    called : str
        What a fitting item is called in messages.
    """
    array, misfits = kind.place(items, called)
    reasons: dict[int, list[str]] = {}
    if misfits:
        row_of = np.repeat(np.arange(len(counts)), counts)
        for position, reason in misfits.items():
            reasons.setdefault(int(row_of[position]), []).append(reason)
        fits = np.ones(len(items), np.bool_)
        fits[list(misfits)] = False
        array = array.filter(pa.array(fits))
        counts = np.bincount(row_of[fits], minlength=len(counts))
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), array), reasons


def list_column(values: Sequence[list[str]]) -> pa.Array:
    """Return lists of text as an Arrow array.

    Parameters
    ----------
    values : sequence of list of str
        One list a row.
    """
    array, _ = place_lists(TEXT, values, "string")
    return array
