"""From JSON to the resources that views are run on: decoding, Bundles, references by `fullUrl`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from s4s_lab.errors import NotFhir
from s4s_lab.views.heads import Provenance
from s4s_lab.views.numbers import exact_number, whole_number

_UNKNOWN = Provenance()


@dataclass(frozen=True)
class Subject:
    """One resource that views are run on.

    Parameters
    ----------
    raw : bytes, str or dict
        The resource as JSON, or decoded.
    provenance : Provenance
        Where it came from.
    full_urls : Mapping of str to str
        `fullUrl` → `Type/id` of the entries it came with, by which `urn:uuid:` references are followed.
    """

    raw: bytes | str | Mapping[str, Any]
    provenance: Provenance = _UNKNOWN
    full_urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A file's JSON, or a line of it: a resource or a Bundle.

    Parameters
    ----------
    raw : bytes
        Without a byte order mark.
    place : str
        Where it stands, for errors.
    """

    raw: bytes
    place: str


_DECODER = msgspec.json.Decoder(float_hook=exact_number)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _decoded(text: bytes | str) -> Any:
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError:
        # It is JSON, with a whole number of more digits than this decoder takes.
        return json.loads(text, parse_int=whole_number, parse_float=exact_number, parse_constant=_no_number)


def decode(text: bytes | str, place: str = "The text") -> Any:
    """Decode JSON with exact decimals.

    Parameters
    ----------
    text : bytes or str
        JSON, without a byte order mark.
    place : str
        Where it stands, to begin the error with.

    Raises
    ------
    NotFhir
        If it is no JSON.
    """
    try:
        return _decoded(text)
    except (ValueError, RecursionError) as error:
        raise NotFhir(f"{place} is no JSON: {error}.") from None


def checked_resource(value: Any, place: str) -> Mapping[str, Any]:
    """Return a decoded resource.

    Parameters
    ----------
    value : object
        What was decoded.
    place : str
        Where it stands, to begin the error with.

    Raises
    ------
    NotFhir
        If it is no object with a `resourceType`.
    """
    if not isinstance(value, Mapping):
        raise NotFhir(f"{place} holds no FHIR resource: a JSON object is due.")
    if not isinstance(value.get("resourceType"), str):
        raise NotFhir(f"{place} holds no FHIR resource: resourceType is missing.")
    return value


def _entries(bundle: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = bundle.get("entry")
    found = entries if isinstance(entries, list) else [entries]
    return [entry for entry in found if isinstance(entry, Mapping) and isinstance(entry.get("resource"), Mapping)]


def full_urls_of(entries: Iterable[tuple[Any, Any, Any]]) -> dict[str, str]:
    """Map each entry's `fullUrl` to the literal reference of its resource.

    Parameters
    ----------
    entries : iterable of tuple
        `fullUrl`, and `resourceType` and `id` of the resource, whatever stands there.
    """
    return {
        url: f"{kind}/{resource_id}"
        for url, kind, resource_id in entries
        if isinstance(url, str) and isinstance(kind, str) and isinstance(resource_id, str)
    }


def subjects_of(top: Mapping[str, Any]) -> Iterator[Subject]:
    """Yield a resource, or those of a Bundle and of the Bundles in it; contained resources stay where they are.

    Parameters
    ----------
    top : Mapping
        A decoded resource.
    """
    waiting: list[tuple[Mapping[str, Any], Mapping[str, str]]] = [(top, {})]
    while waiting:
        resource, urls = waiting.pop()
        if resource.get("resourceType") != "Bundle":
            yield Subject(resource, full_urls=urls)
            continue
        entries = _entries(resource)
        said = [(one.get("fullUrl"), one["resource"].get("resourceType"), one["resource"].get("id")) for one in entries]
        inner = {**urls, **full_urls_of(said)}
        waiting.extend((entry["resource"], inner) for entry in reversed(entries))
