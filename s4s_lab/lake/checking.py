"""One Delta table against its own log and checksums: entries, files, sizes, row counts, bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from s4s_lab.lake.checksums import checksum_path, read_checksums, sha256_of
from s4s_lab.lake.entries import Added, broken_checkpoints, entry_path, fault_of, newest_version, read_entry

_ROWS_AT_ONCE = 2000


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file of a table.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What is wrong.
    version : int
        The version that it belongs to.
    added : Added or None
        What the log says of it, when it is a data file.
    """

    path: Path
    what: str
    version: int
    added: Added | None = None


@dataclass
class TableCheck:
    """What was looked at in one table.

    Parameters
    ----------
    table : Path
        Its folder.
    files, rows : int
        How many data files were read, and their rows.
    unsigned : list of int
        Versions that have no checksums.
    transactions : set of str
        The transaction identifiers that the log names.
    look : callable, optional
        Takes the rows of each data file, some at a time; gives what is wrong with them.
    """

    table: Path
    files: int = 0
    rows: int = 0
    unsigned: list[int] = field(default_factory=list)
    transactions: set[str] = field(default_factory=set)
    look: Callable[[Added, pa.RecordBatch], Iterator[str]] | None = None

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong, version by version."""
        newest = newest_version(self.table)
        if newest is None:
            yield Fault(self.table, "The table's log is gone.", 0)
            return
        seen: set[str] = set()
        for version in range(newest + 1):
            yield from self._of_version(version, seen)
        for path in broken_checkpoints(self.table, newest=newest):
            yield Fault(path, "The checkpoint is damaged.", newest)

    def _of_version(self, version: int, seen: set[str]) -> Iterator[Fault]:
        path = entry_path(self.table, version)
        try:
            entry = read_entry(self.table, version)
        except FileNotFoundError:
            yield Fault(path, "The log entry is missing.", version)
            return
        except ValueError:
            yield Fault(path, "The log entry is damaged.", version)
            return
        self.transactions.update(entry.transactions)
        changed = set()
        for fault in self._by_checksum(version, {file.path: file for file in entry.added}):
            changed.add(fault.path)
            yield fault
        files = [file for file in entry.added if file.path not in seen]
        seen.update(file.path for file in files)
        for file in files:
            if self.table / file.path not in changed:
                yield from (Fault(self.table / file.path, what, version, file) for what in self._by_content(file))
        if not changed and not files and (reason := fault_of(self.table, version)):
            yield Fault(path, f"The version is unfinished: {reason}.", version)

    def _by_checksum(self, version: int, added: dict[str, Added]) -> Iterator[Fault]:
        try:
            sums = read_checksums(self.table, version)
        except ValueError:
            yield Fault(checksum_path(self.table, version), "The checksums are damaged.", version)
            return
        if sums is None:
            self.unsigned.append(version)
        for name, sha256 in (sums or {}).items():
            path = self.table / name
            # A checkpoint may be removed at any time; what the log names is looked for below.
            if path.is_file() and sha256_of(path) != sha256:
                yield Fault(path, "Its bytes have changed.", version, added.get(name))

    def _by_content(self, file: Added) -> Iterator[str]:
        path = self.table / file.path
        if not path.is_file():
            yield "It is missing."
        elif path.stat().st_size != file.size:
            yield f"It has {path.stat().st_size} bytes; the log says {file.size}."
        elif wrong := [name for name, value in file.partition.items() if f"{name}={value}/" not in f"{file.path}/"]:
            yield f"The log has it in another {wrong[0]} than its folder says."
        else:
            yield from self._read(path, file)

    def _read(self, path: Path, file: Added) -> Iterator[str]:
        self.files += 1
        rows, found = 0, list[str]()
        try:
            for batch in pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
                rows += batch.num_rows
                if self.look is not None:
                    found += self.look(file, batch)
        except (pa.ArrowException, OSError) as error:
            yield f"It cannot be read: {str(error).partition(chr(10))[0][:120]}."
            return
        self.rows += rows
        yield from found
        said = file.stats.get("numRecords", rows)
        if said != rows:
            yield f"It has {rows} rows; the log says {said}."
