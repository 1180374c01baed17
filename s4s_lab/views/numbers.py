"""Numbers from JSON to Arrow without an object of Python for each."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

DECIMAL = pa.decimal128(38, 18)
# Texts of numbers up to this length Arrow reads exactly.
SAFE_LENGTH = 19
_PACK = msgspec.msgpack.Encoder().encode
# MessagePack: nil.
_NIL = 0xC0
_COMMA = ord(",")


def exact_number(text: str) -> Decimal:
    """Return a JSON number that is not whole, exactly as it is written.

    Parameters
    ----------
    text : str
        The number.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent beyond what any number type holds; infinite is what no column takes.
        return Decimal("Infinity")


def whole_number(text: str) -> int | Decimal:
    """Return a whole JSON number; one of more digits than Python reads is infinite, which no column takes.

    Parameters
    ----------
    text : str
        The number.
    """
    try:
        return int(text)
    except ValueError:
        return Decimal("Infinity")


as_number = msgspec.json.Decoder(float_hook=exact_number).decode


def small_numbers(target: pa.DataType) -> Callable[[list[Any]], pa.Array | None]:
    """Return what places whole numbers below 128 in one go.

    Parameters
    ----------
    target : pyarrow.DataType
        An integer type.

    Returns
    -------
    Callable
        From values to an array; None where there are others.

    References
    ----------
    MessagePack: positive fixint, nil, array.
    """

    def quick(values: list[Any]) -> pa.Array | None:
        """Pack the values in C; where each takes one byte, as numbers below 128 and nothing do, that byte tells all."""
        try:
            packed = np.frombuffer(_PACK(values), np.uint8)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        ones = packed[1 if len(values) < 16 else 3 if len(values) < 1 << 16 else 5 :]  # array headers
        if len(ones) != len(values):
            return None
        absent = ones == _NIL
        if not (absent | (ones < 128)).all():  # positive fixint
            return None
        return pa.array(ones.astype(target.to_pandas_dtype()), target, mask=absent if absent.any() else None)

    return quick


def written_numbers(values: list[Any]) -> pa.Array | None:
    """Read numbers as they are written in JSON, all of them at once.

    Parameters
    ----------
    values : list
        `msgspec.Raw` or None.

    Returns
    -------
    pyarrow.Array or None
        None where there is anything else, or a number that Arrow might round.
    """
    try:
        text = b",".join(values)
    except TypeError:
        try:
            text = b",".join([b"" if one is None else one for one in values])
        except TypeError:
            return None
    # Arrow rounds some numbers of more digits than it holds instead of refusing them: long ones, and small powers.
    if not text or b"e" in text or b"E" in text:
        return None
    ends = np.flatnonzero(np.frombuffer(text + b",", np.uint8) == _COMMA)
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.max() > SAFE_LENGTH:
        return None
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    there = np.packbits(lengths > 0, bitorder="little")
    buffers = [pa.py_buffer(there), pa.py_buffer(offsets), pa.py_buffer(text.translate(None, b","))]
    return pa.StringArray.from_buffers(len(lengths), *buffers[1:], buffers[0]).cast(DECIMAL)
