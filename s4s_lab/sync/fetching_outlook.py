"""What a fetch is about to do, said before it starts: how many studies, how many are here, how much is to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s4s_lab.dicom import CachedStudy
from s4s_lab.sync.declared import declared_instances


def is_here(cached: CachedStudy | None, study: Mapping[str, Any]) -> bool:
    """Say whether a study needs no asking: complete, and the record has not grown since.

    Parameters
    ----------
    cached : CachedStudy or None
        What the cache holds of it.
    study : mapping
        The ImagingStudy.
    """
    return cached is not None and cached.state == "complete" and cached.instances >= (declared_instances(study) or 0)


@dataclass(frozen=True)
class FetchOutlook:
    """What a fetch found before it started.

    Parameters
    ----------
    studies : int
        How many are wanted.
    here : int
        How many of them are here already and are not asked for.
    here_bytes : int
        Their size [bytes].
    files : int
        How many files the record declares of the others.
    partial_files, partial_bytes : int
        How many of those are here already, and their size [bytes].
    undeclared : int
        Of how many of the others the record does not say how many files they have.
    """

    studies: int
    here: int
    here_bytes: int
    files: int
    partial_files: int
    partial_bytes: int
    undeclared: int

    def __str__(self) -> str:
        left = self.studies - self.here
        parts = [f"{_count(self.studies, 'study', 'studies')} wanted"]
        if self.here:
            parts.append(f"{self.here} here already ({_size(self.here_bytes)})")
        if left:
            parts.append(f"{left} to fetch{self._to_come(left)}")
        return ", ".join(parts) + "."

    def _to_come(self, left: int) -> str:
        declared = [f"{_count(self.files, 'file', 'files')} by the record"] if left > self.undeclared else []
        if self.partial_files:
            declared.append(f"{self.partial_files} of them here ({_size(self.partial_bytes)})")
        if self.undeclared:
            declared.append(f"{self.undeclared} of unknown size")
        return f" ({', '.join(declared)})"


def outlook(studies: Mapping[str, Mapping[str, Any]], cached: Mapping[str, CachedStudy]) -> FetchOutlook:
    """Compare what is wanted with what the cache holds.

    Parameters
    ----------
    studies : mapping of str to mapping
        ImagingStudy by study UID.
    cached : mapping of str to CachedStudy
        What is here, by study UID.
    """
    here = [cached[uid] for uid, study in studies.items() if is_here(cached.get(uid), study)]
    left = {uid: study for uid, study in studies.items() if not is_here(cached.get(uid), study)}
    begun = [cached[uid] for uid in left if uid in cached]
    declared = [declared_instances(study) for study in left.values()]
    return FetchOutlook(
        studies=len(studies),
        here=len(here),
        here_bytes=sum(one.bytes for one in here),
        files=sum(count or 0 for count in declared),
        partial_files=sum(one.instances for one in begun),
        partial_bytes=sum(one.bytes for one in begun),
        undeclared=declared.count(None),
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
