"""Reading an element of many structs in one go: the only Python that is made at run time.

A comprehension over an attribute is the fastest that Python has. Its text holds nothing but names of ours, `e` and a
number, so there is nothing in it that comes from a view or from data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1024)
def reader(number: int) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function from structs to the list of an element of each.

    Parameters
    ----------
    number : int
        The element: what stands after `e` in its name.
    """
    namespace: dict[str, Any] = {"__builtins__": {}}
    exec(f"def read(nodes):\n    return [node.e{number:d} for node in nodes]", namespace)  # noqa: S102  # a number is all that varies
    read: Callable[[Sequence[Any]], list[Any]] = namespace["read"]
    return read
