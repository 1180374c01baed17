"""`_lastUpdated`: asking for what changed, and finding out whether a server's filter does what it says."""

from __future__ import annotations

from datetime import datetime, timedelta

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.fhir import search
from s4s_lab.sync.listing import Listing, Source, ask_twice_if_short, of_patient
from s4s_lab.sync.reports import Filter
from s4s_lab.sync.watermark import PRECISIONS, since

_EVER = "gt1970-01-01T00:00:00.000Z"
_NEVER = "gt2200-01-01T00:00:00.000Z"


def updates(source: Source, last_check: datetime, overlap: timedelta) -> tuple[Listing | None, Filter]:
    """Ask for what changed since `last_check`, less the overlap; None when the server cannot be asked that.

    Milliseconds first; a server that answers 400 is asked again in seconds, then in days. The self link shows whether
    the server used the filter at all.

    Parameters
    ----------
    source : Source
        Whom to ask.
    last_check : datetime
        Up to when everything is known, aware.
    overlap : timedelta
        How far before it to ask.

    References
    ----------
    S4S imaging page, "On periodic-update". FHIR STU3, "Search": self link, lenient handling.
    """
    for precision in PRECISIONS:
        parameters = of_patient(source) | {"_lastUpdated": since(last_check, overlap, precision)}
        try:
            listing = ask_twice_if_short(source, parameters)
        except UnexpectedAnswer as error:
            source.tally.requests += 1
            if error.status != 400:
                raise
            source.tally.warn(f"the server refuses _lastUpdated in {precision} precision")
            continue
        ignored = listing.self_url is not None and "?" in listing.self_url and "_lastUpdated" not in listing.self_url
        return listing, "ignored" if ignored else "unknown"
    return None, "broken"


def filter_behaviour(source: Source) -> Filter:
    """Find out by two counting queries whether `_lastUpdated` does what it says; asked when records are known.

    Parameters
    ----------
    source : Source
        Whom to ask.

    Returns
    -------
    str
        `empty`: asked since 1970, the server finds none of the records it has. `ignored`: asked since the year 2200, it
        still finds some. `unknown`: it refuses the question, perhaps for its precision. Else `honoured`.
    """
    try:
        if not _count(source, _EVER):
            return "empty"
        return "ignored" if _count(source, _NEVER) else "honoured"
    except UnexpectedAnswer as error:
        if error.status != 400:
            raise
        return "unknown"


def _count(source: Source, last_updated: str) -> int:
    parameters = of_patient(source) | {"_lastUpdated": last_updated, "_summary": "count"}
    source.tally.requests += 1
    page = next(search(source.client, source.fhir_url, source.item.resource_type, parameters))
    return page.total if page.total is not None else sum(entry.mode == "match" for entry in page.entries)
