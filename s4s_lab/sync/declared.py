"""What an ImagingStudy declares of its images: how many, in which series. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from s4s_lab.dicom import DeclaredSeries
from s4s_lab.values.uids import bare_uid, is_uid


def declared_instances(study: Mapping[str, Any]) -> int | None:
    """Return how many instances a study has in all: as it says, else as its series say; None when neither does.

    Parameters
    ----------
    study : mapping
        An ImagingStudy, STU3 or R4.

    References
    ----------
    FHIR STU3 and R4, ImagingStudy.numberOfInstances.
    """
    told = _count(study.get("numberOfInstances"))
    if told is not None:
        return told
    counts = [series.count for series in declared_series(study)]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def declared_series(study: Mapping[str, Any]) -> tuple[DeclaredSeries, ...]:
    """Return the series of a study; empty when one of them has no usable UID, so that nothing is concluded from them.

    Parameters
    ----------
    study : mapping
        An ImagingStudy, STU3 or R4.

    References
    ----------
    FHIR STU3 and R4, ImagingStudy.series.uid, .numberOfInstances and .instance.uid.
    """
    found = []
    for series in _objects(study.get("series")):
        uid = _uid(series)
        if uid is None:
            return ()
        instances = frozenset(filter(None, map(_uid, _objects(series.get("instance")))))
        found.append(DeclaredSeries(uid, _count(series.get("numberOfInstances")), instances))
    return tuple(found)


def _count(number: object) -> int | None:
    return number if type(number) is int and number >= 0 else None


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    return (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _uid(element: Mapping[str, Any]) -> str | None:
    uid = element.get("uid")
    bare = bare_uid(uid) if isinstance(uid, str) else ""
    return bare if is_uid(bare) else None
