"""What a pull brought against what the log holds: new, changed, unchanged, returned, absent. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from s4s_lab.fhir import Entry, content_hash
from s4s_lab.lake import CurrentVersion
from s4s_lab.values.instants import parse_date_time
from s4s_lab.views import decode, resource_key

_NUMBER = re.compile(r"\d{1,18}", re.ASCII)

Span = tuple[datetime, datetime]
"""From one moment to another, both aware."""


@dataclass(frozen=True, slots=True)
class Received:
    """One resource as a pull brought it: what identifies it and its content. Its JSON lies in the stage.

    Parameters
    ----------
    resource_id : str
        The server's id; without one the key that the tables use: a study's Study Instance UID, else a content hash.
    version_id : str or None
        `meta.versionId`.
    last_updated : datetime or None
        `meta.lastUpdated` when it can be read: it may be absent, constant or false.
    content_hash : str
        sha256 of what was received without `meta.versionId` and `meta.lastUpdated`.
    place : int
        Its number in the stage.
    """

    resource_id: str
    version_id: str | None
    last_updated: datetime | None
    content_hash: str
    place: int


def received(entry: Entry, place: int) -> Received:
    """Return an entry's key, stamps and content hash.

    Parameters
    ----------
    entry : Entry
        A match of a search, or what a read gave.
    place : int
        Its number in the stage.
    """
    meta = entry.elements("meta").get("meta")
    meta = meta if isinstance(meta, dict) else {}
    version = meta.get("versionId")
    return Received(
        resource_id=entry.resource_id or resource_key(decode(entry.raw)),
        version_id=None if version is None else str(version),
        last_updated=_instant(meta.get("lastUpdated")),
        content_hash=content_hash(entry.members),
        place=place,
    )


def _instant(text: object) -> datetime | None:
    try:
        return parse_date_time(text) if isinstance(text, str) else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Comparison:
    """Ids by what became of them, and the versions to append to the log."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    unchanged: int = 0
    stale: tuple[str, ...] = ()
    to_append: tuple[Received, ...] = ()


def _kind(known: CurrentVersion | None, got: Received, rewritten: Container[int]) -> str:
    if known is None:
        return "new"
    if known.fell_out is not None:
        return "returned"
    if known.content_hash == got.content_hash or got.place in rewritten:
        return "unchanged"
    return "changed"


def _lags(got: Received, known: CurrentVersion, lag: Span | None) -> bool:
    """Say whether a replica that lags behind may have sent a version."""
    return _is_older(got, known) and (lag is None or _lies_in(known.last_updated, lag))


def _is_older(one: Received | CurrentVersion, other: Received | CurrentVersion) -> bool:
    """Say whether a version is older than another: by version numbers, since clocks differ; else by their times."""
    numbers = [version.version_id or "" for version in (one, other)]
    if numbers[0] != numbers[1] and all(map(_NUMBER.fullmatch, numbers)):
        return int(numbers[0]) < int(numbers[1])
    times = one.last_updated, other.last_updated
    return times[0] is not None and times[1] is not None and times[0] < times[1]


def _lies_in(moment: datetime | None, span: Span) -> bool:
    return moment is not None and span[0] <= moment <= span[1]


def compare(
    current: Mapping[str, CurrentVersion],
    brought: Iterable[Received],
    *,
    keep_newer: bool,
    lag: Span | None = None,
    rewritten: Container[int] = (),
) -> Comparison:
    """Sort what a pull brought by what the log already holds; duplicates fall away by content.

    Parameters
    ----------
    current : mapping of str to CurrentVersion
        The newest version of each resource in the log, by id.
    brought : iterable of Received
        In the order of arrival; of an id that came twice the newer version counts, the later one when none is newer.
    keep_newer : bool
        Whether a version older than the known one is left aside (`stale`): the pull may be answered by a replica that
        lags behind.
    lag : (datetime, datetime), optional
        When given, a version is left aside only if the known one was updated between these two moments: a replica
        does not lag by days, so before them the record itself has gone back, or a clock was set.
    rewritten : container of int
        Places of versions that say what the log's say, written otherwise.

    References
    ----------
    FHIR STU3, "Resource", `meta.versionId`: its order is nowhere promised, but whole numbers are counted up.
    """
    latest: dict[str, Received] = {}
    for item in brought:
        known = latest.get(item.resource_id)
        if known is None or not _is_older(item, known):
            latest[item.resource_id] = item
    ids: dict[str, list[str]] = {"new": [], "changed": [], "returned": [], "unchanged": [], "stale": []}
    append = []
    for key, item in latest.items():
        kind = _kind(current.get(key), item, rewritten)
        if kind == "changed" and keep_newer and _lags(item, current[key], lag):
            kind = "stale"
        ids[kind].append(key)
        if kind in ("new", "changed", "returned"):
            append.append(item)
    return Comparison(
        new=tuple(ids["new"]),
        changed=tuple(ids["changed"]),
        returned=tuple(ids["returned"]),
        unchanged=len(ids["unchanged"]),
        stale=tuple(ids["stale"]),
        to_append=tuple(append),
    )


def absent_from(current: Mapping[str, CurrentVersion], seen: Iterable[str]) -> list[str]:
    """Return the ids that the log holds as present and a complete broad pull did not show.

    Parameters
    ----------
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    seen : iterable of str
        Ids that a complete broad pull showed.
    """
    shown = set(seen)
    return [key for key, version in current.items() if version.fell_out is None and key not in shown]


def is_mass_vanishing(absent: int, active: int) -> bool:
    """Say whether so many records vanished at once that the server is to be doubted, not the record.

    Parameters
    ----------
    absent, active : int
        How many records are missing, and how many there were.
    """
    return absent > max(5, active // 10)
