"""The tree of a FHIRPath expression: data only, so that any back end can compile it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class This:
    """The focus: `$this`, and what a path starts from when it names nothing else."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant in the text; None stands for the empty collection `{}`."""

    value: str | int | Decimal | bool | None


@dataclass(frozen=True, slots=True)
class Variable:
    """`%name`: a constant of the view, or `%rowIndex`."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """`base.name`."""

    base: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`base[position]`."""

    base: Expression
    position: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """`base.name(arguments)`."""

    base: Expression
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`-operand`."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Operation:
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression


Expression = This | Literal | Variable | Member | Index | Call | Negation | Operation


def parts(expression: Expression) -> tuple[Expression, ...]:
    """Return the expressions that `expression` is directly made of.

    Parameters
    ----------
    expression : Expression
        Any tree.
    """
    match expression:
        case Member(base, _):
            return (base,)
        case Index(base, position):
            return (base, position)
        case Call(base, _, arguments):
            return (base, *arguments)
        case Negation(operand):
            return (operand,)
        case Operation(_, left, right):
            return (left, right)
        case _:
            return ()


def depth(expression: Expression) -> int:
    """Return how deep a tree is, without recursion: a tree from outside may be deeper than the stack.

    Parameters
    ----------
    expression : Expression
        Any tree; a leaf is 1 deep.
    """
    level, deep = [expression], 0
    while level:
        level = [part for one in level for part in parts(one)]
        deep += 1
    return deep


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield `expression` and everything inside it.

    Parameters
    ----------
    expression : Expression
        A tree that `parse` gave.
    """
    yield expression
    for part in parts(expression):
        yield from walk(part)


def mentions(expression: Expression, variable: str) -> bool:
    """Say whether a variable occurs in an expression.

    Parameters
    ----------
    expression : Expression
        A tree that `parse` gave.
    variable : str
        Its name without `%`.
    """
    return any(isinstance(part, Variable) and part.name == variable for part in walk(expression))
