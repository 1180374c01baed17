"""Reading one table as it is or as it was: refreshed first when it is behind, derived when it is not stored so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from s4s_lab.errors import DatasetError
from s4s_lab.lake import delta
from s4s_lab.lake.images import IMAGES, ImageTable
from s4s_lab.lake.log import ResourceLog
from s4s_lab.lake.moments import AsOf, until, version_at
from s4s_lab.lake.tables import ViewTables

# Rows, and a sentence to warn with when they are older than the log.
Answer = tuple[pa.Table, str | None]


@dataclass(frozen=True)
class Reading:
    """What a table is read from.

    Parameters
    ----------
    log : ResourceLog
        The log.
    tables : ViewTables
        Tables of the packaged views.
    images : ImageTable
        Table `dicom_instance`.
    """

    log: ResourceLog
    tables: ViewTables
    images: ImageTable

    def rows(self, name: str, as_of: AsOf | None, fallen_out: bool) -> Answer:
        """Read a view's table.

        Parameters
        ----------
        name : str
            Which view.
        as_of : int, str, date or datetime, or None
            The version or moment, None for now.
        fallen_out : bool
            Whether to show what fell out of the record.

        Raises
        ------
        NotInDataset
            If there is no such table, or was no such version.
        """
        self.tables.path(name)
        newest = self.log.version
        version = newest if as_of is None else version_at(self.log, as_of)
        if version != newest:
            return self.tables.derive(name, version, fallen_out=fallen_out), None
        reason = None
        if self.tables.shown(name) != newest:
            reason = _tried(lambda: self.tables.refresh(timeout_s=0.0))
        if reason is None:
            return self.tables.read(name, fallen_out=fallen_out), None
        shown = self.tables.shown(name)
        if shown is None:
            return self.tables.derive(name, newest, fallen_out=fallen_out), None
        behind = f"Table {name} shows version {shown} of the log, which is at {newest}: {reason}"
        return self.tables.read(name, fallen_out=fallen_out), behind

    def image_rows(self, as_of: AsOf | None, fallen_out: bool) -> Answer:
        """Read table `dicom_instance`.

        Parameters
        ----------
        as_of : int, str, date or datetime, or None
            A version of the log covers the time until the next one; None is now.
        fallen_out : bool
            Whether to show the column `fell_out_at`.

        Raises
        ------
        NotInDataset
            If there was no such version.
        """
        moment = None if as_of is None else until(self.log, as_of)
        if moment is not None:
            return self.images.read_until(moment, fallen_out=fallen_out), None
        reason = None if self.images.is_current() else _tried(lambda: self.images.refresh(timeout_s=0.0))
        if reason is None:
            return self.images.read(fallen_out=fallen_out), None
        if not delta.exists(self.images.path):
            return self.images.derive(fallen_out=fallen_out), None
        behind = f"Table {IMAGES} does not show all files in the cache: {reason}"
        return self.images.read(fallen_out=fallen_out), behind


def _tried(refresh: Callable[[], None]) -> str | None:
    """Refresh; return the reason when it cannot be done now."""
    try:
        refresh()
    except DatasetError as error:
        return str(error)
    return None
