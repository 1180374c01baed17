"""What operators and functions make of the values of many nodes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from s4s_lab.views.fhirpath.syntax import Expression
from s4s_lab.views.fhirpath.values import distinct, equal
from s4s_lab.views.projected.batches import Found, Level

Find = Callable[[Level], Found]


def each(find: Find, compute: Callable[[Any], Any]) -> Find:
    """Apply a function to the single value of each node; nothing stays nothing.

    Parameters
    ----------
    find : Callable
        Finds the values.
    compute : Callable
        The function.
    """
    return lambda level: Found([None if one is None else compute(one) for one in single(find(level), level)])


def is_true(one: Any) -> bool:
    """Read a value as a condition: nothing is not true, anything else that is no boolean is.

    Parameters
    ----------
    one : object
        A value or None.
    """
    return one is not None and one is not False


def starting(find: Find, prefix: str) -> Find:
    """Tell of each text whether it starts with another one.

    Parameters
    ----------
    find : Callable
        Finds the texts.
    prefix : str
        How they have to start.
    """
    return lambda level: Found(
        [one.startswith(prefix) if one.__class__ is str else None for one in single(find(level), level)]
    )


def equal_to_text(find: Find, text: str, *, wanted: bool) -> Find:
    """Compare each value with a text that names no moment.

    Parameters
    ----------
    find : Callable
        Finds the values.
    text : str
        To compare with.
    wanted : bool
        The answer where they are the same.
    """
    return lambda level: Found([None if one is None else (one == text) is wanted for one in single(find(level), level)])


def single(found: Found, level: Level) -> list[Any]:
    """Return the one value of each node, None where there is none; nodes with several are left to the general way.

    Parameters
    ----------
    found : Found
        What was found.
    level : Level
        From there.
    """
    if not found.is_aligned:
        owners = found.owner_array
        level.odd(owners[1:][owners[1:] == owners[:-1]].tolist())
    return found.first(len(level))


def _pairs(left: Find, right: Find, level: Level) -> zip[tuple[Any, Any]]:
    return zip(single(left(level), level), single(right(level), level), strict=True)


def equality(operator: str, left: Find, right: Find) -> Find:
    """Compare the values of two expressions.

    Parameters
    ----------
    operator : str
        `=` or `!=`.
    left, right : Callable
        Find the values.
    """
    wanted = operator == "="

    def compared(a: Any, b: Any) -> bool | None:
        same = None if a is None or b is None else equal([a], [b])
        return None if same is None else same is wanted

    return lambda level: Found([compared(a, b) for a, b in _pairs(left, right, level)])


def logic(operator: str, left: Find, right: Find) -> Find:
    """Join the conditions of two expressions; an unknown one leaves open what it alone would decide.

    Parameters
    ----------
    operator : str
        `and` or `or`.
    left, right : Callable
        Find the conditions.
    """
    decisive = operator == "or"

    def joined(a: Any, b: Any) -> bool | None:
        known = [None if one is None else is_true(one) for one in (a, b)]
        if decisive in known:
            return decisive
        return None if None in known else not decisive

    return lambda level: Found([joined(a, b) for a, b in _pairs(left, right, level)])


def union(left: Find, right: Find) -> Find:
    """Put the values of two expressions together, node by node, without repetitions.

    Parameters
    ----------
    left, right : Callable
        Find the values.
    """

    def find(level: Level) -> Found:
        sides = left(level).several(), right(level).several()
        if all(one.is_nothing for one in sides):
            return sides[0]
        by_node: dict[int, list[Any]] = {}
        for found in sides:
            for owner, one in zip(found.owners or (), found.values, strict=True):
                by_node.setdefault(owner, []).append(one)
        united = {node: distinct(by_node[node]) for node in sorted(by_node)}
        return Found(
            [one for many in united.values() for one in many], [node for node, many in united.items() for _ in many]
        )

    return find


def concatenated(left: Found, right: Found) -> Found:
    """Put what two expressions found together, node by node.

    Parameters
    ----------
    left, right : Found
        From the same level.
    """
    if (
        left.owners is None
        and right.owners is None
        and not any(a is not None and b is not None for a, b in zip(left.values, right.values, strict=True))
    ):
        return Found([b if a is None else a for a, b in zip(left.values, right.values, strict=True)])
    a, b = left.several(), right.several()
    pairs = sorted(
        [*zip(a.owners or (), a.values, strict=True), *zip(b.owners or (), b.values, strict=True)],
        key=lambda one: one[0],
    )
    return Found([one for _, one in pairs], [owner for owner, _ in pairs])


def chosen_by_text(find: Find, expression: Expression, text: str) -> Callable[[Level], list[int]]:
    """Choose the nodes whose value is a text; all texts of a level are looked at once, however many are asked for.

    Parameters
    ----------
    find : Callable
        Finds the values.
    expression : Expression
        What it finds.
    text : str
        One that names no moment.
    """
    key = ("by text", repr(expression))

    def by_text(level: Level) -> Found:
        nodes: dict[str, list[int]] = {}
        for i, one in enumerate(single(find(level), level)):
            if one.__class__ is str:
                nodes.setdefault(one, []).append(i)
        return Found([nodes])

    return lambda level: level.found(key, by_text).values[0].get(text, [])
