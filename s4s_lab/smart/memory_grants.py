"""A grant in memory: it ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

from s4s_lab.errors import GrantExpired, S4SError
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.renewal import MemoryJournal, Watch, renewed
from s4s_lab.values.instants import utc_now

Kept = TypeVar("Kept")


class MemoryGrants:
    """A `GrantStore` that ends with the process.

    Parameters
    ----------
    grant : Grant
        The first grant.
    """

    def __init__(self, grant: Grant) -> None:
        self._grant: Grant | None = grant
        self._gone = ""
        self._lock = threading.Lock()
        self._journal = MemoryJournal()
        self._watch = Watch()

    @property
    def failure(self) -> S4SError | None:
        """Why the last renewal failed; None when it did not."""
        return self._watch.failure

    @property
    def refused(self) -> bool:
        """Whether the server had refused the access token when the last renewal failed."""
        return self._watch.refused

    def read(self) -> Grant:
        """Return the newest grant.

        Raises
        ------
        GrantExpired
            After `end`, `forget` or `move`; it says which.
        """
        grant = self._grant
        if grant is None:
            raise GrantExpired(self._gone)
        return grant

    def renew(self, used_generation: int, refresh: Callable[[Grant], Grant], *, refused: bool = False) -> Grant:
        """Renew the grant, unless another thread has done so since `used_generation`.

        Parameters
        ----------
        used_generation : int
            The generation that is due or was refused.
        refresh : callable
            Takes the newest grant, asks the token endpoint, returns the renewed one.
        refused : bool
            Whether the access token is good for nothing any more, as the server refused it.

        Raises
        ------
        GrantExpired
            After `forget`, or when the server does not renew the grant.
        """
        with self._lock:
            current = self.read()
            if current.generation == used_generation:
                with self._watch.over(refused=refused):
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
            grant = self.read()
            try:
                return revoke(grant)
            finally:
                self._drop(f"The access was given back (disconnected) on {utc_now():%Y-%m-%d}.")

    def move(self, keep: Callable[[Grant], Kept]) -> Kept:
        """Have the grant kept elsewhere while nobody renews it, then drop it here; it stays when that fails.

        Parameters
        ----------
        keep : callable
            Keeps the newest grant, and returns where.

        Raises
        ------
        GrantExpired
            If it was dropped before.
        """
        with self._lock:
            kept = keep(self.read())
            self._drop("The grant is kept elsewhere now: use the connection that `kept_at` returned.")
            return kept

    def forget(self) -> None:
        """Drop the grant."""
        with self._lock:
            self._drop("The grant was dropped.")

    def _drop(self, why: str) -> None:
        if self._grant is not None:
            self._grant, self._gone = None, why

    def __repr__(self) -> str:
        return "MemoryGrants()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Grants in memory cannot leave this process; keep them in a file and pass its path instead.")
