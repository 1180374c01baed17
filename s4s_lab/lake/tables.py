"""The tables in tables/: one per packaged view, derived from the log, refreshed for the patients that changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from s4s_lab.errors import NotInDataset
from s4s_lab.lake import delta, durable
from s4s_lab.lake.connections import Connections
from s4s_lab.lake.derive import Derivation, catalogue, layout, spooled
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.log import Patient, ResourceLog
from s4s_lab.lake.reading import Reading
from s4s_lab.lake.stored import PARTITION
from s4s_lab.views import View, data_dictionary

# The transaction identifier that says which version of the log a table shows.
SHOWN = "resources"
# Many workers of a cohort may come at once; a lock whose holder died is free at once.
REFRESH_WAIT_S = 600.0
_REBUILD = ".rebuild"
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


@dataclass(frozen=True)
class _Plan:
    """What one resource type's tables need: some of them everything anew, others some patients."""

    whole: tuple[View, ...]
    partly: tuple[View, ...]
    patients: frozenset[Patient]


@dataclass(frozen=True)
class ViewTables:
    """Tables derived from the log.

    Every commit to one of them carries the version of the log that it shows. They can be thrown away and are derived
    anew with no network.

    Parameters
    ----------
    folder : Path
        Where the tables lie.
    log : ResourceLog
        What they are derived from.
    connections : Connections
        Where pseudonyms come from.
    locks : Locks
        The dataset's locks.
    """

    folder: Path
    log: ResourceLog
    connections: Connections
    locks: Locks

    @property
    def names(self) -> list[str]:
        """The packaged views, sorted."""
        return list(catalogue())

    def dictionary(self, name: str) -> pa.Table:
        """Return what each column of a table is.

        Parameters
        ----------
        name : str
            Which table.

        Raises
        ------
        NotInDataset
            If no packaged view has that name.
        """
        self.path(name)
        return data_dictionary(catalogue()[name])

    def path(self, name: str) -> Path:
        """Return the folder of a table.

        Parameters
        ----------
        name : str
            Which table.

        Raises
        ------
        NotInDataset
            If no packaged view has that name.
        """
        if name not in catalogue():
            raise NotInDataset(f"There is no table {name!r}.", hint=f"Tables: {', '.join(catalogue())}.")
        return self.folder / name

    def shown(self, name: str) -> int | None:
        """Return the version of the log that a table shows, None when it has to be derived anew.

        Parameters
        ----------
        name : str
            Which table.
        """
        path = self.path(name)
        if self._to_be_rebuilt or not delta.exists(path):
            return None
        handle = delta.open_table(path)
        return handle.transaction_version(SHOWN) if layout(name).fits(handle) else None

    def reading(self, name: str) -> Reading:
        """Return what reads a table as it is now.

        Parameters
        ----------
        name : str
            Which table.

        Raises
        ------
        NotInDataset
            If no packaged view has that name.
        """
        return Reading(
            self.path(name),
            layout(name),
            is_current=lambda: self.shown(name) == self.log.version,
            refresh=lambda: self.refresh(timeout_s=0.0),
            derive=lambda: self._derived(name, self.log.version),
        )

    def as_of(self, name: str, version: int, *, fallen_out: bool) -> pa.Table:
        """Derive a table from the log as it was at a version, and store nothing.

        Parameters
        ----------
        name : str
            Which table.
        version : int
            Of the log.
        fallen_out : bool
            Whether to show what had fallen out of the record.

        Raises
        ------
        NotInDataset
            If there is no such table or version.
        """
        self.path(name)
        return layout(name).show(self._derived(name, version), fallen_out=fallen_out)

    def _derived(self, name: str, version: int) -> pa.Table:
        parts = [part[name] for part in self._derivation(version).rows([catalogue()[name]])]
        return pa.concat_tables([layout(name).stored.empty_table(), *parts])

    def refresh(
        self,
        patients: Collection[Patient] | None = None,
        *,
        renamed: Collection[Patient] = (),
        timeout_s: float = REFRESH_WAIT_S,
    ) -> None:
        """Bring all tables to the log's newest version, by the work that the patients who changed are worth.

        Parameters
        ----------
        patients : collection of (source, patient_id), optional
            Whose rows have to be current afterwards. Others who changed come along, since one version holds for a whole
            table; when only others changed, nothing is done.
        renamed : collection of (source, patient_id)
            Whose rows are derived anew although the log says nothing new of them.
        timeout_s : float
            How long to wait for another process that refreshes [s].

        Raises
        ------
        DatasetBusy
            If another process refreshes for longer, or maintenance goes on.
        """
        names = self.names
        if not renamed and self._are_current(names, self.log.version):
            return
        busy = "Another process is refreshing the tables."
        with self.locks.writing(), self.locks.alone("tables", timeout_s=timeout_s, busy=busy):
            prepare(self.folder)
            target = self.log.version
            shown = {name: self.shown(name) for name in names}
            changed = self._changed(shown, target)
            if patients is not None and not renamed and _leaves_out(patients, changed, shown):
                return
            plans = [_planned(views, shown, target, changed, frozenset(renamed)) for views in _by_resource_type()]
            delta.make_durable([commit for plan in plans for commit in self._update(plan, target)])
            (self.folder / _REBUILD).unlink(missing_ok=True)

    @property
    def _to_be_rebuilt(self) -> bool:
        return (self.folder / _REBUILD).exists()

    def _are_current(self, names: Sequence[str], target: int) -> bool:
        return all(self.shown(name) == target for name in names)

    def _derivation(self, version: int) -> Derivation:
        return Derivation(self.log, self.log.at(version), self.connections.participant)

    def _changed(self, shown: Mapping[str, int | None], target: int) -> dict[str, set[Patient]] | None:
        """Return who changed since the oldest version that a table shows, None when everybody may have."""
        known = [version for version in shown.values() if version is not None]
        oldest, newest = min(known, default=0), max(known, default=0)
        if newest > target:
            return None
        try:
            # What tables show must not be lost from the log by a power cut.
            self.log.make_durable(oldest, target)
            return self.log.changed(oldest, target) if known else None
        except FileNotFoundError:
            return None

    def _update(self, plan: _Plan, target: int) -> Iterator[delta.Commit]:
        yield from self._derive_into(plan.whole, target, None)
        if plan.patients:
            yield from self._derive_into(plan.partly, target, plan.patients)
        else:
            for view in plan.partly:
                yield delta.note(self.path(view.name), transactions={SHOWN: target})

    def _derive_into(
        self, views: Sequence[View], target: int, patients: frozenset[Patient] | None
    ) -> Iterator[delta.Commit]:
        if not views:
            return
        where = None if patients is None else self.log.predicate(patients)
        with spooled({view.name: layout(view.name).stored for view in views}, self.folder) as spool:
            for rows in self._derivation(target).rows(views, patients):
                spool.add(rows)
            for view in views:
                yield self._store(view.name, spool.reader(view.name), where, target)

    def _store(self, name: str, rows: pa.RecordBatchReader, where: str | None, target: int) -> delta.Commit:
        path, marks = self.path(name), {SHOWN: target}
        if delta.exists(path):
            return delta.replace(path, rows, where=where, transactions=marks)
        return delta.fill(path, rows, partition_by=PARTITION, transactions=marks)


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
    durable.write_durably(folder / _REBUILD, b"")


def _by_resource_type() -> list[list[View]]:
    grouped: dict[str, list[View]] = {}
    for view in catalogue().values():
        grouped.setdefault(view.resource_type, []).append(view)
    return list(grouped.values())


def _leaves_out(
    patients: Collection[Patient], changed: dict[str, set[Patient]] | None, shown: Mapping[str, int | None]
) -> bool:
    if changed is None or None in shown.values():
        return False
    return not any(set(patients) & who for who in changed.values())


def _planned(
    views: Sequence[View],
    shown: Mapping[str, int | None],
    target: int,
    changed: dict[str, set[Patient]] | None,
    renamed: frozenset[Patient],
) -> _Plan:
    behind = [view for view in views if renamed or shown[view.name] != target]
    anew = [view for view in behind if changed is None or shown[view.name] is None]
    patients = renamed | frozenset((changed or {}).get(views[0].resource_type, set()))
    return _Plan(tuple(anew), tuple(view for view in behind if view not in anew), patients)
