"""Plans to batches of rows: each column is read and placed once for each node of its own level; Arrow repeats it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from s4s_lab.views.building import Issues, place_collection
from s4s_lab.views.building import place as place_values
from s4s_lab.views.definition import ColumnDefinition, Select, ViewDefinition
from s4s_lab.views.fhirpath.syntax import Call, Expression, Literal, Member, Operation, This
from s4s_lab.views.projected.batches import Level
from s4s_lab.views.projected.expressions import Reading, Unsupported, compile_path, value
from s4s_lab.views.projected.operators import Find, single

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """One column on its own level.

    Parameters
    ----------
    array : pyarrow.Array
        Its values.
    issues : Issues
        What was wrong, by the positions of the values.
    value_of : numpy.ndarray, shape (rows,), optional
        For each row the position of its value; None: row by row.
    """

    array: pa.Array
    issues: Issues
    value_of: Positions | None = None


@dataclass(frozen=True)
class Rows:
    """The rows below the nodes of a level.

    Parameters
    ----------
    count : int
        How many.
    node_of : numpy.ndarray, shape (count,), optional
        For each row the position of its node, ascending; None when there is one row a node.
    columns : dict of int to Cells
        By the columns' positions.
    """

    count: int
    node_of: Positions | None
    columns: dict[int, Cells]


@dataclass
class Shape:
    """What makes the rows of the nodes of a level.

    Parameters
    ----------
    cells : list
        Position of a column, and how it is read.
    branches : list
        What goes further down: where to (None: stays), and how; several branches are a union.
    """

    cells: list[tuple[int, Find]] = field(default_factory=list)
    branches: list[tuple[Find | None, Shape]] = field(default_factory=list)


def compile_shape(plan: ViewDefinition, how: Reading) -> Shape:
    """Compile a view; what it reads becomes a part of the structs of its resources.

    Parameters
    ----------
    plan : ViewDefinition
        The checked view.
    how : Reading
        From the resource.

    Raises
    ------
    Unsupported
        If the view is beyond this back end.
    """
    if plan.where:
        raise Unsupported
    shape = Shape()
    _add(shape, plan.selects, _Place(how, None), 0)
    return shape


@dataclass(frozen=True)
class _Place:
    """Where columns are read: from a node, or from the one element that a path leads to from it."""

    how: Reading
    prefix: Expression | None


def _add(shape: Shape, selects: Sequence[Select], place: _Place, start: int) -> int:
    """Add selects that stand side by side; at most one of them may have several rows."""
    for select in selects:
        match select.iteration, select.paths:
            case None, _:
                start = _add_here(shape, select, place, start)
            case "forEachOrNull", (path,) if _is_first(path.expression):
                inner = _Place(place.how, _composed(path.expression, place.prefix))
                start = _add_here(shape, select, inner, start)
            case "forEach", (path,) if place.prefix is None:
                _one_way_down(shape)
                branch, start = _each(select, path.expression, place.how, start)
                shape.branches.append(branch)
            case _:
                raise Unsupported
    return start


def _is_first(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.name == "first"


def _one_way_down(shape: Shape) -> None:
    if shape.branches:
        raise Unsupported


def _add_here(shape: Shape, select: Select, place: _Place, start: int) -> int:
    for column in select.columns:
        shape.cells.append((start, _cell(column, place)))
        start += 1
    start = _add(shape, select.selects, place, start)
    if not select.union:
        return start
    if place.prefix is not None:
        raise Unsupported
    _one_way_down(shape)
    end = start
    for branch in select.union:
        inner = Shape()
        end = _add(inner, [branch], place, start)
        shape.branches.append((None, inner))
    return end


def _each(select: Select, path: Expression, how: Reading, start: int) -> tuple[tuple[Find, Shape], int]:
    compiled = compile_path(path, how)
    if compiled.element is None or compiled.element is how.element:
        raise Unsupported
    inner = Shape()
    end = _add_here(inner, replace(select, iteration=None), _Place(how.below(path, compiled.element), None), start)
    return (compiled.find, inner), end


def _cell(column: ColumnDefinition, place: _Place) -> Find:
    due = None if column.collection else column.kind.due
    return value(_composed(column.path.expression, place.prefix), place.how, due)


def _composed(expression: Expression, prefix: Expression | None) -> Expression:
    """Return the expression that finds from a node what `expression` finds from the element that `prefix` leads to."""
    if prefix is None:
        return expression
    match expression:
        case Literal():
            return expression
        case Member(This(), name):
            return Member(prefix, name)
        case Member(base, name):
            return Member(_composed(base, prefix), name)
        case Call(base, "first" | "where" | "ofType" as name, arguments) if not isinstance(base, This):
            return Call(_composed(base, prefix), name, arguments)
        case Operation("|", left, right):
            return Operation("|", _composed(left, prefix), _composed(right, prefix))
        case _:
            raise Unsupported


def rows_of(shape: Shape, level: Level, columns: Sequence[ColumnDefinition]) -> Rows:
    """Make the rows below the nodes of a level.

    Parameters
    ----------
    shape : Shape
        What `compile_shape` gave.
    level : Level
        Resources, or elements of them.
    columns : sequence of ColumnDefinition
        All of the view's.
    """
    below = [_below(find, inner, level, columns) for find, inner in shape.branches]
    if not below:
        rows = Rows(len(level), None, {})
    elif len(below) == 1:
        rows = below[0]
    else:
        rows = _united(below)
    for position, find in shape.cells:
        # Placed at once: what has just been read is still in the processor's cache.
        array, issues = _placed(columns[position], find, level)
        rows.columns[position] = Cells(array, issues, rows.node_of)
    return rows


def _placed(column: ColumnDefinition, find: Find, level: Level) -> tuple[pa.Array, Issues]:
    issues = Issues()
    if not len(level):
        return pa.array([], pa.list_(column.kind.arrow) if column.collection else column.kind.arrow), issues
    found = find(level)
    if not column.collection:
        return place_values(column, single(found, level), issues), issues
    several = found.several()
    counts = np.bincount(several.owner_array, minlength=len(level))
    return place_collection(column, several.values, counts, issues), issues


def _below(find: Find | None, shape: Shape, level: Level, columns: Sequence[ColumnDefinition]) -> Rows:
    if find is None:
        return rows_of(shape, level, columns)
    inner = find(level).several().level(level)
    rows = rows_of(shape, inner, columns)
    owners = inner.owners
    return Rows(rows.count, owners if rows.node_of is None else owners[rows.node_of], rows.columns)


def _all(positions: Positions | None, count: int) -> Positions:
    return np.arange(count) if positions is None else positions


def _united(below: Sequence[Rows]) -> Rows:
    """Put the rows of several branches together, node by node, each node's in the order of the branches."""
    filled = [rows for rows in below if rows.count]
    if len(filled) < 2:
        return (filled or list(below))[0]
    node_of = np.concatenate([_all(rows.node_of, rows.count) for rows in filled])
    order = np.argsort(node_of, kind="stable")
    columns = {
        position: _cells_united([rows.columns[position] for rows in filled], [rows.count for rows in filled], order)
        for position in filled[0].columns
    }
    return Rows(len(order), node_of[order], columns)


def _cells_united(cells: Sequence[Cells], rows: Sequence[int], order: Positions) -> Cells:
    begins = np.cumsum([0, *(len(one.array) for one in cells)])
    value_of = [_all(one.value_of, count) + begin for one, count, begin in zip(cells, rows, begins, strict=False)]
    issues = Issues()
    for one, begin in zip(cells, begins.tolist(), strict=False):
        issues.by_row.update({begin + position: said for position, said in one.issues.by_row.items()})
    return Cells(pa.concat_arrays([one.array for one in cells]), issues, np.concatenate(value_of)[order])
