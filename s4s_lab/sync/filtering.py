"""`_lastUpdated`: asking for what changed, and finding out whether a server's filter does what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.fhir import Entry, search
from s4s_lab.fhir.decoding import decode_checked
from s4s_lab.lake import CurrentVersion
from s4s_lab.sync.listing import Listing, Source, ask_twice_if_short, of_patient
from s4s_lab.sync.reports import Filter
from s4s_lab.sync.watermark import EARLIEST, PRECISIONS, Precision, since
from s4s_lab.values.instants import parse_date_time

_EVER = datetime(1970, 1, 3, tzinfo=UTC)
_NEVER = datetime(2200, 1, 3, tzinfo=UTC)
_DAY = timedelta(days=1)
# So much later than its start a study has to be stamped for the two to be told apart in days, in any zone.
_LONG_AFTER = timedelta(days=4)
_JUST_BEFORE = timedelta(seconds=1)
# How many records, those stamped last, are looked at.
SAMPLE = 50
# Where a record that changed last has not come within so many pages, nothing is concluded.
_PAGES_TO_LOOK_THROUGH = 20
# How servers refuse a parameter that they do not take: 400 as FHIR asks for, the others as frameworks and gateways do.
_REFUSED = (400, 405, 422, 501)


@dataclass(frozen=True)
class Behaviour:
    """How a server treats `_lastUpdated`, and in which precision it takes it."""

    filter: Filter
    precision: Precision


@dataclass(frozen=True)
class Stamps:
    """When a record was last changed at the server, and when a study was acquired; None where it does not say."""

    resource_id: str
    last_updated: datetime | None
    started: datetime | None


def query_text(source: Source, last_updated: str | None = None) -> str:
    """Return what is asked, as the S4S page writes it: without the patient.

    Parameters
    ----------
    source : Source
        What is asked for.
    last_updated : str, optional
        The value of `_lastUpdated`.
    """
    item = source.item
    if item.parameter is None:
        return f"{item.resource_type}/{{patientId}}"
    more = f"&_lastUpdated={last_updated}" if last_updated else ""
    return f"{item.resource_type}?{item.parameter}={{patientId}}{more}"


def updates(
    source: Source, last_check: datetime, overlap: timedelta, precision: Precision
) -> tuple[Listing | None, Filter]:
    """Ask for what changed since `last_check`, less the overlap; None when the server cannot be asked that.

    A server that refuses the question is asked again in seconds, then in days. The self link shows whether the server
    used the filter at all.

    Parameters
    ----------
    source : Source
        Whom to ask.
    last_check : datetime
        Up to when everything is known, aware.
    overlap : timedelta
        How far before it to ask.
    precision : {"millisecond", "second", "date"}
        The finest that the server is known to take.

    References
    ----------
    S4S imaging page, "On periodic-update". FHIR STU3, "Search": self link, lenient handling.
    """
    for coarser in PRECISIONS[PRECISIONS.index(precision) :]:
        asked = since(last_check, overlap, coarser)
        source.tally.query = query_text(source, asked)
        try:
            listing = ask_twice_if_short(source, of_patient(source) | {"_lastUpdated": asked})
        except UnexpectedAnswer as error:
            source.tally.requests += 1
            if error.status not in _REFUSED:
                raise
            source.tally.warn(f"the server refuses _lastUpdated in {coarser} precision")
            continue
        ignored = listing.self_url is not None and "?" in listing.self_url and "_lastUpdated" not in listing.self_url
        return listing, "ignored" if ignored else "unknown"
    return None, "broken"


def filter_behaviour(source: Source) -> Behaviour:
    """Find out by two small queries whether `_lastUpdated` does what it says; asked when records are known.

    The queries ask for one resource (`_count=1`) and are judged by what comes: a counting query is refused by the
    gateway that S4S ran, and `total` is known to lie.

    Parameters
    ----------
    source : Source
        Whom to ask.

    Returns
    -------
    Behaviour
        `empty`: asked since 1970, the server finds none of the records it has. `ignored`: asked since the year 2200, it
        still finds some. `unknown`: it refuses the question in every precision. Else `honoured`.
    """
    for precision in PRECISIONS:
        try:
            if not _finds_any(source, since(_EVER, _DAY, precision)):
                return Behaviour("empty", precision)
            return Behaviour("ignored" if _finds_any(source, since(_NEVER, _DAY, precision)) else "honoured", precision)
        except UnexpectedAnswer as error:
            if error.status not in _REFUSED:
                raise
    return Behaviour("unknown", PRECISIONS[0])


def _finds_any(source: Source, last_updated: str) -> bool:
    return _comes(source, {"_lastUpdated": last_updated, "_count": "1"}, None) is not False


def _comes(source: Source, filtered: dict[str, str], resource_id: str | None) -> bool | None:
    """Say whether a query brings a resource, or any; None when there are too many pages to say."""
    kind = source.item.resource_type
    pages = search(source.client, source.fhir_url, kind, of_patient(source) | filtered)
    while True:
        source.tally.requests += 1
        page = next(pages, None)
        if page is None:
            source.tally.requests -= 1
            return False
        if any(_is(entry, kind, resource_id) for entry in page.entries):
            return True
        if page.number >= _PAGES_TO_LOOK_THROUGH and page.next_url is not None:
            return None


def _is(entry: Entry, kind: str, resource_id: str | None) -> bool:
    matches = entry.mode == "match" and entry.resource_type == kind
    return matches and (resource_id is None or entry.resource_id == resource_id)


def judged_by(source: Source, stamps: list[Stamps], precision: Precision) -> Behaviour:
    """Judge a filter that seems to work by a record that has to come when it is asked for from just before its change.

    A server that leaves the record out then, and brings it when asked from days before, takes instants for whole days:
    it is asked in days from now on. One that leaves it out then too goes by another date. A study that was acquired
    long before it was last changed tells that best. Where no study does, and every one has either no
    `meta.lastUpdated` or the same one as `started`, the server is taken for one that goes by that.

    Parameters
    ----------
    source : Source
        Whom to ask.
    stamps : list of Stamps
        Of known records.
    precision : {"millisecond", "second", "date"}
        The finest that the server takes.

    Returns
    -------
    Behaviour
        `honoured` or `started-like`, and the precision to ask in.

    References
    ----------
    sync-for-science/imaging, README: the server may filter by `Meta.lastUpdated` or by `ImagingStudy.started`.
    """
    found: Filter = "started-like" if _only_started(stamps) else "honoured"
    dated = [(_tells(one), one.last_updated, one.resource_id) for one in stamps if one.last_updated is not None]
    if not dated:
        return Behaviour(found, precision)
    _, changed, resource_id = max(dated)
    if _comes(source, {"_lastUpdated": since(changed, _JUST_BEFORE, precision)}, resource_id) is not False:
        return Behaviour(found, precision)
    if _comes(source, {"_lastUpdated": since(changed, _DAY, "date")}, resource_id) is not False:
        return Behaviour(found, "date")
    return Behaviour("started-like", precision)


def _only_started(stamps: list[Stamps]) -> bool:
    """Say whether no stamp of these studies says anything but when the study was acquired."""
    dated = [one for one in stamps if one.started is not None]
    return bool(dated) and all(one.last_updated in (None, one.started) for one in dated)


def _tells(one: Stamps) -> bool:
    """Say whether a study was changed so long after it was acquired that the two dates are told apart."""
    return one.last_updated is not None and one.started is not None and one.last_updated - one.started >= _LONG_AFTER


def newest_ids(current: Mapping[str, CurrentVersion]) -> list[str]:
    """Return the ids of the present resources that were stamped last, those without a stamp at the end.

    Parameters
    ----------
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    """
    present = [(version.last_updated or _EVER, key) for key, version in current.items() if version.fell_out is None]
    return [key for _, key in sorted(present, reverse=True)[:SAMPLE]]


def stamps_of(raws: Mapping[str, str], current: Mapping[str, CurrentVersion]) -> list[Stamps]:
    """Return when records were changed and, for studies, acquired; those without an id of their own are left out.

    Parameters
    ----------
    raws : mapping of str to str
        Raw JSON by id.
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    """
    resources = {key: decode_checked(raw.encode(), "The log") for key, raw in raws.items()}
    return [
        Stamps(key, _set(current[key].last_updated), _started(resource))
        for key, resource in resources.items()
        if resource.get("id") == key
    ]


def _set(stamp: datetime | None) -> datetime | None:
    """Return a stamp unless it is one that was never set: that tells nothing of a filter."""
    return stamp if stamp is not None and stamp >= EARLIEST else None


def _started(study: Mapping[str, object]) -> datetime | None:
    text = study.get("started")
    try:
        return parse_date_time(text) if isinstance(text, str) else None
    except ValueError:
        return None
