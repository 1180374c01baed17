"""What has to hold of a dataset after a pull of it was killed, failed, or lost its power."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

from s4s_lab import Dataset, open_dataset, pull
from s4s_lab.errors import S4SWarning, TableBehind
from s4s_lab.lake import maintenance, opening
from s4s_lab.lake.delta import open_table
from tests.faults.pull.scenes import LONG_AGO, TABLES, TYPES, Scene, last_checks, rows
from tests.wire.sync.conftest import connection


def opened(root: Path, *, cut: bool = False) -> Dataset:
    """Open a dataset; unless the power was cut, there is nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if cut else "error", S4SWarning)
        return open_dataset(root)


def check_log(data: Dataset, scene: Scene) -> None:
    """Nothing lost, twice or older than before; each lastCheck is that of the rows that are there."""
    before, there, after = scene.rows_before, rows(data), scene.rows_after
    assert not Counter(before) - Counter(there), "rows were lost"
    assert not Counter(there) - Counter(after), "rows came twice, or from nowhere"
    marks, was = last_checks(data), scene.checks_before
    for kind in TYPES:
        brought = [row for row in after if row[0] == kind and row not in before]
        have = [row for row in brought if row in there]
        assert have in ([], brought), "half a commit"
        assert (marks.get(kind) != was.get(kind)) == bool(have), "lastCheck and rows disagree"
        assert (marks.get(kind) or LONG_AGO) >= (was.get(kind) or LONG_AGO), "lastCheck went back"


def check_tables(data: Dataset, scene: Scene) -> None:
    """A table shows what the log says of its type, as before the pull or as after it; one that is behind is seen so."""
    there = rows(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TableBehind)
        shown = {name: data.arrow(name) for name in TABLES}
    for name, kind in TABLES.items():
        come = [row for row in scene.rows_after if row[0] == kind and row not in scene.rows_before]
        expected = scene.tables_after if come and come[0] in there else scene.tables_before
        assert shown[name].equals(expected[name]), f"{name} is not what the log says"


def check_files(data: Dataset) -> None:
    """After orphan removal there are no orphans, and every version that was kept reads as before."""
    versions = range(data.log.version + 1)
    before = [data.citation(version) for version in versions]
    maintenance.remove_orphans(data.path(), opening.lock_folder(data.path()), older_than_s=0)
    assert [data.citation(version) for version in versions] == before
    for table in (data.log.path, data.ledger.path, *(data.path(name) for name in TABLES)):
        handle = open_table(table)
        kept = list(range(handle.version() + 1))
        assert not handle.vacuum(
            retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True, keep_versions=kept
        )
        assert all(open_table(table, version).to_pyarrow_table() is not None for version in kept)
    names = (path.relative_to(data.path()).as_posix() for path in data.path().rglob("*") if path.is_file())
    assert [name for name in names if name.endswith((".tmp", ".part")) or "#" in name or ".part-" in name] == []


def check_next(data: Dataset, scene: Scene, url: str) -> None:
    """The next pull ends where the undisturbed one ended."""
    again = pull(connection(url), data, mode=scene.mode)
    assert again.outcome == "done"
    assert data.log.digest() == scene.after.log.digest()
    assert rows(data) == scene.rows_after
    for name in TABLES:
        assert data.arrow(name).equals(scene.tables_after[name]), name


def check(root: Path, scene: Scene, url: str, *, cut: bool = False) -> None:
    """Check everything."""
    data = opened(root, cut=cut)
    check_log(data, scene)
    check_tables(data, scene)
    check_files(data)
    check_next(data, scene, url)
    check_tables(opened(root), scene)
