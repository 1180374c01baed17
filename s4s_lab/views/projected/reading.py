"""Reading an element of many structs in one go: the only Python that is made at run time.

A comprehension over attributes is the fastest that Python has. Its text holds nothing but names of ours, `e` and a
number, so there is nothing in it that comes from a view or from data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

Reader = Callable[[Sequence[Any]], list[Any]]


def _compiled(text: str) -> Reader:
    namespace: dict[str, Any] = {"__builtins__": {}}
    exec(f"def read(nodes):\n    return {text}", namespace)  # noqa: S102  # numbers are all that varies
    read: Reader = namespace["read"]
    return read


@lru_cache(maxsize=1024)
def reader(*numbers: int) -> Reader:
    """Return a function from structs to the list of an element of each; every step on the way has to be a struct.

    Parameters
    ----------
    *numbers : int
        The way to the element, step by step: what stands after `e` in their names.
    """
    steps = "".join(f".e{number:d}" for number in numbers)
    return _compiled(f"[node{steps} for node in nodes]")


@lru_cache(maxsize=1024)
def guarded_reader(*numbers: int) -> Reader:
    """Return the same for structs or None: where a step is None, the element is.

    Parameters
    ----------
    *numbers : int
        As for `reader`.
    """
    here, loops = "node", ""
    for depth, number in enumerate(numbers[:-1]):
        loops += f" for below{depth:d} in (None if {here} is None else {here}.e{number:d},)"
        here = f"below{depth:d}"
    return _compiled(f"[None if {here} is None else {here}.e{numbers[-1]:d} for node in nodes{loops}]")
