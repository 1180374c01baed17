"""A string that cannot be shown by accident."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn


class Secret:
    """A token, a code or a client secret, kept out of reprs, pickles, copies and formatted text.

    Parameters
    ----------
    value : str
        The text to keep.

    References
    ----------
    SMART App Launch 2.2, "App protection": an app must not leak tokens or secrets.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself; the one place where it leaves this object."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def _refuse(self) -> NoReturn:
        raise TypeError("A secret cannot be pickled or copied; pass a reference to where it is kept instead.")

    def __reduce__(self) -> NoReturn:
        self._refuse()

    def __copy__(self) -> NoReturn:
        self._refuse()

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        self._refuse()
