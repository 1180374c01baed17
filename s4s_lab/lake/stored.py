"""How a table is stored: the columns people see, and those that keep rows in their place. Pure but for reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Schema

from s4s_lab.lake import delta
from s4s_lab.lake.state import first_of_run

FELL_OUT_AT = pa.field(
    "fell_out_at",
    pa.timestamp("ms", "UTC"),
    metadata={"meaning": "when a broad pull no longer found the resource in the record; null: it is in it", "unit": ""},
)
_BUCKET = pa.field("bucket", pa.int32(), nullable=False, metadata={"meaning": "hash of source and patient_id"})
_ROW_NUMBER = pa.field(
    "row_number", pa.int64(), nullable=False, metadata={"meaning": "place among its resource's rows"}
)
# What every stored table has after the columns that people see.
BESIDE = (FELL_OUT_AT, _BUCKET, _ROW_NUMBER)
PARTITION = ("bucket",)
# Whose rows a file holds: what it can be skipped by.
WHOSE = ("source", "patient_id")
_IN_RECORD = "fell_out_at IS NULL"


@dataclass(frozen=True)
class Layout:
    """A table as it is stored.

    Parameters
    ----------
    columns : pa.Schema
        What people see.
    key : tuple of str
        Columns that name what a row belongs to: rows are ordered by them, then as they were given.
    """

    columns: pa.Schema
    key: tuple[str, ...] = ("source", "patient_id", "resource_id")

    @property
    def stored(self) -> pa.Schema:
        """All columns as they are stored."""
        return pa.schema([*self.columns, *BESIDE])

    def fits(self, handle: DeltaTable) -> bool:
        """Say whether a stored table has these columns with these meanings."""
        return bool(Schema.from_arrow(self.stored) == handle.schema())

    def place(self, rows: pa.Table, *, buckets: Sequence[int] | int, fell_out_at: object = None) -> pa.Table:
        """Add to a view's rows what is stored beside them.

        Parameters
        ----------
        rows : pa.Table
            In the view's order.
        buckets : int or sequence of int
            The bucket of all rows, or of each.
        fell_out_at : datetime or None
            When the resources of these rows fell out of the record.
        """
        count = rows.num_rows
        bucket = pa.scalar(buckets, pa.int32()) if isinstance(buckets, int) else None
        # Rows of one resource come one after the other.
        first = np.flatnonzero(first_of_run(rows, self.key))
        within = np.arange(count) - np.repeat(first, np.diff(np.append(first, count)))
        beside = [
            pa.repeat(pa.scalar(fell_out_at, FELL_OUT_AT.type), count),
            pa.array(buckets, pa.int32()) if bucket is None else pa.repeat(bucket, count),
            pa.array(within, pa.int64()),
        ]
        columns = [rows.column(name) for name in self.columns.names]
        return pa.Table.from_arrays([*columns, *beside], names=self.stored.names).cast(self.stored)

    def read(self, handle: DeltaTable, *, fallen_out: bool) -> pa.Table:
        """Read a stored table in its order.

        Parameters
        ----------
        handle : DeltaTable
            The table, opened.
        fallen_out : bool
            Whether to show what fell out of the record, with the column `fell_out_at`.
        """
        return self.show(delta.read(handle, self.stored), fallen_out=fallen_out)

    def count(self, handle: DeltaTable) -> int:
        """Count the rows that are in the record.

        Parameters
        ----------
        handle : DeltaTable
            The table, opened.
        """
        return int(delta.read(handle, pa.schema([_ROW_NUMBER]), where=_IN_RECORD).num_rows)

    def show(self, rows: pa.Table, *, fallen_out: bool) -> pa.Table:
        """Put stored rows in order, and leave away what people do not see.

        Parameters
        ----------
        rows : pa.Table
            Stored rows.
        fallen_out : bool
            Whether to show what fell out of the record, with the column `fell_out_at`; else its rows are left out.
        """
        if not fallen_out:
            rows = rows.filter(pc.is_null(rows[FELL_OUT_AT.name]))
        ordered = rows.sort_by([(name, "ascending") for name in (*self.key, _ROW_NUMBER.name)])
        return ordered.select([*self.columns.names, *([FELL_OUT_AT.name] if fallen_out else [])])
