"""A small FHIR server of the tests' own: truthful by default, wrong in one named way when told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Resource = dict[str, Any]
PAGE = 2


def study(number: int, updated: datetime, **changes: Any) -> Resource:
    """Give an STU3 ImagingStudy of patient p1."""
    stamp = updated.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {
        "resourceType": "ImagingStudy",
        "id": f"s{number}",
        "meta": {"lastUpdated": stamp, "versionId": "1"},
        "uid": f"urn:oid:1.2.3.{number}",
        "patient": {"reference": "Patient/p1"},
        "numberOfInstances": 1,
    }
    return content | changes


@dataclass
class FhirServer:
    """What the server holds and how it errs; `requests` is what it was asked.

    `hidden` are ids that no search shows, `failing` has statuses by path, `waiting` what `Retry-After` says by type or
    path, `include` are further entries of every page, `written` has what stands in the JSON in place of something else.
    """

    resources: dict[str, Resource] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    filter: str = "honoured"
    refusal: int = 400
    clock: timedelta = timedelta()
    date_header: bool = True
    busy: int = 0
    retry_after: str = "1"
    broken_page: int | None = None
    total: int | None = None
    bundle_time: str | None = None
    hidden: set[str] = field(default_factory=set)
    failing: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    include: list[Resource] = field(default_factory=list)
    written: dict[bytes, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def put(self, *resources: Resource) -> None:
        """Store resources by id."""
        self.resources |= {str(resource.get("id") or resource["uid"]): resource for resource in resources}

    def asked(self, part: str) -> list[str]:
        """Give the requests whose path and query hold `part`."""
        return [request for request in self.requests if part in request]

    def answer(self, target: str) -> tuple[int, dict[str, str], Any]:
        """Answer one GET."""
        self.requests.append(target)
        if self.busy > 0:
            self.busy -= 1
            return 503, {"Retry-After": self.retry_after}, None
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        kind, _, key = parts.path.removeprefix("/fhir/").partition("/")
        if kind in ("metadata", ".well-known"):
            return self._statement(kind)
        if wait := self.waiting.get(kind) or self.waiting.get(f"{kind}/{key}"):
            return 503, {"Retry-After": wait}, None
        if status := self.failing.get(parts.path.removeprefix("/fhir/")):
            return status, {}, None
        if key:
            return self._read(kind, key)
        return self._search(kind, query)

    def _statement(self, kind: str) -> tuple[int, dict[str, str], Any]:
        """Declare SMART in the way of the S4S page, without a well-known document."""
        if kind != "metadata":
            return 404, {}, None
        uris = [{"url": name, "valueUri": f"{self.url}/{name}"} for name in ("authorize", "token")]
        oauth = {"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": uris}
        rest = [{"mode": "server", "security": {"extension": [oauth]}}]
        return 200, {}, {"resourceType": "CapabilityStatement", "fhirVersion": "3.0.1", "rest": rest}

    def _read(self, kind: str, key: str) -> tuple[int, dict[str, str], Any]:
        if kind == "Patient":
            return 200, {}, {"resourceType": "Patient", "id": key}
        if key in self.resources:
            return 200, {}, self.resources[key]
        return (410 if key in self.gone else 404), {}, {"resourceType": "OperationOutcome", "issue": []}

    def _search(self, kind: str, query: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        updated = query.get("_lastUpdated")
        if (updated and self.filter == "broken") or (updated and self.filter == "date" and "T" in updated):
            issue = [{"severity": "error", "code": "invalid"}]
            return self.refusal, {}, {"resourceType": "OperationOutcome", "issue": issue}
        shown = [r for key, r in self.resources.items() if r["resourceType"] == kind and key not in self.hidden]
        found = [r for r in shown if self._matches(r, updated)]
        start = int(query.get("page", "0"))
        if self.broken_page is not None and start == self.broken_page * PAGE:
            return 500, {}, None
        self_url = f"{self.url}/{kind}?patient=p1" + (
            f"&_lastUpdated={updated}" if updated and self.filter != "ignored" else ""
        )
        links = [{"relation": "self", "url": self_url}]
        if start + PAGE < len(found) and "_summary" not in query:
            more = f"{self.url}/{kind}?patient=p1&page={start + PAGE}" + (f"&_lastUpdated={updated}" if updated else "")
            links.append({"relation": "next", "url": more})
        page = [] if "_summary" in query else found[start : start + PAGE]
        total = len(found) if self.total is None else self.total
        entries = [{"resource": r} for r in page]
        entries += [{"resource": r, "search": {"mode": "include"}} for r in self.include]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links, "entry": entries}
        return 200, {}, bundle | ({"meta": {"lastUpdated": self.bundle_time}} if self.bundle_time else {})

    def _matches(self, resource: Resource, updated: str | None) -> bool:
        if updated is None or self.filter == "ignored":
            return True
        if self.filter == "empty":
            return False
        text = updated.removeprefix("gt")[: 10 if self.filter == "rounding" else None]
        bound = datetime.fromisoformat(text)
        if bound.tzinfo is None:
            bound = bound.replace(tzinfo=UTC) + timedelta(days=1)
        stamp = resource["started"] if self.filter == "started" else resource["meta"]["lastUpdated"]
        return datetime.fromisoformat(stamp) > bound


def _handler(server: FhirServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = server.answer(self.path)
            body = b"" if content is None else json.dumps(content).encode()
            for text, instead in server.written.items():
                body = body.replace(text, instead)
            self.send_response_only(status)
            if server.date_header:
                self.send_header("Date", format_datetime(datetime.now(UTC) + server.clock, usegmt=True))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
            pass

    return Handler


@contextmanager
def serving(server: FhirServer) -> Iterator[FhirServer]:
    """Serve on a free loopback port inside the block."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_port}/fhir"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
