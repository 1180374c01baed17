"""The one place that writes and reads Delta tables: one commit at a time, with its numbers, made durable.

deltalake commits atomically and syncs nothing, so after each commit the files it added, its log entry and their folders
are synced here, and narrowed to their owner.

References
----------
Delta transaction log protocol, "Transaction Identifiers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from s4s_lab.errors import DatasetBusy, DatasetError, NotInDataset
from s4s_lab.lake import durable
from s4s_lab.lake.commits import Commit, make_durable
from s4s_lab.lake.datafiles import FileAction, write_files
from s4s_lab.lake.entries import FILES, MARK, TRANSACTIONS, entry_path, mark_of, read_entry
from s4s_lab.lake.scanning import DAMAGED, first_line, literal, read

__all__ = [
    "Commit", "append", "compact", "create", "exists", "fill", "literal", "make_durable", "note", "open_table", "read",
    "replace",
]  # fmt: skip

# With deltalake's 15, eight writers at once lost 5 of 200 appends.
_RETRIES = 100
_COMPRESSED = WriterProperties(compression="ZSTD")
_DESCRIBED = "delta.dataSkippingStatsColumns"
# Versions are kept until the user says otherwise, and with them the log entries that tell what changed.
_KEPT = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.logRetentionDuration": "interval 36500 days",
}


def exists(table: Path) -> bool:
    """Say whether there is a Delta table in a folder.

    Parameters
    ----------
    table : Path
        The folder.
    """
    return entry_path(table, 0).is_file()


def create(
    table: Path,
    schema: pa.Schema,
    *,
    partition_by: tuple[str, ...] = (),
    settings: Mapping[str, str] | None = None,
    transactions: Mapping[str, int] | None = None,
) -> None:
    """Create an empty table as version 0; one that is there already is left alone.

    Parameters
    ----------
    table : Path
        Its folder.
    schema : pa.Schema
        Columns, with their metadata.
    partition_by : tuple of str
        Partition columns.
    settings : mapping, optional
        Table properties beside those that keep every version.
    transactions : mapping of str to int, optional
        Application id to number, for the version that is made.
    """
    if exists(table):
        return
    DeltaTable.create(
        table,
        schema,
        mode="ignore",
        partition_by=list(partition_by),
        configuration=_KEPT | dict(settings or {}),
        commit_properties=_properties(transactions or {}),
    )
    make_durable([Commit(table, 0, 0)])


def open_table(table: Path, version: int | None = None) -> DeltaTable:
    """Open the newest or a given version of a table.

    Parameters
    ----------
    table : Path
        Its folder.
    version : int, optional
        Which version.

    Raises
    ------
    NotInDataset
        If there is no such table or version.
    DatasetError
        If its log cannot be read.
    """
    try:
        return DeltaTable(table, version=version)
    except TableNotFoundError:
        raise NotInDataset(f"There is no table in {table}.") from None
    except DeltaError as error:
        if version is not None:
            raise NotInDataset(f"The table in {table} has no version {version}.") from None
        raise DatasetError(f"The table in {table} cannot be opened: {first_line(error)}.", hint=DAMAGED) from None


def append(table: Path, rows: pa.RecordBatchReader | pa.Table, *, transactions: Mapping[str, int]) -> Commit:
    """Append rows in one commit; without rows the commit holds the numbers alone.

    Parameters
    ----------
    table : Path
        Its folder.
    rows : pa.RecordBatchReader or pa.Table
        In the table's columns. A reader has rows, and is written as it comes.
    transactions : mapping of str to int
        Application id to number.

    Raises
    ------
    DatasetBusy
        If another process is writing the same numbers.
    """
    if isinstance(rows, pa.Table) and not rows.num_rows:
        return note(table, transactions=transactions)
    handle = open_table(table)
    metadata = handle.metadata()
    described = [name for name in metadata.configuration.get(_DESCRIBED, "").split(",") if name]
    with _written_to(table):
        files = write_files(
            table, rows.to_batches() if isinstance(rows, pa.Table) else rows,
            partition_by=metadata.partition_columns, described=described,
        )  # fmt: skip
        return _committed(handle, table, files, transactions)


def _committed(handle: DeltaTable, table: Path, files: list[FileAction], transactions: Mapping[str, int]) -> Commit:
    """Commit files that are written; from here on they stay, since a commit that fails may be there all the same."""
    before = handle.version()
    properties = _properties(transactions, files=len(files))
    handle.create_write_transaction(files, "append", handle.schema(), commit_properties=properties)
    version = _version_of(table, before + 1, {file.path for file in files})
    return Commit(table, before + 1, version)


def _version_of(table: Path, version: int, paths: set[str]) -> int:
    """Return the version that adds these files, among this one and later ones; without files the newest one.

    Others may have written as well; to look at entries is cheaper than to read the log again.
    """
    while entry_path(table, version + 1).is_file():
        if paths and paths & {file.path for file in read_entry(table, version).added}:
            break
        version += 1
    return version


def replace(
    table: Path, rows: pa.RecordBatchReader | pa.Table, *, where: str | None, transactions: Mapping[str, int]
) -> Commit:
    """Put rows in place of those that match a predicate, in one commit.

    Parameters
    ----------
    table : Path
        Its folder.
    rows : pa.RecordBatchReader or pa.Table
        In the table's columns; all of them match the predicate.
    where : str or None
        SQL predicate; None replaces all rows, and the columns by theirs.
    transactions : mapping of str to int
        Application id to number.

    Raises
    ------
    DatasetBusy
        If another process is writing the same numbers.
    """
    handle = open_table(table)
    before = handle.version()
    with _written_to(table):
        write_deltalake(
            handle,
            rows,
            mode="overwrite",
            predicate=where,
            schema_mode="overwrite" if where is None else None,
            writer_properties=_COMPRESSED,
            commit_properties=_properties(transactions),
        )
    return Commit(table, before + 1, handle.version())


def fill(
    table: Path,
    rows: pa.RecordBatchReader | pa.Table,
    *,
    partition_by: tuple[str, ...],
    described: tuple[str, ...] = (),
    transactions: Mapping[str, int],
) -> Commit:
    """Create a table with its first rows as version 0.

    Parameters
    ----------
    table : Path
        Its folder, where there is no table.
    rows : pa.RecordBatchReader or pa.Table
        Their columns become the table's.
    partition_by : tuple of str
        Partition columns.
    described : tuple of str
        Columns of text whose least and greatest value the log tells of each file, to skip it by.
    transactions : mapping of str to int
        Application id to number.

    Raises
    ------
    DatasetBusy
        If another process has just created it.
    """
    with _written_to(table):
        batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
        files = write_files(table, batches, partition_by=partition_by, described=described)
        create_table_with_add_actions(
            str(table),
            Schema.from_arrow(rows.schema),
            [file for file in files if isinstance(file, AddAction)],
            mode="error",
            partition_by=list(partition_by),
            configuration=_KEPT,
            commit_properties=_properties(transactions, files=len(files)),
        )
    return Commit(table, 0, 0)


def compact(table: Path, buckets: Sequence[int] | None, *, size: int) -> Commit:
    """Join small files in one commit that changes no row; those that are joined stay for older versions.

    Parameters
    ----------
    table : Path
        Its folder.
    buckets : sequence of int or None
        Where; None: everywhere, of a table that has no buckets.
    size : int
        How large a joined file becomes at most [bytes].

    Raises
    ------
    DatasetError
        If a file of the table is damaged, or the disk does not take what is written.
    """
    handle = open_table(table)
    before = handle.version()
    with _written_to(table):
        handle.optimize.compact(
            partition_filters=None if buckets is None else [("bucket", "in", [str(bucket) for bucket in buckets])],
            target_size=size,
            max_concurrent_tasks=1,
            writer_properties=_COMPRESSED,
            # An optimize writes no transaction identifiers; those of earlier commits stay.
            commit_properties=_properties({}),
        )
    return Commit(table, before + 1, handle.version())


def note(table: Path, *, transactions: Mapping[str, int], handle: DeltaTable | None = None) -> Commit:
    """Make a commit that changes no row and holds numbers.

    Parameters
    ----------
    table : Path
        Its folder.
    transactions : mapping of str to int
        Application id to number.
    handle : DeltaTable, optional
        The table, when it is open already.

    Raises
    ------
    DatasetBusy
        If another process is writing the same numbers.
    """
    with _written_to(table):
        return _committed(open_table(table) if handle is None else handle, table, [], transactions)


@contextmanager
def _written_to(table: Path) -> Iterator[None]:
    """Translate what a write raises; the lines after the first may show rows, so they are left away."""
    try:
        yield
    except CommitFailedError as error:
        raise DatasetBusy(f"Another process was writing to {table} as well: {first_line(error)}.") from None
    except (DeltaError, OSError) as error:
        text = f"The table in {table} could not be written: {first_line(error)}."
        raise DatasetError(text, hint=durable.HINT) from None


def _properties(transactions: Mapping[str, int], *, files: int | None = None) -> CommitProperties:
    # deltalake counts the files that it writes itself.
    counted = {} if files is None else {FILES: files}
    return CommitProperties(
        custom_metadata={TRANSACTIONS: len(transactions), MARK: mark_of(transactions), **counted},
        max_commit_retries=_RETRIES,
        app_transactions=[Transaction(name, number) for name, number in transactions.items()],
    )
