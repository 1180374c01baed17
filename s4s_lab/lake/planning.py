"""What a refresh has to do: who changed, which tables are derived anew, and which for some patients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from s4s_lab.lake.catalogue import catalogue
from s4s_lab.lake.log import Patient, ResourceLog
from s4s_lab.lake.migration import Fit, Standing
from s4s_lab.views import View


@dataclass(frozen=True)
class Plan:
    """What the tables of some views need.

    Parameters
    ----------
    whole : tuple of View
        Whose tables are derived anew.
    partly : tuple of View
        Whose tables need some patients' rows, or nothing but the word that they are current.
    patients : frozenset of (source, patient_id)
        Which patients.
    """

    whole: tuple[View, ...]
    partly: tuple[View, ...]
    patients: frozenset[Patient]


class Changes:
    """Who changed since a version of the log, asked once a version.

    Parameters
    ----------
    log : ResourceLog
        The log.
    target : int
        Its newest version.
    """

    def __init__(self, log: ResourceLog, target: int) -> None:
        self.log, self.target = log, target
        self._since: dict[int, dict[str, set[Patient]] | None] = {}

    def since(self, shown: int | None) -> dict[str, set[Patient]] | None:
        """Return who changed, by resource type; None when everybody may have.

        Parameters
        ----------
        shown : int or None
            The version of the log since which; None: since ever.
        """
        after = 0 if shown is None or shown > self.target else shown
        if after not in self._since:
            self._since[after] = self._read(after)
        return self._since[after] if after == shown else None

    def _read(self, shown: int) -> dict[str, set[Patient]] | None:
        try:
            # What tables show must not be lost from the log by a power cut.
            self.log.make_durable(shown, self.target)
            return self.log.changed(shown, self.target)
        except FileNotFoundError:
            return None

    def leave_out(self, patients: Collection[Patient], standings: Mapping[View, Standing]) -> bool:
        """Say whether none of these patients changed since any of the tables was made.

        Parameters
        ----------
        patients : collection of (source, patient_id)
            Which patients.
        standings : mapping of View to Standing
            How each table stands.
        """
        for standing in standings.values():
            changed = self.since(standing.shown) if standing.fit is Fit.SAME else None
            if changed is None or any(set(patients) & who for who in changed.values()):
                return False
        return True


def groups(views: Collection[View]) -> list[list[View]]:
    """Return the views that go together: the packaged ones of one resource type; each of the user's own alone.

    Parameters
    ----------
    views : collection of View
        All that are due.
    """
    grouped: dict[str, list[View]] = {}
    for view in views:
        own = catalogue().get(view.name) is not view
        grouped.setdefault(f"{view.resource_type} {view.name}" if own else view.resource_type, []).append(view)
    return list(grouped.values())


def planned(
    views: Sequence[View], standings: Mapping[View, Standing], changes: Changes, renamed: frozenset[Patient]
) -> Plan:
    """Return what the tables of views that go together need.

    Parameters
    ----------
    views : sequence of View
        All over one resource type.
    standings : mapping of View to Standing
        How each table stands.
    changes : Changes
        Who changed.
    renamed : frozenset of (source, patient_id)
        Whose rows are derived anew although the log says nothing new of them.
    """
    resource_type = views[0].resource_type
    known = {view: standings[view].shown for view in views if standings[view].fit is Fit.SAME}
    behind = [view for view in views if renamed or known.get(view) != changes.target]
    changed = {view: changes.since(known.get(view)) for view in behind}
    partly = [view for view in behind if changed[view] is not None]
    patients = set(renamed).union(*((changed[view] or {}).get(resource_type, set()) for view in partly))
    return Plan(tuple(view for view in behind if view not in partly), tuple(partly), frozenset(patients))


def changed_views(plans: Sequence[Plan], standings: Mapping[View, Standing], failed: Collection[str]) -> dict[str, str]:
    """Return by name what changed in the views of tables that were derived anew.

    Parameters
    ----------
    plans : sequence of Plan
        What was done.
    standings : mapping of View to Standing
        How each table stood before.
    failed : collection of str
        Names of tables that were left as they were after all.
    """
    whole = [view for plan in plans for view in plan.whole if view.name not in failed]
    return {view.name: standings[view].change for view in whole if standings[view].change}
