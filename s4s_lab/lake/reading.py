"""Reading one table as it is now: refreshed first when it is behind, derived when it is not stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable

from s4s_lab.errors import DatasetError
from s4s_lab.lake.stored import Layout


@dataclass(frozen=True)
class Reading:
    """One table, and how to bring it up to date.

    Parameters
    ----------
    layout : Layout
        How it is stored.
    is_current : callable
        Says whether the stored table shows the newest.
    refresh : callable
        Makes it so, says why it cannot, or raises a `DatasetError` at once.
    stored : callable
        Opens the stored table; None when there is none that can be shown.
    derive : callable
        Makes the rows without storing them.
    """

    layout: Layout
    is_current: Callable[[], bool]
    refresh: Callable[[], str | None]
    stored: Callable[[], DeltaTable | None]
    derive: Callable[[], pa.Table]

    def rows(self, *, fallen_out: bool) -> tuple[pa.Table, str | None]:
        """Return the rows, and why they are not the newest when they are not.

        Parameters
        ----------
        fallen_out : bool
            Whether to show what fell out of the record.
        """
        handle, reason = self._opened()
        if handle is None:
            return self.layout.show(self.derive(), fallen_out=fallen_out), None
        return self.layout.read(handle, fallen_out=fallen_out), reason

    def count(self) -> tuple[int, str | None]:
        """Return how many rows are in the record, and why they are not the newest when they are not."""
        handle, reason = self._opened()
        if handle is None:
            return int(self.layout.show(self.derive(), fallen_out=False).num_rows), None
        return self.layout.count(handle), reason

    def _opened(self) -> tuple[DeltaTable | None, str | None]:
        """Open the stored table, refreshed if that can be done now."""
        reason = None
        if not self.is_current():
            try:
                reason = self.refresh()
            except DatasetError as error:
                reason = str(error)
        return self.stored(), reason
