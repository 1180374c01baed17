"""Faults of what an answer holds: no JSON, hostile JSON, pages that lead astray, entries that are none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from tests.faults.server.faults import Bundle, Effect, fault, instead, sends, with_body, with_bundle
from tests.faults.server.wire import Reply, Talk, honest

_HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
sends("200 with a login page", Reply(200, _HTML, ("Content-Type: text/html",)))
sends("200 with a login page that says it is FHIR", Reply(200, _HTML, ("Content-Type: application/fhir+json",)))
sends("200 with nothing", Reply(200))
sends("200 with XML", Reply(200, b'<Bundle xmlns="http://hl7.org/fhir"/>', ("Content-Type: application/fhir+xml",)))
sends("twenty encodings", Reply(200, b"{}", ("Content-Encoding: " + ", ".join(["gzip"] * 20),)))
sends("an encoding that nobody asked for", Reply(200, b"{}", ("Content-Encoding: rot13",)))
sends("gzip that is none", Reply(200, b'{"resourceType":"Bundle"}', ("Content-Encoding: gzip",)))


@cache
def _bomb() -> bytes:
    return gzip.compress(b'{"resourceType":"Bundle","x":"' + b" " * (80 << 20) + b'"}', 9, mtime=0)


@fault("a gzip bomb", anywhere=True)
async def gzip_bomb(talk: Talk) -> None:
    await talk.send(Reply(200, _bomb(), ("Content-Encoding: gzip",)).wire())


@fault("a gzip bomb in gzip", anywhere=True)
async def gzip_bomb_in_gzip(talk: Talk) -> None:
    await talk.send(Reply(200, gzip.compress(_bomb(), mtime=0), ("Content-Encoding: gzip, gzip",)).wire())


# --- JSON -----------------------------------------------------------------------------------------------------------


def _with_number(name: str, value: bytes, effect: Effect = "refused") -> None:
    with_body(name, lambda body: body.replace(b'"numberOfInstances": 1', b'"numberOfInstances": ' + value), effect)


with_body("half the JSON", lambda body: body[: len(body) // 2])
with_body("no UTF-8", lambda body: body.replace(b"urn:oid", b"urn\xff\xfe"))
with_body("UTF-16", lambda body: body.decode().encode("utf-16"))
with_body("a byte order mark", lambda body: b"\xef\xbb\xbf" + body, "harmless")
with_body("two values", lambda body: body + body)
with_body("a depth bomb outside", lambda _: b'{"resourceType": "Bundle", "entry":' + b"[" * 100_000)
_with_number("NaN", b"NaN")
_with_number("minus Infinity", b"-Infinity")
_with_number("half a surrogate", b'"\\ud800"')
_with_number("a number of 5,000 digits", b"9" * 5000, "kept")
_with_number("an exponent of 20 digits", b"1e" + b"9" * 20, "kept")
_with_number("a depth bomb", b"[" * 100_000 + b"]" * 100_000)
_with_number("nesting of 150 levels", b'{"x":' * 150 + b"1" + b"}" * 150)

# --- pages ----------------------------------------------------------------------------------------------------------


def _next(bundle: Bundle, url: str) -> None:
    others = [link for link in bundle["link"] if link["relation"] != "next"]
    bundle["link"] = [*others, {"relation": "next", "url": url}]


def _leads_to(name: str, url: Callable[[Talk], str]) -> None:
    with_bundle(name, lambda bundle, talk: _next(bundle, url(talk)))


_leads_to("next is this page", lambda talk: talk.request.target)
_leads_to("next is the first page", lambda talk: talk.request.target.partition("&page=")[0])
_leads_to("next is at another host", lambda _: "http://127.0.0.2:9/fhir/ImagingStudy?page=2")
_leads_to("next is at another port", lambda _: "http://127.0.0.1:9/fhir/ImagingStudy?page=2")
_leads_to("next hides another host", lambda talk: f"{talk.request.base.replace('//', '//127.0.0.1@evil.')}/x?page=2")
_leads_to("next leaves the base", lambda talk: f"{talk.request.base}/../admin?page=2")
_leads_to("next is a file", lambda _: "file:///etc/passwd")
_leads_to("next is no address", lambda _: "http://[::1/fhir")


async def _empty_before(talk: Talk, pages: int) -> None:
    """Put so many empty pages before the page that was asked for."""
    if talk.turn >= pages:
        return await honest(talk)
    bundle = json.loads(talk.honest.body) | {"entry": []}
    head, _, _ = talk.request.target.partition("&empty=")
    _next(bundle, f"{head}&empty={talk.turn}")
    return await talk.send(replace(talk.honest, body=json.dumps(bundle).encode()).wire())


@fault("three empty pages before", "harmless")
async def three_empty_pages(talk: Talk) -> None:
    await _empty_before(talk, 3)


@fault("a page that expires once", "harmless")
async def expires_once(talk: Talk) -> None:
    expired = "page=" in talk.request.target and talk.turn == 0
    await talk.send((Reply(410) if expired else talk.honest).wire())


# --- what a page holds ----------------------------------------------------------------------------------------------


def _outcome(severity: str) -> Bundle:
    issue = [{"severity": severity, "code": "processing", "diagnostics": "so it is"}]
    return {"resource": {"resourceType": "OperationOutcome", "issue": issue}, "search": {"mode": "outcome"}}


def _with_entry(name: str, *entries: object, harmless: bool = False) -> None:
    with_bundle(name, lambda bundle, _: bundle["entry"].extend(entries), "harmless" if harmless else "refused")


def _with_element(name: str, harmless: bool = True, **elements: object) -> None:
    with_bundle(name, lambda bundle, _: bundle.update(elements), "harmless" if harmless else "refused")


for _severity in ("fatal", "error"):
    _with_entry(f"an outcome of severity {_severity}", _outcome(_severity))
for _severity in ("warning", "information"):
    _with_entry(f"an outcome of severity {_severity}", _outcome(_severity), harmless=True)
_with_entry("a resource that is a list", {"resource": [1]})
_with_entry("a resource that is a text", {"resource": "ImagingStudy"})
_with_entry("a resource without a type", {"resource": {"id": "x"}})
_with_entry("a resource whose type is a number", {"resource": {"resourceType": 5, "id": "x"}})
_with_entry("an entry that is a number", 5)
_with_entry("null entries", None, {}, {"resource": None}, {"response": {"status": "200"}}, harmless=True)
instead("an outcome in place of a page", {"resourceType": "OperationOutcome", "issue": []})
instead("a patient in place of a page", {"resourceType": "Patient", "id": "p1"})
instead("a list in place of a page", [])
instead("a text in place of a page", "Bundle")
instead("null in place of a page", None)
instead("a type that is null", {"resourceType": None, "entry": []})
_with_element("entries in an object", harmless=False, entry={"0": {}})
_with_element("a total that is a text", total="many")
_with_element("a total that is negative", total=-5)
_with_element("a total that is low", total=1)
_with_element("a strange meta", meta={"lastUpdated": ["?"]})
_with_element("a meta from the end of time", meta={"lastUpdated": "9999-12-31T23:59:59-14:00"})
_with_element("a timestamp, ids and extensions of wrong types", timestamp=5, id=[], extension="x", signature=False)


@fault("links of wrong types", "harmless")
async def strange_links(talk: Talk) -> None:
    bundle = json.loads(talk.honest.body)
    bundle["link"] += [None, 5, {"relation": []}, {"url": {}}, {"relation": "next", "url": None}]
    await talk.send(replace(talk.honest, body=json.dumps(bundle).encode()).wire())


@fault("search modes of wrong types", "harmless")
async def strange_modes(talk: Talk) -> None:
    bundle = json.loads(talk.honest.body)
    for number, entry in enumerate(bundle["entry"]):
        entry["search"] = (5, {"mode": []}, {"mode": "?"})[number % 3]
    await talk.send(replace(talk.honest, body=json.dumps(bundle).encode()).wire())


@fault("every entry twice", "harmless")
async def doubled(talk: Talk) -> None:
    bundle = json.loads(talk.honest.body)
    await talk.send(replace(talk.honest, body=json.dumps(bundle | {"entry": bundle["entry"] * 2}).encode()).wire())


@fault("another patient's study")
async def foreign(talk: Talk) -> None:
    bundle = json.loads(talk.honest.body)
    bundle["entry"][-1]["resource"]["patient"] = {"reference": "Patient/p2"}
    await talk.send(replace(talk.honest, body=json.dumps(bundle).encode()).wire())
