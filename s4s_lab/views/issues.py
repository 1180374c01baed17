"""What a view could not place: said in one sentence, short, and never more of them than a table can bear."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MAX_SHOWN = 60
MAX_LENGTH = 200
MAX_ISSUES = 20
_HUGE = 10**40
_KINDS: dict[type, str] = {dict: "an object", list: "a list"}


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Stands where a value was due that the resource does not give in the form FHIR has for it."""

    reason: str


def shorten(text: str, length: int) -> str:
    """Return a text, or its beginning and an ellipsis.

    Parameters
    ----------
    text : str
        Any text.
    length : int
        The most characters to return.
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def shown(value: Any) -> str:
    """Name a JSON value in a sentence: text quoted and shortened, numbers as they are, the rest by its kind.

    Parameters
    ----------
    value : object
        Any JSON value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= _HUGE:
        return "a huge number"
    if isinstance(value, int | float | Decimal):
        return shorten(str(value), MAX_SHOWN)
    if isinstance(value, str):
        return shorten(repr(str(value)), MAX_SHOWN)
    return _KINDS.get(type(value), "a value of another kind")


def bounded(issues: Iterable[str]) -> list[str]:
    """Return at most 20 distinct issues of at most 200 characters each; what is left out is counted at the end.

    Parameters
    ----------
    issues : iterable of str
        Sentences, in order.
    """
    distinct = list(dict.fromkeys(shorten(issue, MAX_LENGTH) for issue in issues))
    if len(distinct) <= MAX_ISSUES:
        return distinct
    kept = distinct[: MAX_ISSUES - 1]
    return [*kept, f"and {len(distinct) - len(kept)} more"]
