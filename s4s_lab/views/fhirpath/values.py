"""Values of decoded JSON under FHIRPath's operators: equality, order, arithmetic, truth."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from s4s_lab.errors import ViewError
from s4s_lab.views.fhirpath.moments import Moment, is_moment, order

# Wide enough for the product of two numbers of 38 digits; nothing is trapped, so bad sums become NaN and then empty.
_EXACT = Context(prec=80, traps=[])
_SCALE = Decimal(1).scaleb(-18)


def single(items: list[Any], what: str) -> Any:
    """Return the only item, or None when there is none.

    Parameters
    ----------
    items : list
        A collection.
    what : str
        Who needs one value, for the message.

    Raises
    ------
    ViewError
        If there are several: the expression needs one.

    References
    ----------
    FHIRPath N1, "Singleton Evaluation of Collections".
    """
    if len(items) > 1:
        raise ViewError(f"{what} needs one value and finds {len(items)}.", hint="Choose one, for example by first().")
    return items[0] if items else None


def number(value: Any) -> int | Decimal | None:
    """Return a JSON number as an exact, finite one; None for anything else.

    Parameters
    ----------
    value : object
        Any JSON value; a float counts as the shortest decimal that names it.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    return exact if isinstance(exact, Decimal) and exact.is_finite() else None


def truth(items: list[Any], what: str) -> bool | None:
    """Read a collection as a condition: a single value that is no boolean counts as true, nothing as unknown.

    Parameters
    ----------
    items : list
        A collection.
    what : str
        Who needs the condition, for the message.

    Raises
    ------
    ViewError
        If there are several values.
    """
    value = single(items, what)
    return value if value is None or value.__class__ is bool else True


def _known_moments(left: str, right: str) -> bool:
    return isinstance(left, Moment) or isinstance(right, Moment)


def _same_text(left: str, right: str) -> bool | None:
    if str(left) == str(right):
        return True
    both_timed = "T" in left and "T" in right and is_moment(left) and is_moment(right)
    if not both_timed and not _known_moments(left, right):
        return False
    compared = order(left, right)
    return None if compared is None else compared == 0


def _same(left: Any, right: Any) -> bool | None:
    if isinstance(left, str) and isinstance(right, str):
        return _same_text(left, right)
    a, b = number(left), number(right)
    if a is not None and b is not None:
        return a == b
    try:
        return left.__class__ is right.__class__ and bool(left == right)
    except (InvalidOperation, RecursionError):
        # A signalling NaN, or objects nested near Python's limit: neither can be shown to be the same.
        return False


def equal(left: list[Any], right: list[Any]) -> bool | None:
    """Compare two collections item by item; None when one is empty or precision leaves it open.

    Parameters
    ----------
    left, right : list
        Collections; text with a time is compared as the moment it names.

    References
    ----------
    FHIRPath N1, "= (Equals)".
    """
    if not left or not right:
        return None
    if len(left) != len(right):
        return False
    compared = [_same(a, b) for a, b in zip(left, right, strict=True)]
    if False in compared:
        return False
    return None if None in compared else True


def compare(left: Any, right: Any) -> int | None:
    """Order two values: negative, 0 or positive; None for values that have no order among them.

    Parameters
    ----------
    left, right : object
        JSON values; texts that are both full dates, or one of them a known moment, are ordered in time.
    """
    if isinstance(left, str) and isinstance(right, str):
        if _known_moments(left, right) or (is_moment(left) and is_moment(right)):
            return order(left, right)
        return (left > right) - (left < right)
    a, b = number(left), number(right)
    if a is None or b is None:
        return None
    return (a > b) - (a < b)


def _divide(a: Decimal, b: Decimal) -> Decimal:
    """Divide; a quotient that does not end is rounded to the 18 decimal places a table can hold."""
    quotient = _EXACT.divide(a, b)
    exponent = quotient.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -18:
        quotient = _EXACT.quantize(quotient, _SCALE)
    return quotient


_ON_INTEGERS: dict[str, Callable[[int, int], int]] = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
_ON_DECIMALS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": _EXACT.add, "-": _EXACT.subtract, "*": _EXACT.multiply, "/": _divide,
}  # fmt: skip


def calculate(operator: str, left: Any, right: Any) -> Any:
    """Apply `+ - * /` to two numbers, or `+` to two texts; None when that gives no finite number.

    Parameters
    ----------
    operator : str
        One of the four.
    left, right : object
        JSON values.
    """
    if operator == "+" and isinstance(left, str) and isinstance(right, str):
        return left + right
    a, b = number(left), number(right)
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int) and operator in _ON_INTEGERS:
        return _ON_INTEGERS[operator](a, b)
    result = _ON_DECIMALS[operator](Decimal(a), Decimal(b))
    return result if result.is_finite() else None


def number_boundary(value: int | Decimal, *, high: bool) -> Decimal:
    """Return the least or greatest number that rounds to `value` at the precision it was written with.

    Parameters
    ----------
    value : int or Decimal
        Finite; a Decimal keeps the zeros it was written with.
    high : bool
        The greatest instead of the least.

    References
    ----------
    FHIRPath, "Utility functions": lowBoundary, highBoundary; `1.0` reaches from 0.95 to 1.05.
    """
    exact = Decimal(value)
    exponent = exact.as_tuple().exponent
    half = _EXACT.scaleb(Decimal(5), exponent - 1) if isinstance(exponent, int) else Decimal(0)
    return _EXACT.add(exact, half) if high else _EXACT.subtract(exact, half)


def distinct(items: list[Any]) -> list[Any]:
    """Return the items without repetitions, in order.

    Parameters
    ----------
    items : list
        A collection.

    References
    ----------
    FHIRPath N1, "| (union collections)": the union has no duplicates.
    """
    if len(items) < 2:
        return items
    seen: set[str] = set()
    kept: list[Any] = []
    for item in items:
        if item.__class__ is str:
            if item in seen:
                continue
            seen.add(item)
        elif any(equal([item], [other]) for other in kept):
            continue
        kept.append(item)
    return kept
