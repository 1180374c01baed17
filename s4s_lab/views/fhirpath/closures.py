"""FHIRPath trees to closures over decoded JSON: the general back end.

A closure takes the focus, a list, and gives a list: FHIRPath knows only collections. Two readings of one tree exist:
strict, as the standard has it, and tolerant, for tables that must hold a row whatever a server sends: there a step into
something that is no object gives an `Unplaced` value, which travels on to the cell and says there what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from s4s_lab.errors import ViewError
from s4s_lab.views.fhirpath.functions import FUNCTIONS, TYPE_FUNCTIONS, Function
from s4s_lab.views.fhirpath.selecting import children, chosen, is_choice, of_type, owner_of
from s4s_lab.views.fhirpath.syntax import (
    Call,
    Expression,
    Index,
    Literal,
    Member,
    Negation,
    Operation,
    This,
    Variable,
)
from s4s_lab.views.fhirpath.values import calculate, compare, distinct, equal, number, single, truth

_COMPARISONS: dict[str, Callable[[int], bool]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may know beside its focus.

    Parameters
    ----------
    resource_key : str or None
        The key of the resource the row comes from (`getResourceKey()`).
    full_urls : Mapping of str to str
        `fullUrl` of the entries of the same Bundle → `Type/id`, by which `urn:uuid:` references are followed.
    row_index : int
        `%rowIndex`: position of the current element in its iteration, from 0.
    """

    resource_key: str | None
    full_urls: Mapping[str, str]
    row_index: int = 0

    def at(self, row_index: int) -> Scope:
        """Return the same scope at another position.

        Parameters
        ----------
        row_index : int
            The position, from 0.
        """
        return Scope(self.resource_key, self.full_urls, row_index)


Evaluator = Callable[[list[Any], Scope], list[Any]]


@dataclass(frozen=True)
class Compilation:
    """How expressions of one view are compiled.

    Parameters
    ----------
    constants : Mapping of str to object
        The view's constants by name.
    tolerant : bool
        Give `Unplaced` values for what has not the form FHIR has for it, instead of nothing.
    declared : str, optional
        The FHIR type that the column declares: JSON does not tell a date from a dateTime without a time.
    owner : str, optional
        The name of the element, type or resource that the focus is, when it is known.
    """

    constants: Mapping[str, Any] = field(default_factory=dict)
    tolerant: bool = False
    declared: str | None = None
    owner: str | None = None


def _this(focus: list[Any], _scope: Scope) -> list[Any]:
    return focus


def _literal(value: Any) -> Evaluator:
    found = [] if value is None else [value]

    def evaluate(_focus: list[Any], _scope: Scope) -> list[Any]:
        return found

    return evaluate


def _variable(name: str, how: Compilation) -> Evaluator:
    if name == "rowIndex":
        return lambda _focus, scope: [scope.row_index]
    if name not in how.constants:
        known = ", ".join(f"%{one}" for one in ["rowIndex", *how.constants])
        raise ViewError(f"%{name} is not defined; there are {known}.")
    return _literal(how.constants[name])


def _member(base: Expression, name: str, how: Compilation) -> Evaluator:
    inner, tolerant = compile_expression(base, how), how.tolerant
    if isinstance(base, This) and name[0].isupper():
        # `Patient.name` at the root: the type's own name stands for the resource itself.
        return lambda focus, scope: [
            one for one in inner(focus, scope) if isinstance(one, dict) and one.get("resourceType") == name
        ]
    choice = is_choice(name, owner_of(base, how.owner))
    return lambda focus, scope: children(inner(focus, scope), name, tolerant=tolerant, choice=choice)


def _index(base: Expression, position: Expression, how: Compilation) -> Evaluator:
    inner, at = compile_expression(base, how), compile_expression(position, how)

    def evaluate(focus: list[Any], scope: Scope) -> list[Any]:
        place = single(at(focus, scope), "An index")
        found = inner(focus, scope)
        return [found[place]] if place.__class__ is int and 0 <= place < len(found) else []

    return evaluate


def _negation(operand: Expression, how: Compilation) -> Evaluator:
    inner = compile_expression(operand, how)

    def evaluate(focus: list[Any], scope: Scope) -> list[Any]:
        value = number(single(inner(focus, scope), "-"))
        return [] if value is None else [-value]

    return evaluate


def _logic(operator: str, left: Evaluator, right: Evaluator) -> Evaluator:
    # `and` is settled by a false, `or` by a true; otherwise an unknown side makes the whole unknown.
    decisive = operator == "or"

    def evaluate(focus: list[Any], scope: Scope) -> list[Any]:
        a = truth(left(focus, scope), operator)
        if a is decisive:
            return [decisive]
        b = truth(right(focus, scope), operator)
        if b is decisive:
            return [decisive]
        return [] if a is None or b is None else [not decisive]

    return evaluate


def _equality(operator: str, left: Evaluator, right: Evaluator) -> Evaluator:
    wanted = operator == "="

    def evaluate(focus: list[Any], scope: Scope) -> list[Any]:
        same = equal(left(focus, scope), right(focus, scope))
        return [] if same is None else [same is wanted]

    return evaluate


def _comparison(operator: str, left: Evaluator, right: Evaluator) -> Evaluator:
    holds = _COMPARISONS[operator]

    def evaluate(focus: list[Any], scope: Scope) -> list[Any]:
        order = compare(single(left(focus, scope), operator), single(right(focus, scope), operator))
        return [] if order is None else [holds(order)]

    return evaluate


def _arithmetic(operator: str, left: Evaluator, right: Evaluator) -> Evaluator:
    def evaluate(focus: list[Any], scope: Scope) -> list[Any]:
        a, b = single(left(focus, scope), operator), single(right(focus, scope), operator)
        result = calculate(operator, a, b)
        return [] if result is None else [result]

    return evaluate


def _operation(operator: str, left: Evaluator, right: Evaluator) -> Evaluator:
    match operator:
        case "and" | "or":
            return _logic(operator, left, right)
        case "=" | "!=":
            return _equality(operator, left, right)
        case "|":
            return lambda focus, scope: distinct(left(focus, scope) + right(focus, scope))
        case "<" | "<=" | ">" | ">=":
            return _comparison(operator, left, right)
        case _:
            return _arithmetic(operator, left, right)


def _type_name(call: Call) -> str:
    """Read the type specifier of `ofType(FHIR.Quantity)`: the last of its names."""
    match call.arguments:
        case (Member(This(), name),) | (Member(Member(This(), "FHIR" | "System"), name),):
            return name
    raise ViewError(f"{call.name}() takes the name of one type.")


def _of_type(call: Call, how: Compilation) -> Evaluator:
    type_name = _type_name(call)
    if isinstance(call.base, Member):
        inner, name, tolerant = compile_expression(call.base.base, how), call.base.name, how.tolerant
        return lambda focus, scope: chosen(inner(focus, scope), name, type_name, tolerant=tolerant)
    whole = compile_expression(call.base, how)
    return lambda focus, scope: of_type(whole(focus, scope), type_name)


def fhir_type_of(expression: Expression) -> str | None:
    """Tell the FHIR type of an expression where its text says it: by `ofType`, kept by `first`, `where` and indexes.

    Parameters
    ----------
    expression : Expression
        What `parse` gave.
    """
    match expression:
        case Call(_, "ofType", _):
            return _type_name(expression)
        case Call(base, "first" | "where", _) | Index(base, _):
            return fhir_type_of(base)
        case _:
            return None


def _call(call: Call, how: Compilation) -> Evaluator:
    if call.name == "ofType":
        return _of_type(call, how)
    base = compile_expression(call.base, how)
    if call.name in TYPE_FUNCTIONS:
        wanted = _type_name(call) if call.arguments else None
        by_type = TYPE_FUNCTIONS[call.name]
        return lambda focus, scope: by_type(base(focus, scope), scope, wanted, how.tolerant)
    function: Function | None = FUNCTIONS.get(call.name)
    if function is None:
        known = ", ".join(sorted([*FUNCTIONS, *TYPE_FUNCTIONS, "ofType"]))
        raise ViewError(f"{call.name}() is not known; there are {known}.")
    if not function.fewest <= len(call.arguments) <= function.most:
        raise ViewError(f"{call.name}() does not take {len(call.arguments)} arguments.")
    inside = replace(how, owner=owner_of(call.base, how.owner)) if call.name in ("where", "exists") else how
    arguments = [compile_expression(argument, inside) for argument in call.arguments]
    return function.build(base, arguments, fhir_type_of(call.base) or how.declared)


def compile_expression(expression: Expression, how: Compilation) -> Evaluator:
    """Compile a FHIRPath tree to a closure.

    Parameters
    ----------
    expression : Expression
        What `parse` gave.
    how : Compilation
        The view's constants, and which of the two readings.

    Returns
    -------
    Callable
        `(focus, scope) → list`; it never changes its focus, and raises `ViewError` only where an operator finds several
        values and needs one.

    Raises
    ------
    ViewError
        If a function or variable is not known, or takes other arguments.
    """
    match expression:
        case This():
            return _this
        case Literal(value):
            return _literal(value)
        case Variable(name):
            return _variable(name, how)
        case Member(base, name):
            return _member(base, name, how)
        case Index(base, position):
            return _index(base, position, how)
        case Negation(operand):
            return _negation(operand, how)
        case Operation(operator, left, right):
            return _operation(operator, compile_expression(left, how), compile_expression(right, how))
        case Call():
            return _call(expression, how)
