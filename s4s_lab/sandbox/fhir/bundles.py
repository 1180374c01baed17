"""Search results as Bundles, page by page, unmoved by changes on the server."""

from __future__ import annotations

import re
import secrets
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from s4s_lab.sandbox.archive import Stored
from s4s_lab.values.instants import format_instant

PAGING_LIFETIME_S = 900
MAX_PAGINGS = 256
_PAGE = re.compile(r"([A-Za-z0-9_-]{16})\.(\d{1,9})", re.ASCII)
IncludesOf = Callable[[Stored], list[Stored]]


@dataclass(frozen=True)
class Result:
    """What a search found at one moment; later pages are cut from the same.

    Parameters
    ----------
    resource_type : str
        What was searched.
    patient_id : str
        Whom the result may be shown to.
    matches : tuple of Stored
        Every match.
    count : int
        Matches on a page.
    self_url : str
        The search as it was understood.
    moment : datetime
        When it was so.
    with_includes : bool
        Whether Endpoints go along.
    """

    resource_type: str
    patient_id: str
    matches: tuple[Stored, ...]
    count: int
    self_url: str
    moment: datetime
    with_includes: bool


@dataclass
class Pagings:
    """Results whose later pages may still be asked for; the oldest give way.

    Parameters
    ----------
    now : callable
        A monotonic clock [s].
    """

    now: Callable[[], float] = time.monotonic
    _results: OrderedDict[str, tuple[float, Result]] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def keep(self, result: Result) -> str:
        """Keep a result and return its random key.

        Parameters
        ----------
        result : Result
            What was found.
        """
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._results[key] = (self.now(), result)
            while len(self._results) > MAX_PAGINGS:
                self._results.popitem(last=False)
        return key

    def find(self, page: str) -> tuple[str, int, Result] | None:
        """Return key, offset and result of a page's name; None when it is unknown or too old.

        Parameters
        ----------
        page : str
            As in a `next` link.
        """
        parts = _PAGE.fullmatch(page)
        if parts is None:
            return None
        with self._lock:
            kept_at, result = self._results.get(parts[1], (0.0, None))
        if result is None or self.now() - kept_at > PAGING_LIFETIME_S:
            return None
        return parts[1], int(parts[2]), result


def self_link(fhir_url: str, resource_type: str, used: tuple[tuple[str, str], ...]) -> str:
    """Return a search's own address, with the parameters that were used.

    Parameters
    ----------
    fhir_url : str
        Base address.
    resource_type : str
        What is searched.
    used : tuple of (str, str)
        Names and values.
    """
    query = urlencode(used, safe="/:,|")
    return f"{fhir_url}/{resource_type}" + (f"?{query}" if query else "")


def _entry(one: Stored, fhir_url: str, mode: str) -> dict[str, Any]:
    return {
        "fullUrl": f"{fhir_url}/{one.reference}",
        "resource": msgspec.Raw(one.raw),
        "search": {"mode": mode},
    }


def _bundle(moment: datetime, total: int, links: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"lastUpdated": format_instant(moment)},
        "type": "searchset",
        "total": total,
        "link": [{"relation": relation, "url": url} for relation, url in links],
    }


def total_bundle(result: Result) -> bytes:
    """Return the Bundle of a search that asked for the total alone.

    Parameters
    ----------
    result : Result
        What was found.
    """
    return msgspec.json.encode(_bundle(result.moment, len(result.matches), [("self", result.self_url)]))


def page_bundle(result: Result, pagings: Pagings, fhir_url: str, includes_of: IncludesOf, at: tuple[str, int]) -> bytes:
    """Return one page of a result.

    Parameters
    ----------
    result : Result
        What was found.
    pagings : Pagings
        Where a result is kept when a page follows.
    fhir_url : str
        Base address.
    includes_of : callable
        Gives what goes along with a match.
    at : (str, int)
        Key of the kept result, empty for a first page, and offset of the page.

    References
    ----------
    FHIR STU3, "Search": paging; `next` links are opaque to the client. "Bundle": includes do not count in the total.
    """
    key, offset = at
    end = offset + result.count
    page_url = f"{fhir_url}/{result.resource_type}?_page="
    links = [("self", f"{page_url}{key}.{offset}" if key else result.self_url)]
    if end < len(result.matches):
        links.append(("next", f"{page_url}{key or pagings.keep(result)}.{end}"))
    bundle = _bundle(result.moment, len(result.matches), links)
    entries = _entries(result.matches[offset:end], fhir_url, includes_of if result.with_includes else None)
    # FHIR JSON has no empty arrays.
    return msgspec.json.encode(bundle | ({"entry": entries} if entries else {}))


def _entries(matches: Sequence[Stored], fhir_url: str, includes_of: IncludesOf | None) -> list[dict[str, Any]]:
    included = {found.reference: found for one in matches for found in includes_of(one)} if includes_of else {}
    return [
        *(_entry(one, fhir_url, "match") for one in matches),
        *(_entry(one, fhir_url, "include") for one in included.values()),
    ]
