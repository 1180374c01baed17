"""Table `dicom_instance`: the image cache's index as a Delta table beside the others."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from s4s_lab.dicom import DicomCache, instance_schema
from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.lake import delta
from s4s_lab.lake.entries import read_entry
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.overview import dictionary_of
from s4s_lab.lake.reading import Reading
from s4s_lab.lake.stored import PARTITION, WHOSE, Layout
from s4s_lab.lake.tables import REFRESH_WAIT_S

IMAGES = "dicom_instance"
# The transaction identifier that says which generation of the cache the table shows.
_SHOWN = "dicom"
_SAME_DIRECTION = 1e-3
# The cache gives the rows in the order that people see: they are numbered through, patient by patient.
_LAYOUT = Layout(instance_schema(), key=("source", "patient_id"))


@dataclass(frozen=True)
class ImageTable:
    """The table of files, made from the cache's index.

    Parameters
    ----------
    path : Path
        The Delta table's folder.
    cache : DicomCache
        The cache.
    bucket : callable
        Gives a patient's bucket.
    locks : Locks
        The dataset's locks.
    """

    path: Path
    cache: DicomCache
    bucket: Callable[[str, str], int]
    locks: Locks

    def reading(self) -> Reading:
        """Return what reads the table as it is now."""
        refresh = partial(self.refresh, timeout_s=0.0)
        return Reading(_LAYOUT, is_current=self._is_current, refresh=refresh, stored=self._stored, derive=self._rows)

    def _stored(self) -> DeltaTable | None:
        handle = delta.open_table(self.path) if delta.exists(self.path) else None
        return handle if handle is not None and _LAYOUT.fits(handle) else None

    def _is_current(self) -> bool:
        if not delta.exists(self.path):
            return False
        handle = delta.open_table(self.path)
        return _LAYOUT.fits(handle) and handle.transaction_version(_SHOWN) == self.cache.generation

    def dictionary(self) -> pa.Table:
        """Return what each column of the table is: type, DICOM tag, meaning, unit."""
        return dictionary_of(instance_schema())

    def refresh(self, *, timeout_s: float = REFRESH_WAIT_S) -> None:
        """Bring the table to the cache's present generation.

        Parameters
        ----------
        timeout_s : float
            How long to wait for another process that refreshes [s].

        Raises
        ------
        DatasetBusy
            If another process refreshes for longer, or maintenance goes on.
        """
        if self._is_current():
            return
        busy = "Another process is refreshing the table of images."
        with self.locks.writing(), self.locks.alone(IMAGES, timeout_s=timeout_s, busy=busy):
            # Read before the rows: rows that come in between are shown again by the next refresh.
            generation = self.cache.generation
            marks = {_SHOWN: generation}
            delta.make_durable([self._store(self._rows(), marks)])

    def _store(self, rows: pa.Table, marks: dict[str, int]) -> delta.Commit:
        """Write the buckets whose rows differ, and leave the others alone."""
        handle = self._stored()
        if handle is None:
            if delta.exists(self.path):
                return delta.replace(self.path, rows, where=None, transactions=marks)
            return delta.fill(self.path, rows, partition_by=PARTITION, described=WHOSE, transactions=marks)
        stored = delta.read(handle, _LAYOUT.stored)
        changed = [bucket for bucket in _buckets(rows, stored) if not _of(rows, bucket).equals(_of(stored, bucket))]
        if not changed:
            return delta.note(self.path, transactions=marks, handle=handle)
        chosen = rows.filter(pc.is_in(rows[PARTITION[0]], pa.array(changed, pa.int32())))
        where = f"{PARTITION[0]} IN ({', '.join(map(str, changed))})"
        return delta.replace(self.path, chosen, where=where, transactions=marks)

    def as_of(self, moment: datetime, *, fallen_out: bool) -> pa.Table:
        """Read the table as it was at a moment; empty before its first version.

        Parameters
        ----------
        moment : datetime
            By the clocks of those who wrote, aware.
        fallen_out : bool
            Whether to show the column `fell_out_at`.
        """
        newest = int(delta.open_table(self.path).version()) if delta.exists(self.path) else -1
        version = bisect_right(range(newest + 1), moment, key=self._committed_at) - 1
        if version < 0:
            return _LAYOUT.show(_LAYOUT.stored.empty_table(), fallen_out=fallen_out)
        handle = delta.open_table(self.path, version)
        if not _LAYOUT.fits(handle):
            raise NotInDataset(f"Table {IMAGES} had other columns at that time.")
        return _LAYOUT.read(handle, fallen_out=fallen_out)

    def differs(self) -> bool:
        """Say whether the table does not hold what the cache's index says at the generation that it shows."""
        handle = delta.open_table(self.path)
        generation = self.cache.generation
        rows = self._rows()
        if handle.transaction_version(_SHOWN) != generation or self.cache.generation != generation:
            return False
        return not _LAYOUT.fits(handle) or not _sorted(delta.read(handle, _LAYOUT.stored)).equals(_sorted(rows))

    def _committed_at(self, version: int) -> datetime:
        return read_entry(self.path, version).committed_at or datetime.max.replace(tzinfo=UTC)

    def _rows(self) -> pa.Table:
        rows = self.cache.instances()
        owners = zip(rows["source"].to_pylist(), rows["patient_id"].to_pylist(), strict=True)
        return _LAYOUT.place(rows, buckets=[self.bucket(source or "", patient or "") for source, patient in owners])


def _buckets(*tables: pa.Table) -> list[int]:
    return sorted({bucket for table in tables for bucket in table[PARTITION[0]].unique().to_pylist()})


def _of(rows: pa.Table, bucket: int) -> pa.Table:
    """Return a bucket's rows in their order."""
    return _sorted(rows.filter(pc.equal(rows[PARTITION[0]], bucket)))


def _sorted(rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in (*_LAYOUT.key, "row_number")])


def one_copy(rows: pa.Table, source: str | None) -> pa.Table:
    """Return the rows of one series from one archive: the fullest, where the record led to several.

    Parameters
    ----------
    rows : pa.Table
        Rows of `dicom_instance` of one series.
    source : str or None
        FHIR base URL of the server whose record it is; None when there is but one.

    Raises
    ------
    NotInDataset
        If no record of that server has it, and others have.
    UsageError
        If the records of several patients have it.
    """
    if source is not None:
        known = sorted(set(rows["source"].to_pylist()))
        if known and source not in known:
            raise NotInDataset(f"No record of {source} has images of this series.", hint=f"Known: {', '.join(known)}.")
        rows = rows.filter(pc.equal(rows["source"], source))
    owners = sorted(set(zip(rows["source"].to_pylist(), rows["patient_id"].to_pylist(), strict=True)))
    if len(owners) > 1:
        servers = ", ".join(dict.fromkeys(server for server, _ in owners))
        hint = f"Say which by source=: {servers}." if source is None else "Read the files that dicom_instance names."
        raise UsageError(f"The records of {len(owners)} patients have images of this series.", hint=hint)
    archives = Counter(_archive(path) for path in rows["path"].to_pylist())
    if len(archives) <= 1:
        return rows
    fullest = max(sorted(archives), key=archives.__getitem__)
    return rows.filter(pa.array([_archive(path) == fullest for path in rows["path"].to_pylist()]))


def _archive(path: str) -> str:
    return path.split("/")[1]


def in_order(rows: pa.Table) -> list[str]:
    """Return the paths of one series' files in spatial order; by instance number where there is no such order.

    Parameters
    ----------
    rows : pa.Table
        Rows of `dicom_instance` of one series.

    References
    ----------
    DICOM PS3.3, section C.7.6.2.1.1: Image Position and Image Orientation (Patient).
    """
    frame = rows.select(["path", "instance_number"]).to_pandas()
    frame["depth"] = _depths(rows["image_position_patient"].to_pylist(), rows["image_orientation_patient"].to_pylist())
    return [str(path) for path in frame.sort_values(["depth", "instance_number", "path"])["path"]]


def _depths(positions: Sequence[Sequence[float]], orientations: Sequence[Sequence[float]]) -> list[float]:
    """Return each slice's place along the normal [mm]; the same for all unless all lie in parallel planes."""
    nowhere = [0.0] * len(positions)
    if {len(position) for position in positions} != {3} or {len(cosines) for cosines in orientations} != {6}:
        return nowhere
    cosines = np.array(orientations)
    if np.abs(cosines - cosines[0]).max() > _SAME_DIRECTION:
        return nowhere
    normal = np.cross(cosines[0, :3], cosines[0, 3:])
    return [round(float(depth), 6) for depth in np.array(positions) @ normal]
