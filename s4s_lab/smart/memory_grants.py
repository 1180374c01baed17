"""A grant in memory: it ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from s4s_lab.errors import GrantExpired, S4SError
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.renewal import MemoryJournal, Watch, renewed


class MemoryGrants:
    """A `GrantStore` that ends with the process.

    Parameters
    ----------
    grant : Grant
        The first grant.
    """

    def __init__(self, grant: Grant) -> None:
        self._grant: Grant | None = grant
        self._lock = threading.Lock()
        self._journal = MemoryJournal()
        self._watch = Watch()

    @property
    def failure(self) -> S4SError | None:
        """Why the last renewal failed; None when it did not."""
        return self._watch.failure

    def read(self) -> Grant:
        """Return the newest grant.

        Raises
        ------
        GrantExpired
            After `forget`.
        """
        grant = self._grant
        if grant is None:
            raise GrantExpired("The grant was dropped.")
        return grant

    def renew(self, used_generation: int, refresh: Callable[[Grant], Grant]) -> Grant:
        """Renew the grant, unless another thread has done so since `used_generation`.

        Parameters
        ----------
        used_generation : int
            The generation that is due or was refused.
        refresh : callable
            Takes the newest grant, asks the token endpoint, returns the renewed one.

        Raises
        ------
        GrantExpired
            After `forget`, or when the server does not renew the grant.
        """
        with self._lock:
            current = self.read()
            if current.generation == used_generation:
                with self._watch:
                    self._grant = current = renewed(current, refresh, self._journal)
            return current

    def end(self, revoke: Callable[[Grant], bool]) -> bool:
        """Have the grant revoked, then drop it whatever came of that.

        Parameters
        ----------
        revoke : callable
            Tells the server; returns whether it agreed.

        Raises
        ------
        GrantExpired
            If it was dropped before.
        """
        with self._lock:
            try:
                return revoke(self.read())
            finally:
                self._grant = None

    def forget(self) -> None:
        """Drop the grant."""
        with self._lock:
            self._grant = None

    def __repr__(self) -> str:
        return "MemoryGrants()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Grants in memory cannot leave this process; keep them in a file and pass its path instead.")
