"""The tables in tables/: one per view, derived from the log, refreshed for the patients that changed."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from s4s_lab.errors import DatasetError, S4SWarning, TableChanged, TableWouldChange, ViewError
from s4s_lab.lake import delta, durable
from s4s_lab.lake.catalogue import Views, catalogue, layout
from s4s_lab.lake.connections import Connections
from s4s_lab.lake.derive import Derivation, spooled
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.log import Patient, ResourceLog
from s4s_lab.lake.migration import Fit, Standing, marks, opened, stand
from s4s_lab.lake.planning import Changes, Plan, changed_views, groups, planned
from s4s_lab.lake.reading import Reading
from s4s_lab.lake.stored import PARTITION, WHOSE
from s4s_lab.lake.tables_folder import REBUILD, alone
from s4s_lab.views import View, data_dictionary

# The transaction identifier that says which version of the log a table shows.
SHOWN = "resources"
# Many workers of a cohort may come at once; a lock whose holder died is free at once.
REFRESH_WAIT_S = 600.0


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
    views : Views
        What they are derived by.
    migrate : bool
        Whether a table may lose columns, or have them with other types, because its view does.
    """

    folder: Path
    log: ResourceLog
    connections: Connections
    locks: Locks
    views: Views
    migrate: bool = False

    @property
    def names(self) -> list[str]:
        """The views, sorted."""
        return list(self.views.all())

    def dictionary(self, name: str) -> pa.Table:
        """Return what each column of a table is.

        Parameters
        ----------
        name : str
            Which table.

        Raises
        ------
        NotInDataset
            If no view has that name.
        """
        return data_dictionary(self.views.one(name))

    def path(self, name: str) -> Path:
        """Return the folder of a table.

        Parameters
        ----------
        name : str
            Which table.

        Raises
        ------
        NotInDataset
            If no view has that name.
        """
        return self.folder / self.views.one(name).name

    def shown(self, name: str) -> int | None:
        """Return the version of the log that a table shows by its present view, None when it shows none.

        Parameters
        ----------
        name : str
            Which table.
        """
        standing = self._standing(self.views.one(name))
        return standing.shown if standing.fit is Fit.SAME else None

    def reading(self, name: str) -> Reading:
        """Return what reads a table as it is now.

        Parameters
        ----------
        name : str
            Which table.

        Raises
        ------
        NotInDataset
            If no view has that name.
        TableWouldChange
            If the stored table has columns that its view lacks, and that was not allowed.
        """
        view = self.views.one(name)
        self._refuse(view, self._standing(view))
        return Reading(
            layout(view),
            is_current=lambda: self._is_current(view, self.log.version),
            refresh=partial(self._refresh_for, view),
            stored=partial(self._stored, view),
            derive=lambda: self._derived(view, self.log.version),
        )

    def as_of(self, name: str, version: int, *, fallen_out: bool) -> pa.Table:
        """Return a table as it is at a version of the log, by its present view: as stored, or derived from the log.

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
        TableWouldChange
            If the stored table has columns that its view lacks, and that was not allowed.
        """
        view = self.views.one(name)
        self._refuse(view, self._standing(view))
        if version == self.log.version and not self._is_current(view, version):
            # When it cannot be refreshed now, it is derived.
            with suppress(DatasetError):
                self.refresh(timeout_s=0.0)
        handle = opened(self.folder / name)
        standing = self._standing_of(handle, view)
        if handle is not None and standing.fit is Fit.SAME and standing.shown == version:
            return layout(view).read(handle, fallen_out=fallen_out)
        return layout(view).show(self._derived(view, version), fallen_out=fallen_out)

    def add(self, view: str | Path | Mapping[str, Any], *, replacing: bool) -> str:
        """Make a user's view one of the dataset's and fill its table from the log.

        Parameters
        ----------
        view : str, Path or Mapping
            A ViewDefinition file, or the ViewDefinition.
        replacing : bool
            Whether it may take the place of another of the user's own.

        Returns
        -------
        str
            The table's name.

        Raises
        ------
        ViewError
            If it cannot be compiled or run over what the log holds, or its name cannot be a table's, or is taken.
        DatasetBusy
            If another process refreshes for longer than ten minutes.

        Warns
        -----
        S4SWarning
            When no pull brings resources of the view's type.
        """
        with self._alone(REFRESH_WAIT_S):
            name, content = self.views.checked(view, replacing=replacing)
            made = self.views.compiled(name, content)
            target = self.log.version
            # A table of an earlier view of that name, or one that a killed process left, is not this one's.
            with spooled({name: layout(made).stored}, self.folder) as spool:
                for rows in self._derivation(target).rows([made]):
                    spool.add(rows)
                self._discard(name)
                self.views.keep(name, content)
                delta.make_durable([self._store(made, spool.reader(name), None, target, Standing(Fit.NONE))])
        self._tell_when_never_pulled(made)
        return name

    def _tell_when_never_pulled(self, view: View) -> None:
        kind, pulled = view.resource_type, sorted({one.resource_type for one in catalogue().values()})
        if kind not in pulled and not self.log.buckets_of(self.log.at(self.log.version), kind):
            said = f"Table {view.name} stays empty: no pull brings {kind}, only {', '.join(pulled)}."
            warnings.warn(S4SWarning(said), stacklevel=4)

    def remove(self, name: str) -> None:
        """Take one of the user's own views away, with its table; the log keeps everything.

        Parameters
        ----------
        name : str
            Which one.

        Raises
        ------
        NotInDataset
            If it is none of the user's own.
        DatasetBusy
            If another process refreshes for longer than ten minutes.
        """
        with self._alone(REFRESH_WAIT_S):
            self.views.drop(name)
            self._discard(name)

    def refresh(
        self,
        patients: Collection[Patient] | None = None,
        *,
        renamed: Collection[Patient] = (),
        timeout_s: float = REFRESH_WAIT_S,
    ) -> dict[str, str]:
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

        Returns
        -------
        dict of str to str
            By name, why a table does not show the newest all the same.

        Raises
        ------
        DatasetBusy
            If another process refreshes for longer, or maintenance goes on.

        Warns
        -----
        TableChanged
            When a table is derived anew because its view says other things.
        """
        if not renamed and all(self._is_current(view, self.log.version) for view in self.views.all().values()):
            return {}
        with self._alone(timeout_s):
            failed, anew = self._brought_up(self.log.version, patients, frozenset(renamed))
        for name, change in anew.items():
            said = f"Table {name} was derived anew, since its view has changed ({change})."
            warnings.warn(TableChanged(said), stacklevel=3)
        return failed

    def _brought_up(
        self, target: int, patients: Collection[Patient] | None, renamed: frozenset[Patient]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Do what is due; return why tables do not show the newest, and which were derived anew for another view."""
        due, failed = self._due()
        changes = Changes(self.log, target)
        if patients is not None and not renamed and changes.leave_out(patients, due):
            return failed, {}
        plans = [planned(group, due, changes, renamed) for group in groups(due)]
        delta.make_durable([commit for plan in plans for commit in self._update(plan, due, target, failed)])
        with durable.told(self.folder):
            (self.folder / REBUILD).unlink(missing_ok=True)
        return failed, changed_views(plans, due, failed)

    def _due(self) -> tuple[dict[View, Standing], dict[str, str]]:
        """Return how the tables stand that this process may write, and by name why others are left as they are."""
        standings = {view: self._standing(view) for view in self.views.all().values()}
        failed = {view.name: _refusal(view, one) for view, one in standings.items() if self._refuses(one)}
        return {view: one for view, one in standings.items() if self._is_ours(one)}, failed

    def _refresh_for(self, view: View) -> str | None:
        return self.refresh(timeout_s=0.0).get(view.name)

    def _alone(self, timeout_s: float) -> AbstractContextManager[None]:
        return alone(self.locks, self.folder, timeout_s)

    def _standing(self, view: View) -> Standing:
        return self._standing_of(opened(self.folder / view.name), view)

    def _standing_of(self, handle: DeltaTable | None, view: View) -> Standing:
        standing = stand(handle, view, SHOWN)
        return replace(standing, shown=None) if (self.folder / REBUILD).exists() else standing

    def _refuses(self, standing: Standing) -> bool:
        return standing.fit is Fit.BREAKS and not self.migrate

    def _refuse(self, view: View, standing: Standing) -> None:
        if self._refuses(standing):
            raise TableWouldChange(_refusal(view, standing))

    def _is_ours(self, standing: Standing) -> bool:
        """Say whether this process may write the table: not when a later catalogue has taken it over."""
        return self.migrate or standing.fit not in (Fit.OLDER, Fit.BREAKS)

    def _is_current(self, view: View, target: int) -> bool:
        return self._shows(self._standing(view), target)

    def _shows(self, standing: Standing, target: int) -> bool:
        fits = standing.fit is Fit.SAME or (standing.fit is Fit.OLDER and standing.readable and not self.migrate)
        return fits and standing.shown == target

    def _stored(self, view: View) -> DeltaTable | None:
        """Open the stored table when its rows can be shown: this view's, or a later one's that are up to date."""
        handle = opened(self.folder / view.name)
        standing = self._standing_of(handle, view)
        return handle if standing.fit is Fit.SAME or self._shows(standing, self.log.version) else None

    def _derivation(self, version: int) -> Derivation:
        return Derivation(self.log, self.log.at(version), self.connections.participant)

    def _derived(self, view: View, version: int) -> pa.Table:
        parts = [part[view.name] for part in self._derivation(version).rows([view])]
        return pa.concat_tables([layout(view).stored.empty_table(), *parts])

    def _update(
        self, plan: Plan, standings: Mapping[View, Standing], target: int, failed: dict[str, str]
    ) -> Iterator[delta.Commit]:
        parts = [(plan.whole, None), (plan.partly, plan.patients)]
        for views, patients in parts:
            if patients is not None and not patients:
                for view in views:
                    yield delta.note(
                        self.folder / view.name, transactions={SHOWN: target}, handle=standings[view].handle
                    )
                continue
            try:
                yield from self._derive_into(views, standings, target, patients)
            except ViewError as error:
                # Only a user's own view can meet a resource that it cannot be run over; it is alone in its plan.
                failed.update({view.name: str(error) for view in views})

    def _derive_into(
        self,
        views: Sequence[View],
        standings: Mapping[View, Standing],
        target: int,
        patients: frozenset[Patient] | None,
    ) -> Iterator[delta.Commit]:
        if not views:
            return
        where = None if patients is None else self.log.predicate(patients)
        with spooled({view.name: layout(view).stored for view in views}, self.folder) as spool:
            for rows in self._derivation(target).rows(views, patients):
                spool.add(rows)
            for view in views:
                yield self._store(view, spool.reader(view.name), where, target, standings[view])

    def _store(
        self, view: View, rows: pa.RecordBatchReader, where: str | None, target: int, standing: Standing
    ) -> delta.Commit:
        path, numbers = self.folder / view.name, {SHOWN: target, **marks(view, standing)}
        if not delta.exists(path):
            return delta.fill(path, rows, partition_by=PARTITION, described=WHOSE, transactions=numbers)
        return delta.replace(path, rows, where=where, transactions=numbers)

    def _discard(self, name: str) -> None:
        path = self.folder / name
        if path.is_dir():
            # Moved first: a table is there or it is not.
            aside = self.folder / f".part-{name}"
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            durable.sync(self.folder)
            shutil.rmtree(aside)


def _refusal(view: View, standing: Standing) -> str:
    return f"Table {view.name} is left as it was, since its view has changed ({standing.change})."
