"""The folder tables/: who may write in it, and what says that everything in it has to be derived anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s4s_lab.lake import durable
from s4s_lab.lake.locks import Locks

# While this file is there, what tables show does not count.
REBUILD = ".rebuild"
_README = """\
These folders are Delta Lake tables, one per view, derived from ../resources.

Read a table through its log, never by its Parquet files: files that were replaced lie beside current ones.

    deltalake.DeltaTable("tables/imaging_study").to_pandas()            # Python
    SELECT * FROM delta_scan('tables/imaging_study')                    -- DuckDB with its delta extension
    spark.read.format("delta").load("tables/imaging_study")             # Spark
    s4s_lab.open_dataset(".").relation("imaging_study")                 # DuckDB, without an extension

Beside a view's own columns there are: `fell_out_at`, when the record no longer held the resource (leave those rows out,
or not, as your question needs); `bucket`, a hash of source and patient_id by which the files are partitioned;
`row_number`, the row's place among its resource's rows.

The transaction identifier `resources` in each table's log names the version of ../resources that the table shows.
All of this folder can be deleted: it is derived anew, without any network.
"""


def prepare(folder: Path) -> None:
    """Make the folder of the tables, with a page about them for whoever looks into it.

    Parameters
    ----------
    folder : Path
        Where the tables lie.
    """
    durable.make_private_folder(folder)
    if not (folder / "README.md").is_file():
        durable.write_durably(folder / "README.md", _README.encode())


def invalidate(folder: Path) -> None:
    """Have the next refresh derive everything anew, since the log has lost versions that tables may show.

    Parameters
    ----------
    folder : Path
        Where the tables lie.
    """
    durable.write_durably(folder / REBUILD, b"")


@contextmanager
def alone(locks: Locks, folder: Path, timeout_s: float) -> Iterator[None]:
    """Let nobody else write tables meanwhile.

    Parameters
    ----------
    locks : Locks
        The dataset's locks.
    folder : Path
        Where the tables lie.
    timeout_s : float
        How long to wait for another process that refreshes [s].

    Raises
    ------
    DatasetBusy
        If another process refreshes for longer, or maintenance goes on.
    """
    busy = "Another process is refreshing the tables."
    with locks.writing(), locks.alone("tables", timeout_s=timeout_s, busy=busy):
        prepare(folder)
        yield
