"""Reading Delta tables: by a predicate, or file by file where memory has to stay flat however large the files are.

References
----------
Delta transaction log protocol: add file, partition values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from s4s_lab.errors import DatasetError

DAMAGED = "Open the dataset again: what is unfinished is set aside. If that does not help, restore it from a backup."


def read(handle: DeltaTable, schema: pa.Schema, *, where: str | None = None) -> pa.Table:
    """Read the rows of an opened table that match a predicate, in no certain order.

    Parameters
    ----------
    handle : DeltaTable
        Stays at its version whatever others write meanwhile.
    schema : pa.Schema
        Columns to read, with the types and metadata that the result shall have.
    where : str, optional
        SQL predicate.

    Raises
    ------
    DatasetError
        If a file of the table is missing or damaged.
    """
    with _read_from(handle):
        return pa.table(handle.scan(columns=schema.names, predicate=where)).select(schema.names).cast(schema)


@dataclass(frozen=True)
class Files:
    """Some files of an opened table, each in one partition.

    Parameters
    ----------
    handle : DeltaTable
        Stays at its version whatever others write meanwhile.
    paths : tuple of Path
        The files.
    """

    handle: DeltaTable
    paths: tuple[Path, ...]

    def read(self, schema: pa.Schema) -> pa.Table:
        """Read all rows.

        Parameters
        ----------
        schema : pa.Schema
            Columns to read, none of them a partition column, with the types and metadata that the result shall have.

        Raises
        ------
        DatasetError
            If a file of the table is missing or damaged.
        """
        with _read_from(self.handle):
            parts = [_opened(path).read(schema.names).select(schema.names).cast(schema) for path in self.paths]
        return pa.concat_tables([schema.empty_table(), *parts])

    def stream(self, schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield all rows, some at a time: memory holds no more of them than that.

        Parameters
        ----------
        schema : pa.Schema
            As for `read`.
        rows : int
            How many at most at a time.

        Raises
        ------
        DatasetError
            If a file of the table is missing or damaged.
        """
        for path in self.paths:
            with _read_from(self.handle):
                for batch in _opened(path).iter_batches(rows, columns=schema.names):
                    yield batch.select(schema.names).cast(schema)


def files_of(handle: DeltaTable, where: str) -> Files:
    """Return the files that may hold rows that match a predicate; what they hold beside has to be left out.

    Parameters
    ----------
    handle : DeltaTable
        The table, opened.
    where : str
        SQL predicate over partition columns, and columns whose least and greatest values the log tells.
    """
    depth = len(handle.metadata().partition_columns) + 1
    # What stands before the partition's folders is the table's own, written as a URL.
    inside = [address.split("/")[-depth:] for address in handle.file_uris(file_pruning_predicate=where)]
    return Files(handle, tuple(sorted(_folder(handle).joinpath(*names) for names in inside)))


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, pre_buffer=False)


def _folder(handle: DeltaTable) -> Path:
    return Path(unquote(urlsplit(handle.table_uri).path))


@contextmanager
def _read_from(handle: DeltaTable) -> Iterator[None]:
    try:
        yield
    except (DeltaError, pa.ArrowException, OSError) as error:
        said = f"The table in {_folder(handle)} cannot be read: {first_line(error)}."
        raise DatasetError(said, hint=DAMAGED) from None


def first_line(error: Exception) -> str:
    """Return how a library's message begins; its further lines may show rows.

    Parameters
    ----------
    error : Exception
        What the library raised.
    """
    return str(error).partition("\n")[0][:200].rstrip(".")


def literal(value: str) -> str:
    """Write a text as a SQL literal.

    Parameters
    ----------
    value : str
        Any text: DataFusion's dialect knows no other escape than the doubled quote.
    """
    return "'" + value.replace("'", "''") + "'"
