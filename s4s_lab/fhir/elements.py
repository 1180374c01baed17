"""Elements of FHIR JSON as servers really send them: lists that are single objects, nulls, numbers for texts."""

from __future__ import annotations

from typing import Any


def objects(value: object) -> list[dict[str, Any]]:
    """Return the JSON objects in `value`: a list's members, or `value` itself where one object stands for a list.

    Parameters
    ----------
    value : object
        An element as decoded.
    """
    members = value if isinstance(value, list) else [value]
    return [member for member in members if isinstance(member, dict)]


def text(value: object) -> str | None:
    """Return `value` if it is a text that is not blank.

    Parameters
    ----------
    value : object
        An element as decoded.
    """
    return value if isinstance(value, str) and value.strip() else None
