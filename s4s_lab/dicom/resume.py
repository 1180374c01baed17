"""What is left of a study that came in part: series, or single instances, in place of everything once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DeclaredSeries:
    """One series as the record describes it.

    Parameters
    ----------
    series_uid : str
        Series Instance UID, bare.
    expected : int or None
        `ImagingStudy.series.numberOfInstances`.
    instances : frozenset of str
        SOP Instance UIDs of `ImagingStudy.series.instance`, bare; often empty, since servers may leave them out.
    """

    series_uid: str
    expected: int | None = None
    instances: frozenset[str] = frozenset()

    @property
    def count(self) -> int | None:
        """How many instances there should be, as far as the record tells."""
        return self.expected if self.expected is not None else len(self.instances) or None


@dataclass(frozen=True)
class Missing:
    """One thing to ask for: a series, or one instance of it.

    Parameters
    ----------
    series_uid : str
        Series Instance UID.
    instance_uid : str or None
        SOP Instance UID; None for the whole series.
    """

    series_uid: str
    instance_uid: str | None = None

    @property
    def path(self) -> str:
        """The end of its address, below the study's.

        References
        ----------
        DICOM PS3.18, section 10.4.1.1.
        """
        series = f"/series/{self.series_uid}"
        return series if self.instance_uid is None else f"{series}/instances/{self.instance_uid}"


def missing(held: Mapping[str, frozenset[str]], declared: Iterable[DeclaredSeries]) -> tuple[Missing, ...] | None:
    """Return what to ask for so that a study which is here in part becomes whole.

    Parameters
    ----------
    held : mapping of str to frozenset of str
        SOP Instance UIDs that are in the cache whole, by Series Instance UID.
    declared : iterable of DeclaredSeries
        The record's series.

    Returns
    -------
    tuple of Missing or None
        None when nothing is here yet, or the record does not say enough: then the whole study is the thing to ask for.
        A series that is here in part is asked for by instance, where the record names its instances: that is slower a
        file, and brings no file twice. A break leaves one such series, seldom more.
    """
    series = tuple(declared)
    if not any(held.values()) or not series or any(one.count is None for one in series):
        return None
    wanted: list[Missing] = []
    for one in series:
        here = held.get(one.series_uid, frozenset())
        if len(here) >= (one.count or 0) and one.instances <= here:
            continue
        named = here and len(one.instances) == one.count
        absent = sorted(one.instances - here) if named else [None]
        wanted += [Missing(one.series_uid, uid) for uid in absent]
    return tuple(wanted)
