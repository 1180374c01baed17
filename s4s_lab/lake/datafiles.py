"""Parquet files of a Delta table, written as batches come: memory holds one row group, whatever the commit weighs.

deltalake's own writer holds files of many row groups; a first pull of a large record then costs several times its size.

References
----------
Delta transaction log protocol: add file, per-file statistics. Apache Parquet: row groups.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from s4s_lab.views import repeating

FileAction = AddAction | RemoveAction
"""What a commit says of one file."""

# Of a row group: what readers like, unless the rows are long.
_ROWS, _BYTES = 32_768, 8 << 20
_MODE = 0o600


class _DataFile:
    """One file while it grows.

    Parameters
    ----------
    table : Path
        The table's folder.
    partition : mapping of str to str
        Partition column to value; not written into the file.
    schema : pa.Schema
        Of the file.
    described : sequence of str
        Columns whose least and greatest value the log shall tell.
    """

    def __init__(self, table: Path, partition: Mapping[str, str], schema: pa.Schema, described: Sequence[str]) -> None:
        self._partition = dict(partition)
        folders = [f"{name}={value}" for name, value in partition.items()]
        self._name = "/".join([*folders, f"part-00000-{uuid4()}-c000.zstd.parquet"])
        self.path = table / self._name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb")
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.RecordBatch] = []
        self._waiting = [0, 0]
        self._least: dict[str, Any] = {}
        self._greatest: dict[str, Any] = {}
        self._absent = dict.fromkeys(described, 0)
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows, in the file's columns."""
        self._pending.append(batch)
        self._rows += batch.num_rows
        for name in self._absent:
            self._describe(name, batch.column(name))
        self._waiting = [self._waiting[0] + batch.num_rows, self._waiting[1] + batch.nbytes]
        if self._waiting[0] >= _ROWS or self._waiting[1] >= _BYTES:
            self._flush()

    def _describe(self, name: str, column: pa.Array) -> None:
        self._absent[name] += column.null_count
        least, greatest = pc.min_max(column).as_py().values()
        if least is not None:
            self._least[name] = min(self._least.get(name, least), least)
            self._greatest[name] = max(self._greatest.get(name, greatest), greatest)

    def _flush(self) -> None:
        if self._pending:
            rows = pa.Table.from_batches(self._pending, self._schema)
            if self._writer is None:
                self._writer = self._begun(rows)
            self._writer.write_table(rows)
            self._pending, self._waiting = [], [0, 0]

    def _begun(self, rows: pa.Table) -> pq.ParquetWriter:
        # Of long texts each is met once: a dictionary and statistics of them are work for nothing.
        plain = [name for name in self._schema.names if name not in ("raw", "content_hash")]
        described = rows.select(plain)
        return pq.ParquetWriter(
            self._file, self._schema, compression="zstd", compression_level=1, coerce_timestamps="us",
            use_dictionary=repeating(described, described.schema),
            write_statistics=[name for name in self._schema.names if name != "raw"],
        )  # fmt: skip

    def finished(self) -> AddAction:
        """Close the file, and return what the log says of it."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
        self._file.close()
        stats = {
            "numRecords": self._rows,
            "minValues": self._least,
            "maxValues": self._greatest,
            "nullCount": self._absent,
        }
        partition: dict[str, str | None] = {**self._partition}
        size, now = self.path.stat().st_size, int(time.time() * 1000)
        return AddAction(self._name, size, partition, now, True, json.dumps(stats))

    def discard(self) -> None:
        """Remove the file."""
        # On a full disk closing fails once more, over bytes that are not wanted any longer.
        for one in (self._writer, self._file):
            with suppress(OSError, ValueError, pa.ArrowException):
                if one is not None:
                    one.close()
        self.path.unlink(missing_ok=True)


def write_files(
    table: Path, batches: Iterable[pa.RecordBatch], *, partition_by: Sequence[str], described: Sequence[str]
) -> list[FileAction]:
    """Write batches into new files of a table, one a partition; no version names them yet.

    Parameters
    ----------
    table : Path
        The table's folder.
    batches : iterable of RecordBatch
        In the table's columns.
    partition_by : sequence of str
        The table's partition columns: texts without special characters, or integers.
    described : sequence of str
        Columns of text whose least and greatest value the log shall tell.

    Returns
    -------
    list of AddAction
        What a commit has to name.

    Raises
    ------
    OSError
        If the disk does not take it; then nothing of it stays.
    """
    files: dict[tuple[str, ...], _DataFile] = {}
    try:
        for batch in batches:
            for values, rows in _by_partition(batch, partition_by):
                if values not in files:
                    partition = dict(zip(partition_by, values, strict=True))
                    files[values] = _DataFile(table, partition, rows.schema, described)
                files[values].add(rows)
        return [file.finished() for file in files.values()]
    except BaseException:
        for file in files.values():
            file.discard()
        raise


def _by_partition(
    batch: pa.RecordBatch, partition_by: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], pa.RecordBatch]]:
    """Split a batch by the values of its partition columns, which are left away."""
    if not partition_by:
        yield (), batch
        return
    kept = [name for name in batch.schema.names if name not in partition_by]
    columns = [batch.column(name) for name in partition_by]
    if batch.num_rows and all(len(one.unique()) == 1 for one in columns):
        # So it is nearly always: a pull is one patient's, and tables are derived bucket by bucket.
        yield tuple(str(one[0].as_py()) for one in columns), batch.select(kept)
        return
    for key in (
        pa.Table.from_batches([batch.select(list(partition_by))]).group_by(partition_by).aggregate([]).to_pylist()
    ):
        mask = reduce(pc.and_, (pc.equal(batch.column(name), key[name]) for name in partition_by))
        yield tuple(str(key[name]) for name in partition_by), batch.filter(mask).select(kept)
