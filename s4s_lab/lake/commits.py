"""What a commit wrote, synced: data files, log entry, checkpoints and their folders.

deltalake syncs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from s4s_lab.lake import durable
from s4s_lab.lake.checksums import has_checksums, write_checksums
from s4s_lab.lake.entries import checkpoint_files, entry_path, read_entry
from s4s_lab.lake.synced import mark_synced, synced


@dataclass(frozen=True)
class Commit:
    """What a write made, to be made durable.

    Parameters
    ----------
    table : Path
        The table's folder.
    first : int
        The oldest version that may not be durable yet.
    version : int
        The version that holds what was written.
    """

    table: Path
    first: int
    version: int


def make_durable(commits: Iterable[Commit]) -> None:
    """Sync what was written: data files, log entries, checkpoints, and the folders that name them.

    Parameters
    ----------
    commits : iterable of Commit
        Of any tables.

    Raises
    ------
    FileNotFoundError
        If a log entry is gone.
    """
    files: set[Path] = set()
    folders: set[Path] = set()
    newest: dict[Path, int] = {}
    for commit in commits:
        known = synced(commit.table)
        # Another writer may have been killed before it synced what this commit is built on.
        first = commit.first if known is None else min(commit.first, known + 1)
        newest[commit.table] = max(commit.version, newest.get(commit.table, 0))
        of_table: set[Path] = set()
        for version in range(first, commit.version + 1):
            of_table.update(_files_of(commit.table, version))
            if not has_checksums(commit.table, version):
                with durable.told(commit.table):
                    of_table.add(write_checksums(commit.table, version))
        files |= of_table
        inside = {file.parent for file in of_table}
        folders.update(
            one for folder in inside for one in (folder, *folder.parents) if one.is_relative_to(commit.table)
        )
        if commit.first == 0:
            durable.sync(commit.table.parent)
    durable.keep(files, folders)
    for table, version in newest.items():
        mark_synced(table, version)


def _files_of(table: Path, version: int) -> Iterator[Path]:
    added = (table / file.path for file in read_entry(table, version).added)
    # A file can be gone when a later version replaced it.
    yield from (path for path in added if path.is_file())
    yield entry_path(table, version)
    yield from checkpoint_files(table, version)
