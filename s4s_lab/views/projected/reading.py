"""Reading elements of many structs in one go: the only Python that is made at run time.

A struct is touched once for all of its elements that are read: touching it is what costs. The text of a function holds
nothing but names of ours, `e` and a number, so there is nothing in it that comes from a view or from data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

Read = Callable[[Sequence[Any]], tuple[list[Any], ...]]


@lru_cache(maxsize=4096)
def reader(numbers: tuple[int, ...], *, sparse: bool) -> Read:
    """Return a function from structs to one list an element.

    Parameters
    ----------
    numbers : tuple of int
        The elements: what stands after `e` in their names.
    sparse : bool
        Whether some structs may be None; their elements are None.
    """
    if len(numbers) == 1 and not sparse:
        lines = ["def read(nodes):", f"    return ([node.e{numbers[0]:d} for node in nodes],)"]
    else:
        lines = _loop(numbers, sparse=sparse)
    namespace: dict[str, Any] = {"__builtins__": {}}
    exec("\n".join(lines), namespace)  # noqa: S102  # numbers are all that varies
    read: Read = namespace["read"]
    return read


def _loop(numbers: tuple[int, ...], *, sparse: bool) -> list[str]:
    lists = ", ".join(f"c{number:d}" for number in numbers)
    lines = [f"def read(nodes):\n    {lists}, = {'[], ' * len(numbers)}"]
    lines += [f"    a{number:d} = c{number:d}.append" for number in numbers]
    lines.append("    for node in nodes:")
    if sparse:
        lines.append("        if node is None:")
        lines += [f"            a{number:d}(None)" for number in numbers]
        lines.append("            continue")
    lines += [f"        a{number:d}(node.e{number:d})" for number in numbers]
    return [*lines, f"    return {lists},"]
