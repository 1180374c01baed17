"""Values of many elements at once: what an expression finds from each node of a level, and to which node it belongs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from itertools import chain, compress
from typing import Any

import numpy as np
import numpy.typing as npt

from s4s_lab.views.projected.elements import Element
from s4s_lab.views.projected.reading import reader

Owners = Sequence[int] | npt.NDArray[np.int64]
_NOTHING: type = type(None)


class Found:
    """What one expression finds from each node of a level.

    Parameters
    ----------
    values : list
        One value or None a node when `owners` is None; else any number a node, none of them None.
    owners : sequence of int or numpy.ndarray, optional
        The node that each value belongs to, ascending.
    """

    __slots__ = ("_columns", "_level", "_owners", "_several", "values")

    def __init__(self, values: list[Any], owners: Owners | None = None) -> None:
        self.values = values
        self._owners = owners
        self._columns: dict[int, list[Any]] = {}
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
    def is_aligned(self) -> bool:
        """Whether there is one value, or None, a node."""
        return self._owners is None

    def column(self, number: int, together: Collection[int]) -> list[Any]:
        """Return an element of each struct, None where there is no struct.

        Parameters
        ----------
        number : int
            Of the element.
        together : collection of int
            The elements to read when this is the first one that is asked for.
        """
        if number not in self._columns:
            wanted = tuple(together)
            try:
                columns = reader(wanted, sparse=False)(self.values)
            except AttributeError:
                columns = reader(wanted, sparse=True)(self.values)
            self._columns.update(zip(wanted, columns, strict=True))
        return self._columns[number]

    def several(self) -> Found:
        """Return the same with owners, without the nodes that have nothing."""
        if self._owners is not None:
            return self
        if self._several is None:
            there = [value is not None for value in self.values]
            if all(there):
                self._several = Found(self.values, range(len(there)))
            else:
                self._several = Found(list(compress(self.values, there)), list(compress(range(len(there)), there)))
        return self._several

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
            self._level = Level(self.values, above.batch, () if self._owners is None else self._owners, above)
        return self._level


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
    owners : sequence of int or numpy.ndarray
        For each node the position of the node above it; for a resource its own.
    above : Level, optional
        The level above; None for resources.
    """

    def __init__(self, nodes: list[Any], batch: Batch, owners: Owners, above: Level | None = None) -> None:
        self.nodes = nodes
        self.batch = batch
        self.owners = owners
        self.itself = Found(nodes)
        self._above = above
        self._known: dict[Hashable, Found] = {}
        batch.levels.append(self)

    def close(self) -> None:
        """Forget what was found from here."""
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
        found, owner, position = [], -1, 0
        for one in self.owners:
            position = position + 1 if one == owner else 0
            owner = one
            found.append(position)
        return found


def children(base: Found, element: Element, together: Collection[int]) -> Found:
    """Go one step down from what was found, lists flattened, nulls left out.

    Parameters
    ----------
    base : Found
        Structs.
    element : Element
        Where to.
    together : collection of int
        Numbers of the elements that are worth being read with it.
    """
    below = base.column(element.number, together)
    return Found(below) if element.is_plain and base.is_aligned else _flat(below, base)


def _flat(below: list[Any], base: Found) -> Found:
    kinds = set(map(type, below))
    if list not in kinds:
        return Found(below) if base.is_aligned else _without_nothing(below, base.owners or (), kinds)
    if not kinds <= {list, _NOTHING}:
        below = [one if one is None or one.__class__ is list else [one] for one in below]
    lists = [one or () for one in below] if _NOTHING in kinds else below
    counts = list(map(len, lists))
    if base.is_aligned and max(counts) < 2:
        return Found([one[0] if one else None for one in lists])
    flat = list(chain.from_iterable(lists))
    owners = np.repeat(np.arange(len(below)) if base.is_aligned else np.asarray(base.owners, np.int64), counts)
    return _without_nothing(flat, owners, set(map(type, flat)))


def _without_nothing(values: list[Any], owners: Owners, kinds: set[type]) -> Found:
    if _NOTHING not in kinds:
        return Found(values, owners)
    there = [value is not None for value in values]
    return Found(list(compress(values, there)), list(compress(owners, there)))
