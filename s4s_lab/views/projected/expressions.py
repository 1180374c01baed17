"""FHIRPath trees to closures over batches of structs: the part of the language that pays, exactly as the general way.

A closure takes a level of nodes and gives what the expression finds from each. Whatever is not as FHIR has it is not
read here: its resource is left to the general back end, which says what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any

import msgspec

from s4s_lab.views.fhirpath.functions import reference_target
from s4s_lab.views.fhirpath.moments import Moment, is_moment
from s4s_lab.views.fhirpath.selecting import is_choice, owner_of
from s4s_lab.views.fhirpath.syntax import Call, Expression, Literal, Member, Operation, This, Variable, walk
from s4s_lab.views.projected.batches import Found, Level, children, descendants
from s4s_lab.views.projected.elements import Element
from s4s_lab.views.projected.leaving import SCALARS, leave, leave_no_numbers
from s4s_lab.views.projected.operators import (
    Find,
    chosen_by_text,
    concatenated,
    each,
    equal_to_text,
    equality,
    is_true,
    logic,
    single,
    starting,
    union,
)

_NOTHING: type = type(None)
_ROW_INDEX = "%rowIndex"


class Unsupported(Exception):
    """The expression or view is beyond this back end; the general one runs it."""


@dataclass(frozen=True)
class Reading:
    """How expressions are compiled.

    Parameters
    ----------
    element : Element
        What the focus is.
    constants : Mapping of str to object
        The view's constants by name.
    tolerant : bool
        As for the general back end; here it decides which resources are left to that.
    owner : str, optional
        The name of the element or type that the focus is, as far as it is known.
    """

    element: Element
    constants: Mapping[str, Any]
    tolerant: bool
    owner: str | None

    def below(self, expression: Expression, element: Element) -> Reading:
        """Return how to read from what an expression finds.

        Parameters
        ----------
        expression : Expression
            What leads there.
        element : Element
            What it leads to.
        """
        return replace(self, element=element, owner=owner_of(expression, self.owner))


@dataclass(frozen=True)
class Compiled:
    """What finds the values of an expression.

    Parameters
    ----------
    find : Callable
        Finds the values.
    element : Element or None
        What they are; None for computed values.
    way : tuple of Element
        The last plain steps that lead to them.
    start : Callable, optional
        Finds the structs that those steps start from; None for no steps: the values themselves.
    """

    find: Find
    element: Element | None
    way: tuple[Element, ...] = ()
    start: Find | None = None


def value(expression: Expression, how: Reading, due: type | None = None) -> Find:
    """Compile an expression whose values are used as they are: in a cell, in a comparison.

    Parameters
    ----------
    expression : Expression
        What `parse` gave.
    how : Reading
        From where it is read.
    due : type, optional
        What a value has to be of; None: anything, or lists of it.

    Raises
    ------
    Unsupported
        If it is beyond this back end.
    """
    compiled = compile_path(expression, how)
    element = compiled.element
    if element is None:
        return compiled.find
    if element is how.element:
        raise Unsupported
    if due is None:
        element.is_read = True
    else:
        element.due.add(due)

    def find(level: Level) -> Found:
        found = compiled.find(level)
        if element.is_mixed:
            leave(level, found, lambda kind: kind not in SCALARS)
        elif element.is_plain and due is msgspec.Raw:
            leave_no_numbers(level, found)
        return found

    return find


def compile_path(expression: Expression, how: Reading) -> Compiled:
    """Compile an expression; what it reads becomes a part of the structs.

    Parameters
    ----------
    expression : Expression
        What `parse` gave.
    how : Reading
        From where it is read.

    Raises
    ------
    Unsupported
        If it is beyond this back end.
    """
    match expression:
        case This():
            return Compiled(lambda level: level.itself, how.element)
        case Literal(constant):
            return Compiled(_constant(constant), None)
        case Variable("rowIndex"):
            return Compiled(lambda level: level.found(_ROW_INDEX, lambda one: Found(one.positions())), None)
        case Variable(name) if name in how.constants:
            return Compiled(_constant(how.constants[name]), None)
        case Member(base, name):
            return _member(expression, base, name, how)
        case Operation(operator, left, right):
            return Compiled(_remembered(expression, _operation(operator, left, right, how), how), None)
        case Call():
            return _call(expression, how)
        case _:
            raise Unsupported


def _remembered(expression: Expression, find: Find, how: Reading) -> Find:
    """Evaluate once a level what several columns and views ask for; equal literals may differ in type."""
    inside = list(walk(expression))
    kinds = tuple(type(one.value) for one in inside if isinstance(one, Literal))
    own = id(how.constants) if any(isinstance(one, Variable) for one in inside) else None
    key = (repr(expression), kinds, own, how.tolerant)
    return lambda level: level.found(key, find)


def _constant(constant: Any) -> Find:
    return lambda level: Found([constant] * len(level))


def _step(base: Compiled, element: Element, expression: Expression, how: Reading) -> Compiled:
    above, way, start = base.element, (*base.way, element), base.start or base.find

    def find(level: Level) -> Found:
        # All steps at once, as long as no list is on the way.
        found = descendants(start(level), way) if base.way else None
        if found is not None:
            return found
        found = base.find(level)
        if above is not None and above.is_mixed:
            leave(level, found, SCALARS.__contains__)
        return children(found, element)

    return Compiled(_remembered(expression, find, how), element, way, start)


def _member(expression: Expression, base: Expression, name: str, how: Reading) -> Compiled:
    if name[0].isupper() or is_choice(name, owner_of(base, how.owner)):
        raise Unsupported
    before = compile_path(base, how)
    if before.element is None:
        raise Unsupported
    return _step(before, before.element.child(name), expression, how)


def _of_type(call: Call, how: Reading) -> Compiled:
    match call:
        case Call(Member(base, name), "ofType", (Member(This(), kind),)):
            pass
        case _:
            raise Unsupported
    before = compile_path(base, how)
    if before.element is None:
        raise Unsupported
    plain = _step(before, before.element.child(name), Member(base, name), how)
    typed = _step(before, before.element.child(name + kind[0].upper() + kind[1:]), call, how)

    def find(level: Level) -> Found:
        # The element without a type at the end of its name is not FHIR, but other readers take it.
        leave(level, plain.find(level), lambda _kind: True)
        return typed.find(level)

    return Compiled(find, typed.element)


def _call(call: Call, how: Reading) -> Compiled:
    match call:
        case Call(_, "ofType", _):
            return _of_type(call, how)
        case Call(base, "first", ()):
            return _first(call, base, how)
        case Call(base, "where", (criterion,)):
            return _where(call, base, criterion, how)
        case Call(base, "extension", (Literal(str()) as address,)):
            return _where(call, Member(base, "extension"), Operation("=", Member(This(), "url"), address), how)
        case Call(base, "exists" | "empty", ()):
            return Compiled(_remembered(call, _exists(base, how, wanted=call.name == "exists"), how), None)
        case Call(base, "not", ()):
            return Compiled(each(value(base, how), lambda one: not is_true(one)), None)
        case Call(base, "startsWith", (Literal(str(prefix)),)):
            return Compiled(starting(value(base, how, str), prefix), None)
        case Call(This(), "getResourceKey", ()):
            return Compiled(
                lambda level: Found([level.batch.keys[level.resource_of(i)] for i in range(len(level))]), None
            )
        case Call(base, "getReferenceKey", arguments):
            return _reference_key(call, base, arguments, how)
        case _:
            raise Unsupported


def _alternatives(expression: Expression) -> list[Expression]:
    match expression:
        case Operation("|", left, right):
            return [*_alternatives(left), *_alternatives(right)]
        case _:
            return [expression]


def _first(call: Call, base: Expression, how: Reading) -> Compiled:
    compiled = [compile_path(one, how) for one in _alternatives(base)]
    elements = {one.element for one in compiled}
    if len(elements) > 1:
        # Values from several places: they can be used, but not followed.
        finds = [value(one, how) for one in _alternatives(base)]
        element = None
    else:
        finds = [one.find for one in compiled]
        element = compiled[0].element

    def find(level: Level) -> Found:
        several = [found for found in (one(level) for one in finds) if not found.is_nothing]
        values = several[0].first(len(level)) if several else [None] * len(level)
        for other in several[1:]:
            values = [b if a is None else a for a, b in zip(values, other.first(len(level)), strict=True)]
        return Found(values)

    return Compiled(_remembered(call, find, how), element)


def _where(call: Call, base: Expression, criterion: Expression, how: Reading) -> Compiled:
    before = compile_path(base, how)
    if before.element is None or _is_about_this(criterion):
        if before.element is not None:
            before.element.is_read = True
        chosen = _chosen(_holds_for_values(criterion))
    else:
        below = how.below(base, before.element)
        match criterion:
            case Operation("=", left, Literal(str(text))) if _is_plain_text(text):
                chosen = chosen_by_text(value(left, below, str), left, text)
            case _:
                chosen = _chosen(value(criterion, below))

    def find(level: Level) -> Found:
        found = before.find(level).several()
        return found if found.is_nothing else found.some(chosen(found.level(level)))

    return Compiled(_remembered(call, find, how), before.element)


def _chosen(holds: Find) -> Callable[[Level], list[int]]:
    return lambda level: [i for i, one in enumerate(single(holds(level), level)) if is_true(one)]


def _is_plain_text(text: str) -> bool:
    """Say whether a text names no moment: those are not compared as texts."""
    return not isinstance(text, Moment) and not ("T" in text and is_moment(text))


def _is_about_this(criterion: Expression) -> bool:
    return isinstance(criterion, Call) and criterion.name == "startsWith" and isinstance(criterion.base, This)


def _holds_for_values(criterion: Expression) -> Find:
    match criterion:
        case Call(This(), "startsWith", (Literal(str(prefix)),)):
            return starting(lambda level: Found(level.nodes), prefix)
        case _:
            raise Unsupported


def _exists(base: Expression, how: Reading, *, wanted: bool) -> Find:
    compiled = compile_path(base, how)
    find = compiled.find
    if compiled.element is not None:
        compiled.element.is_asked = True

    def exists(level: Level) -> Found:
        found = find(level)
        if found.owners is None:
            return Found([(one is not None) is wanted for one in found.values])
        there = [not wanted] * len(level)
        for owner in found.owners:
            there[owner] = wanted
        return Found(there)

    return exists


def _operation(operator: str, left: Expression, right: Expression, how: Reading) -> Find:
    match operator, right:
        case "|", _:
            return union(value(left, how), value(right, how))
        case "=" | "!=", Literal(str(text)) if _is_plain_text(text):
            return equal_to_text(value(left, how, str), text, wanted=operator == "=")
        case "=" | "!=", _:
            return equality(operator, value(left, how), value(right, how))
        case "and" | "or", _:
            return logic(operator, value(left, how), value(right, how))
        case _:
            raise Unsupported


def _reference_key(call: Call, base: Expression, arguments: tuple[Expression, ...], how: Reading) -> Compiled:
    wanted: str | None = None
    match arguments:
        case (Member(This(), name),):
            wanted = name
        case (_, *_):
            raise Unsupported
    finds = [value(Member(one, "reference"), how, str) for one in _alternatives(base)]

    def find(level: Level) -> Found:
        several = [found for found in (one(level) for one in finds) if not found.is_nothing]
        if not several:
            return Found([], ())
        found = reduce(concatenated, several).several()
        return _keys(found, level, wanted, how)

    return Compiled(_remembered(call, find, how), None)


_target = lru_cache(maxsize=10_000)(reference_target)


def _keys(found: Found, level: Level, wanted: str | None, how: Reading) -> Found:
    values: list[Any] = []
    owners: list[int] = []
    urls = level.batch.full_urls
    for owner, reference in zip(found.owners or (), found.values, strict=True):
        text = reference if isinstance(reference, str) else ""
        target = _target(urls[level.resource_of(owner)].get(text, text))
        if target is None:
            if how.tolerant:
                level.odd([owner])
        elif wanted in (None, target[0]):
            values.append(target[1])
            owners.append(owner)
    return Found(values, owners)
