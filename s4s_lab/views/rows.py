"""Plans to functions that make the rows of one resource: the general back end, by closures.

Another back end may take the same plan (`definition.ViewDefinition`); what it owes is `RowMaker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from s4s_lab.errors import ViewError
from s4s_lab.views.definition import ColumnDefinition, Path, Select, ViewDefinition
from s4s_lab.views.fhirpath import Compilation, Evaluator, Scope, compile_expression, mentions
from s4s_lab.views.fhirpath.selecting import is_choice, owner_of
from s4s_lab.views.fhirpath.syntax import Call, Expression, Member, This, walk
from s4s_lab.views.issues import Unplaced

Row = tuple[Any, ...]
RowMaker = Callable[[Any, Scope], list[Row]]
Cell = Callable[[Any, Scope], Any]
_MAX_REPEATED = 100_000


def _compile(path: Path, how: Compilation) -> Evaluator:
    try:
        return compile_expression(path.expression, how)
    except ViewError as error:
        raise ViewError(f"{path.element}: {error}") from None


def _steps(expression: Expression) -> tuple[str | None, ...] | None:
    """Read `a.b.first().c` as its steps, None standing for `first()`; None when the path is anything more."""
    match expression:
        case This():
            return ()
        case Member(base, name) if not name[0].isupper():
            before = _steps(base)
            return None if before is None else (*before, name)
        case Call(base, "first", ()):
            before = _steps(base)
            return None if before is None else (*before, None)
        case _:
            return None


def _has_choice(expression: Expression, owner: str | None) -> bool:
    return any(isinstance(one, Member) and is_choice(one.name, owner_of(one.base, owner)) for one in walk(expression))


def _direct(steps: Sequence[str | None], general: Cell, *, has_choice: bool) -> Cell:
    """Walk plain steps without making lists; whatever is not plain in the data is left to the general way.

    A choice element that is not there by its plain name may be there with its type at the end.
    """

    def read(node: Any, scope: Scope) -> Any:
        here = node
        for name in steps:
            if name is None:
                if here.__class__ is list:
                    here = next((one for one in here if one is not None), None)
            elif here.__class__ is dict:
                here = here.get(name)
            else:
                return general(node, scope)
            if here is None:
                return general(node, scope) if has_choice else None
        return general(node, scope) if here.__class__ is list else here

    return read


def _cell(column: ColumnDefinition, how: Compilation) -> Cell:
    evaluate = _compile(column.path, replace(how, declared=column.type))
    if column.collection:
        return lambda node, scope: evaluate([node], scope)

    def read(node: Any, scope: Scope) -> Any:
        try:
            found = evaluate([node], scope)
        except ViewError as error:
            if how.tolerant:
                return Unplaced(error.args[0])
            raise ViewError(f"{column.path.element}: {error}") from None
        if len(found) < 2:
            return found[0] if found else None
        if how.tolerant:
            return Unplaced(f"{len(found)} values where one is due")
        raise ViewError(
            f"{column.path.element} gives {len(found)} values for one cell of {column.name!r}.",
            hint='Choose one, for example by first(), or say "collection": true.',
        )

    steps = _steps(column.path.expression)
    if steps is None:
        return read
    return _direct(steps, read, has_choice=_has_choice(column.path.expression, how.owner))


def _elements(select: Select, how: Compilation) -> Callable[[Any, Scope], list[Any]]:
    # `repeat` goes on from what it finds, which is not what it starts from.
    from_here = how if select.iteration != "repeat" else replace(how, owner=None)
    evaluators = [_compile(path, from_here) for path in select.paths]
    if select.iteration != "repeat":
        (evaluate,) = evaluators
        absent: list[Any] = [{}] if select.iteration == "forEachOrNull" else []

        def each(node: Any, scope: Scope) -> list[Any]:
            if how.tolerant and not isinstance(node, dict):
                # The row of this element tells that it is no object; below it there is nothing to tell.
                return absent
            try:
                return evaluate([node], scope) or absent
            except ViewError as error:
                if how.tolerant:
                    return [Unplaced(error.args[0])]
                raise ViewError(f"{select.paths[0].element}: {error}") from None

        return each

    def repeat(node: Any, scope: Scope) -> list[Any]:
        def below(one: Any) -> list[Any]:
            return [child for evaluate in evaluators for child in evaluate([one], scope)]

        found, waiting = [], below(node)[::-1]
        while waiting:
            one = waiting.pop()
            found.append(one)
            if len(found) > _MAX_REPEATED:
                raise ViewError(f"{select.paths[0].element} does not end: a step must lead to children only.")
            waiting.extend(below(one)[::-1])
        return found

    return repeat


def _union(branches: Sequence[RowMaker]) -> RowMaker:
    return lambda node, scope: [row for branch in branches for row in branch(node, scope)]


def _product(cells: Sequence[Cell], parts: Sequence[RowMaker]) -> RowMaker:
    """Join the cells of one element with the rows of its parts, each with each."""

    def rows(node: Any, scope: Scope) -> list[Row]:
        made: list[Row] = [tuple([read(node, scope) for read in cells])]
        for part in parts:
            inner = part(node, scope)
            made = [left + right for left in made for right in inner]
        return made

    return rows


def _counts(select: Select) -> bool:
    """Say whether anything below a select asks for `%rowIndex`."""
    paths = [*select.paths, *(column.path for column in select.columns)]
    inner = (*select.selects, *select.union)
    return any(mentions(path.expression, "rowIndex") for path in paths) or any(_counts(one) for one in inner)


def _repeated(elements: Callable[[Any, Scope], list[Any]], body: RowMaker, *, counting: bool) -> RowMaker:
    """Make the rows of every element; a scope for each is worth its price only where `%rowIndex` is asked for."""
    if not counting:
        return lambda node, scope: [row for one in elements(node, scope) for row in body(one, scope)]
    return lambda node, scope: [
        row for index, one in enumerate(elements(node, scope)) for row in body(one, scope.at(index))
    ]


def _inside(select: Select, how: Compilation) -> Compilation:
    owners = {owner_of(path.expression, how.owner) for path in select.paths}
    return replace(how, owner=owners.pop() if len(owners) == 1 else None) if select.paths else how


def _select(select: Select, outside: Compilation) -> RowMaker:
    how = _inside(select, outside)
    parts = [_select(inner, how) for inner in select.selects]
    if select.union:
        parts.append(_union([_select(branch, how) for branch in select.union]))
    body = _product([_cell(column, how) for column in select.columns], parts)
    if select.iteration is None:
        return body
    return _repeated(_elements(select, outside), body, counting=_counts(select))


def _wanted(where: Sequence[Path], how: Compilation) -> Callable[[Any, Scope], bool]:
    conditions = [(path, _compile(path, how)) for path in where]

    def wanted(node: Any, scope: Scope) -> bool:
        for path, evaluate in conditions:
            found = evaluate([node], scope)
            if not found or found == [False]:
                return False
            if found != [True] or found[0].__class__ is not bool:
                raise ViewError(f"{path.element} must give true or false.", hint="Compare, or ask exists().")
        return True

    return wanted


def compile_rows(definition: ViewDefinition, *, tolerant: bool) -> RowMaker:
    """Compile a plan to a function from a resource to its rows.

    Parameters
    ----------
    definition : ViewDefinition
        The checked view.
    tolerant : bool
        Never raise for what a resource holds: cells that cannot be had become `Unplaced`.

    Returns
    -------
    Callable
        `(resource, scope) → list of tuples`, one value a column, in order.

    Raises
    ------
    ViewError
        If a path names an unknown function or constant; the message names the element.
    """
    how = Compilation(definition.constants, tolerant, owner=definition.resource)
    body = _product((), [_select(select, how) for select in definition.selects])
    if not definition.where:
        return body
    wanted = _wanted(definition.where, how)
    return lambda node, scope: body(node, scope) if wanted(node, scope) else []
