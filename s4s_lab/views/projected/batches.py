"""Values of many elements at once: what an expression finds from each node of a level, and to which node it belongs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain, compress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from s4s_lab.views.projected.elements import Element
from s4s_lab.views.projected.reading import guarded_reader, reader

Positions = npt.NDArray[np.int64]
Owners = Sequence[int] | Positions
Kinds = set[type] | frozenset[type]
_NOTHING: type = type(None)
# The types of values that were found in lists of structs.
_STRUCTS: frozenset[type] = frozenset({msgspec.Struct})


class Found:
    """What one expression finds from each node of a level.

    Parameters
    ----------
    values : list
        One value or None a node when `owners` is None; else any number a node, none of them None.
    owners : sequence of int or numpy.ndarray, optional
        The node that each value belongs to, ascending.
    kinds : set of type, optional
        The types of the values, when they are known.
    """

    __slots__ = ("_array", "_columns", "_kinds", "_level", "_owners", "_several", "values")

    def __init__(self, values: list[Any], owners: Owners | None = None, kinds: Kinds | None = None) -> None:
        self.values = values
        self._owners = owners
        self._kinds = kinds
        self._array: Positions | None = owners if isinstance(owners, np.ndarray) else None
        self._columns: dict[tuple[int, ...], list[Any]] = {}
        self._level: Level | None = None
        self._several: Found | None = None

    @property
    def owners(self) -> Sequence[int] | None:
        """The node that each value belongs to; None when there is one value, or None, a node."""
        owners = self._owners
        if isinstance(owners, np.ndarray):
            listed: list[int] = owners.tolist()
            self._owners = listed
            return listed
        return owners

    @property
    def owner_array(self) -> Positions:
        """The node that each value belongs to; `owners` must be there."""
        if self._array is None:
            owners = self._owners or ()
            self._array = np.arange(len(owners)) if isinstance(owners, range) else np.asarray(owners, np.int64)
        return self._array

    @property
    def given_owners(self) -> Owners | None:
        """The same, as it was given."""
        return self._owners

    @property
    def is_aligned(self) -> bool:
        """Whether there is one value, or None, a node."""
        return self._owners is None

    @property
    def is_nothing(self) -> bool:
        """Whether no node has a value: two tables of three hold columns that no resource fills."""
        # Lists are compared from their beginning, to the first value.
        return not self.values or (self.values[0] is None and self.values == [None] * len(self.values))

    @property
    def kinds(self) -> Kinds:
        """The types of the values."""
        if self._kinds is None:
            self._kinds = set(map(type, self.values))
        return self._kinds

    def without(self, places: Iterable[int]) -> None:
        """Make some values absent.

        Parameters
        ----------
        places : iterable of int
            Their places.
        """
        for place in places:
            self.values[place] = None
        self._kinds = None

    def column(self, *numbers: int) -> list[Any]:
        """Return an element of each struct, None where there is no struct.

        Parameters
        ----------
        *numbers : int
            The way to the element, step by step.

        Raises
        ------
        AttributeError
            If a step leads to a list.
        """
        known = self._columns.get(numbers)
        if known is None:
            try:
                known = reader(*numbers)(self.values)
            except AttributeError:
                known = guarded_reader(*numbers)(self.values)
            self._columns[numbers] = known
        return known

    def several(self) -> Found:
        """Return the same with owners, without the nodes that have nothing."""
        if self._owners is not None:
            return self
        if self._several is None:
            if self.is_nothing:
                self._several = Found([], ())
            elif _NOTHING not in self.kinds:
                self._several = Found(self.values, range(len(self.values)), self.kinds)
            else:
                there = [value is not None for value in self.values]
                owners = np.flatnonzero(there)
                self._several = Found(list(compress(self.values, there)), owners, self.kinds - {_NOTHING})
        return self._several

    def some(self, places: list[int]) -> Found:
        """Return some of the values; `owners` must be there.

        Parameters
        ----------
        places : list of int
            Theirs, ascending.
        """
        if len(places) == len(self.values):
            return self
        return Found([self.values[place] for place in places], self.owner_array[places] if places else ())

    def first(self, nodes: int) -> list[Any]:
        """Return the first value of each node, None where there is none.

        Parameters
        ----------
        nodes : int
            How many nodes the level has.
        """
        owners = self.owners
        if owners is None:
            return self.values
        firsts: list[Any] = [None] * nodes
        for owner, value in zip(reversed(owners), reversed(self.values), strict=True):
            firsts[owner] = value
        return firsts

    def level(self, above: Level) -> Level:
        """Return the values as nodes of a level of their own; the same one whenever it is asked for.

        Parameters
        ----------
        above : Level
            The level it was found from; `owners` must be there.
        """
        if self._level is None:
            self._level = Level(self.values, above.batch, self.owner_array, above)
        return self._level

    def close(self) -> None:
        """Let go of the level that was made of the values: it refers to the one above, and that may refer here."""
        self._level = None
        if self._several is not None:
            self._several._level = None


class Batch:
    """Resources that are read together.

    Parameters
    ----------
    keys : sequence of str
        The key of each.
    full_urls : sequence of Mapping
        By which the references of each are followed.
    """

    def __init__(self, keys: Sequence[str], full_urls: Sequence[Mapping[str, str]]) -> None:
        self.keys = keys
        self.full_urls = full_urls
        # Positions of resources that only the general back end can read.
        self.odd: set[int] = set()
        self.levels: list[Level] = []

    def close(self) -> None:
        """Let go of what was found, whose levels refer to each other: it would wait for the cyclic collector."""
        for level in self.levels:
            level.close()
        self.levels.clear()


class Level:
    """Nodes that are read together: resources, or the elements that a `forEach` or a criterion goes through.

    Parameters
    ----------
    nodes : list
        Structs or JSON values, none of them None.
    batch : Batch
        What they belong to.
    owners : numpy.ndarray, shape (nodes,)
        For each node the position of the node above it; for a resource its own.
    above : Level, optional
        The level above; None for resources.
    """

    def __init__(self, nodes: list[Any], batch: Batch, owners: Positions, above: Level | None = None) -> None:
        self.nodes = nodes
        self.batch = batch
        self.owners = owners
        self.itself = Found(nodes)
        self._above = above
        self._known: dict[Hashable, Found] = {}
        batch.levels.append(self)

    def close(self) -> None:
        """Forget what was found from here."""
        for found in (self.itself, *self._known.values()):
            found.close()
        self._known.clear()

    def __len__(self) -> int:
        return len(self.nodes)

    def found(self, key: Hashable, find: Callable[[Level], Found]) -> Found:
        """Return what an expression finds here; each is evaluated once, whoever asks.

        Parameters
        ----------
        key : Hashable
            The expression.
        find : Callable
            Evaluates it.
        """
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = find(self)
        return known

    def odd(self, nodes: Iterable[int]) -> None:
        """Leave the resources of nodes to the general back end.

        Parameters
        ----------
        nodes : iterable of int
            Positions.
        """
        self.batch.odd.update(map(self.resource_of, nodes))

    def resource_of(self, node: int) -> int:
        """Return the position of a node's resource in the batch.

        Parameters
        ----------
        node : int
            The node's position.
        """
        return node if self._above is None else self._above.resource_of(int(self.owners[node]))

    def positions(self) -> list[int]:
        """Return `%rowIndex` of each node: its position among those of the same owner, from 0."""
        count = len(self.nodes)
        begins = np.flatnonzero(np.diff(self.owners, prepend=-1))
        positions: list[int] = (np.arange(count) - np.repeat(begins, np.diff(begins, append=count))).tolist()
        return positions


def children(base: Found, element: Element) -> Found:
    """Go one step down from what was found, lists flattened, nulls left out.

    Parameters
    ----------
    base : Found
        Structs.
    element : Element
        Where to.
    """
    if base.is_nothing:
        return base
    return _below(base.column(element.number), base, element)


def descendants(base: Found, path: Sequence[Element]) -> Found | None:
    """Go several steps down at once; None when a list is on the way.

    Parameters
    ----------
    base : Found
        Structs.
    path : sequence of Element
        Where to, step by step.
    """
    if base.is_nothing or any(element.is_mixed for element in path[:-1]):
        return None
    try:
        below = base.column(*(element.number for element in path))
    except AttributeError:
        return None
    return _below(below, base, path[-1])


def _below(below: list[Any], base: Found, element: Element) -> Found:
    if element.is_plain and base.is_aligned:
        return Found(below)
    if element.is_object:
        # Tried first, because it is nearly always so: nothing has to be looked at then.
        found = _in_lists(below, base)
        if found is not None:
            return found
    return _flat(below, base, element)


def _in_lists(below: list[Any], base: Found) -> Found | None:
    """Flatten lists of structs; None when there is anything else among them."""
    try:
        # Of a CodeableConcept there is one coding, as a rule.
        return Found([one for (one,) in below], base.given_owners, _STRUCTS)
    except TypeError:
        return None
    except ValueError:
        pass
    try:
        counts = list(map(len, below))
    except TypeError:
        return None
    return _flattened(below, counts, base)


def _flattened(lists: list[Any], counts: list[int], base: Found) -> Found:
    """Flatten lists; what is in them passes for structs, none of them None."""
    if base.is_aligned and max(counts) < 2:
        return Found([one[0] if one else None for one in lists])
    owners = np.repeat(np.arange(len(lists)) if base.is_aligned else base.owner_array, counts)
    return Found(list(chain.from_iterable(lists)), owners, _STRUCTS)


def _flat(below: list[Any], base: Found, element: Element) -> Found:
    found = Found(below)
    if found.is_nothing:
        return found if base.is_aligned else Found([], ())
    kinds = found.kinds
    if list not in kinds:
        return found if base.is_aligned else _without_nothing(below, base.owner_array, kinds)
    lists = _as_lists(below, kinds)
    flattened = _flattened(lists, list(map(len, lists)), base)
    if element.is_object or flattened.is_aligned:
        return flattened
    return _without_nothing(flattened.values, flattened.owner_array, set(map(type, flattened.values)))


def _as_lists(below: list[Any], kinds: Kinds) -> list[Any]:
    if not kinds <= {list, _NOTHING}:
        below = [one if one is None or one.__class__ is list else [one] for one in below]
    return [one or () for one in below] if _NOTHING in kinds else below


def _without_nothing(values: list[Any], owners: Positions, kinds: Kinds) -> Found:
    if _NOTHING not in kinds:
        return Found(values, owners, kinds)
    there = np.array([value is not None for value in values], np.bool_)
    return Found(list(compress(values, there.tolist())), owners[there], kinds - {_NOTHING})
