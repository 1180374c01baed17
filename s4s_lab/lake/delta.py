"""The one place that writes and reads Delta tables: one commit at a time, with its numbers, made durable.

deltalake commits atomically and syncs nothing, so after each commit the files it added, its log entry and their folders
are synced here, and narrowed to their owner.

References
----------
Delta transaction log protocol, "Transaction Identifiers".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from s4s_lab.errors import DatasetBusy, DatasetError, NotInDataset
from s4s_lab.lake import durable
from s4s_lab.lake.entries import TRANSACTIONS, checkpoint_files, entry_path, read_entry

# With deltalake's 15, eight writers at once lost 5 of 200 appends.
_RETRIES = 100
_DAMAGED = "Open the dataset again: what is unfinished is set aside. If that does not help, restore it from a backup."
# Versions are kept until the user says otherwise, and with them the log entries that tell what changed.
_KEPT = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.logRetentionDuration": "interval 36500 days",
}


def exists(table: Path) -> bool:
    """Say whether there is a Delta table in a folder."""
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
    make_durable(table, 0, 0)
    durable.sync(table.parent)


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
        raise DatasetError(f"The table in {table} cannot be opened: {_first_line(error)}.", hint=_DAMAGED) from None


def append(table: Path, rows: pa.Table, *, transactions: Mapping[str, int]) -> int:
    """Append rows in one commit; without rows the commit holds the numbers alone.

    Parameters
    ----------
    table : Path
        Its folder.
    rows : pa.Table
        In the table's columns.
    transactions : mapping of str to int
        Application id to number.

    Returns
    -------
    int
        The version that was made.
    """
    if not rows.num_rows:
        return note(table, transactions=transactions)
    return _commit(open_table(table), table, rows, "append", None, transactions)


def replace(
    table: Path,
    rows: pa.Table | pa.RecordBatchReader,
    *,
    where: str | None,
    transactions: Mapping[str, int],
    new_schema: bool = False,
) -> int:
    """Put rows in place of those that match a predicate, in one commit.

    Parameters
    ----------
    table : Path
        Its folder.
    rows : pa.Table or pa.RecordBatchReader
        In the table's columns; all of them match the predicate.
    where : str or None
        SQL predicate; None replaces all rows.
    transactions : mapping of str to int
        Application id to number.
    new_schema : bool
        Whether the rows' columns replace the table's.

    Returns
    -------
    int
        The version that was made.
    """
    return _commit(open_table(table), table, rows, "overwrite", where, transactions, new_schema=new_schema)


def note(table: Path, *, transactions: Mapping[str, int]) -> int:
    """Make a commit that changes no row and holds numbers.

    Parameters
    ----------
    table : Path
        Its folder.
    transactions : mapping of str to int
        Application id to number.

    Returns
    -------
    int
        The version that was made.

    Raises
    ------
    DatasetBusy
        If another process is writing the same numbers.
    """
    handle = open_table(table)
    before = handle.version()
    try:
        handle.create_write_transaction([], "append", handle.schema(), commit_properties=_properties(transactions))
    except CommitFailedError as error:
        raise DatasetBusy(f"Another process was writing to {table} as well: {_first_line(error)}.") from None
    handle.update_incremental()
    make_durable(table, before + 1, handle.version())
    return handle.version()


def _commit(
    handle: DeltaTable,
    table: Path,
    rows: pa.Table | pa.RecordBatchReader,
    mode: str,
    where: str | None,
    transactions: Mapping[str, int],
    *,
    new_schema: bool = False,
) -> int:
    before = handle.version()
    try:
        write_deltalake(  # type: ignore[call-overload]  # one call for both of its forms
            handle,
            rows,
            mode=mode,
            predicate=where,
            schema_mode="overwrite" if new_schema else None,
            writer_properties=WriterProperties(compression="ZSTD"),
            commit_properties=_properties(transactions),
        )
    except CommitFailedError as error:
        raise DatasetBusy(f"Another process was writing to {table} as well: {_first_line(error)}.") from None
    except DeltaError as error:
        # The lines after the first may show rows.
        raise DatasetError(f"The table in {table} could not be written: {_first_line(error)}.") from None
    make_durable(table, before + 1, handle.version())
    return handle.version()


def _properties(transactions: Mapping[str, int]) -> CommitProperties:
    return CommitProperties(
        custom_metadata={TRANSACTIONS: len(transactions)},
        max_commit_retries=_RETRIES,
        app_transactions=[Transaction(name, number) for name, number in transactions.items()],
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200].rstrip(".")


def make_durable(table: Path, first: int, last: int) -> None:
    """Sync versions `first` to `last` of a table: data files, folders, then log entries and checkpoints.

    Parameters
    ----------
    table : Path
        Its folder.
    first, last : int
        Versions, both included.
    """
    entries = [read_entry(table, version) for version in range(first, last + 1)]
    added = [table / file.path for entry in entries for file in entry.added]
    # A file can be gone when a later version replaced it.
    durable.keep([path for path in added if path.is_file()], below=table)
    logged = [[entry_path(table, entry.version), *checkpoint_files(table, entry.version)] for entry in entries]
    durable.keep([path for paths in logged for path in paths], below=table)


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
    try:
        return pa.table(handle.scan(columns=schema.names, predicate=where)).select(schema.names).cast(schema)
    except (DeltaError, pa.ArrowException, OSError) as error:
        table = Path(unquote(urlsplit(handle.table_uri).path))
        raise DatasetError(f"The table in {table} cannot be read: {_first_line(error)}.", hint=_DAMAGED) from None


def literal(value: str) -> str:
    """Write a text as a SQL literal."""
    return "'" + value.replace("'", "''") + "'"
