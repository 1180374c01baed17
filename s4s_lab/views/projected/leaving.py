"""What is not as FHIR has it: noticed here, read by the general back end, which alone says what was wrong."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np

from s4s_lab.views.projected.batches import Found, Level

_NOTHING: type = type(None)
SCALARS = frozenset({str, int, Decimal, bool})
# What numbers are written with; a blank is between them.
_IN_NUMBERS = b" 0123456789.-+eE"
_MAX_WRITTEN = 64


def leave(level: Level, found: Found, is_odd: Callable[[type], bool]) -> None:
    """Leave the resources of values of odd types to the general back end; such values count as absent here.

    Parameters
    ----------
    level : Level
        From where they were found.
    found : Found
        The values.
    is_odd : Callable
        Says of a type whether it is odd.
    """
    if found.is_nothing:
        return
    odd_kinds = {kind for kind in found.kinds - {_NOTHING} if is_odd(kind)}
    if odd_kinds:
        odd = [i for i, one in enumerate(found.values) if type(one) in odd_kinds]
        level.odd(odd if found.owners is None else [found.owners[i] for i in odd])
        found.without(odd)


def leave_no_numbers(level: Level, found: Found) -> None:
    """Leave the resources of values that are not written as numbers, or with more digits than any column takes.

    Parameters
    ----------
    level : Level
        From where they were found.
    found : Found
        `msgspec.Raw` or None.
    """
    written = b" ".join([one for one in found.values if one is not None])
    if not written or (not written.translate(None, _IN_NUMBERS) and _longest(written) <= _MAX_WRITTEN):
        return
    texts = [None if one is None else bytes(one) for one in found.values]
    odd = [
        i for i, one in enumerate(texts) if one and (one.translate(None, _IN_NUMBERS[1:]) or len(one) > _MAX_WRITTEN)
    ]
    level.odd(odd if found.owners is None else [found.owners[i] for i in odd])
    found.without(odd)


def _longest(written: bytes) -> int:
    ends = np.flatnonzero(np.frombuffer(written + b" ", np.uint8) == _IN_NUMBERS[0])
    return int(np.diff(ends, prepend=-1).max())
