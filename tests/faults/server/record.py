"""A model of a FHIR server: one participant's record and its history, a clock, and the ways in which servers differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from tests.faults.server.wire import Reply, Request

Resource = dict[str, Any]
Filter = Literal["honoured", "seconds", "dates", "rounded", "broken", "ignored", "secretly ignored", "empty"]
FILTERS: tuple[Filter, ...] = get_args(Filter)
VersionIds = Literal["numbers", "names", "absent"]
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
PAGE = 2


def instant(moment: datetime) -> str:
    """Write a FHIR instant in milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Version:
    """One version of a resource; content None is a deletion. `visible` is by the true clock."""

    number: int
    content: Resource | None
    stamp: datetime
    visible: datetime


@dataclass
class Record:
    """What the server holds of patient p1, and how it shows it.

    `now` is the true time, which only tests move; the server's own clock is `skew` away from it.
    """

    now: datetime = START
    skew: timedelta = timedelta()
    tick: timedelta = timedelta(seconds=1)
    lag: timedelta = timedelta()
    filter: Filter = "honoured"
    total: int | Literal["exact", "absent"] = "exact"
    says_date: bool = True
    page: int = PAGE
    version_ids: VersionIds = "numbers"
    history: dict[tuple[str, str], list[Version]] = field(default_factory=dict)
    between: list[Callable[[], None]] = field(default_factory=list)

    @property
    def clock(self) -> datetime:
        """What the server's clock shows."""
        return self.now + self.skew

    def write(
        self,
        kind: str,
        key: str,
        content: Resource | None,
        *,
        stamp: datetime | None = None,
        delay: timedelta = timedelta(),
    ) -> None:
        """Write a version, or with None delete; it becomes visible `delay` later."""
        versions = self.history.setdefault((kind, key), [])
        last = versions[-1].visible if versions else self.now
        stamp = self.clock if stamp is None else stamp
        versions.append(Version(len(versions) + 1, content, stamp, max(last, self.now + delay)))

    def present(self, at: datetime | None = None) -> dict[tuple[str, str], Version]:
        """Give what is visible at a moment, now by default."""
        moment = self.now if at is None else at
        shown = {key: [v for v in versions if v.visible <= moment] for key, versions in self.history.items()}
        return {key: versions[-1] for key, versions in shown.items() if versions and versions[-1].content is not None}

    def shown(self, version: Version) -> Resource:
        """Give a version as the server shows it, with its stamps."""
        known = {"numbers": str(version.number), "names": f"W/{1000 - version.number}"}
        number = {"versionId": known[self.version_ids]} if self.version_ids in known else {}
        return {**(version.content or {}), "meta": {**number, "lastUpdated": instant(version.stamp)}}

    def settle(self) -> None:
        """Let time pass until everything that was written can be seen."""
        self.lag = timedelta()
        latest = [versions[-1].visible for versions in self.history.values()]
        self.now = max([self.now, *latest])

    def answer(self, request: Request) -> Reply:
        """Answer one GET."""
        self.now += self.tick
        parts = urlsplit(request.target)
        kind, _, key = parts.path.removeprefix("/fhir/").partition("/")
        if key:
            return self._read(kind, key)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "page" in query and self.between:
            self.between.pop(0)()
        return self._search(request.base, kind, query)

    def _reply(self, status: int, content: Resource) -> Reply:
        date = (f"Date: {format_datetime(self.clock, usegmt=True)}",) if self.says_date else ()
        body = json.dumps(content, ensure_ascii=False).encode()
        return Reply(status, body, (*date, "Content-Type: application/fhir+json"))

    def _refusal(self, status: int) -> Reply:
        issue = {"severity": "error", "code": "processing"}
        return self._reply(status, {"resourceType": "OperationOutcome", "issue": [issue]})

    def _read(self, kind: str, key: str) -> Reply:
        version = self.present(self.now - self.lag).get((kind, key))
        if version is None:
            return self._refusal(410 if self._was_there(kind, key) else 404)
        return self._reply(200, self.shown(version))

    def _was_there(self, kind: str, key: str) -> bool:
        return any(version.visible <= self.now - self.lag for version in self.history.get((kind, key), []))

    def _search(self, base: str, kind: str, query: dict[str, str]) -> Reply:
        asked = query.get("_lastUpdated", "")
        if self._refuses(asked):
            return self._refusal(400)
        versions = self.present(self.now - self.lag)
        found = [self.shown(v) for (k, _), v in sorted(versions.items()) if k == kind and self._matches(v, asked)]
        start, size = int(query.get("page", "0")), min(self.page, int(query.get("_count", self.page)))
        echo = "" if not asked or self.filter == "ignored" else f"&_lastUpdated={asked}"
        links = [{"relation": "self", "url": f"{base}/{kind}?patient=p1{echo}"}]
        entries = [] if "_summary" in query else [{"resource": each} for each in found[start : start + size]]
        if "_summary" not in query and start + size < len(found):
            filtered = f"&_lastUpdated={asked}" if asked else ""
            links.append({"relation": "next", "url": f"{base}/{kind}?patient=p1{filtered}&page={start + size}"})
        total = len(found) if self.total == "exact" or "_summary" in query else self.total
        count = {} if total == "absent" else {"total": total}
        return self._reply(
            200, {"resourceType": "Bundle", "type": "searchset", **count, "link": links, "entry": entries}
        )

    def _refuses(self, asked: str) -> bool:
        refused = {"seconds": ".", "dates": "T", "broken": "gt"}.get(self.filter)
        return refused is not None and refused in asked

    def _matches(self, version: Version, asked: str) -> bool:
        if not asked or self.filter.endswith("ignored"):
            return True
        bound = asked.removeprefix("gt")
        return self.filter != "empty" and version.stamp >= _after(bound[:10] if self.filter == "rounded" else bound)


def _after(text: str) -> datetime:
    """Give the first moment after the end of a value's period, as HAPI reads `gt`."""
    bound = datetime.fromisoformat(text)
    if "T" not in text:
        return bound.replace(tzinfo=UTC) + timedelta(days=1)
    return bound + (timedelta(milliseconds=1) if "." in text else timedelta(seconds=1))


def study(key: str, *, endpoint: str | None = None, **changes: Any) -> Resource:
    """Give an STU3 ImagingStudy of patient p1."""
    content = {
        "resourceType": "ImagingStudy",
        "id": key,
        "uid": f"urn:oid:1.2.3.{int.from_bytes(key.encode())}",
        "patient": {"reference": "Patient/p1"},
        "numberOfInstances": 1,
    }
    return content | ({"endpoint": [{"reference": f"Endpoint/{endpoint}"}]} if endpoint else {}) | changes
