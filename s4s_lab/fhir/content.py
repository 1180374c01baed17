"""What makes two versions of a resource the same: their content, without the stamps that a server puts on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from s4s_lab.fhir.decoding import decode_checked

_CANONICAL = msgspec.json.Encoder(order="sorted")
_STAMPS = ("versionId", "lastUpdated")


def content_hash(members: Mapping[str, msgspec.Raw]) -> str:
    """Return the sha256 of a resource's members as they were received, without its stamps.

    It is equal for versions that differ in their stamps only, as long as the server writes them alike. Where hashes
    differ, `content_digest` tells whether the content does: a server may order members anew, or indent them.

    Parameters
    ----------
    members : mapping of str to Raw
        As `decode_head` gives them: each name with its undecoded value, in the order received. A JSON list of their
        names and then their values are joined by NUL, which no JSON has; the value of `meta` is canonical JSON.
    """
    values: dict[str, msgspec.Raw | bytes] = {**members}
    if "meta" in members:
        values["meta"] = _unstamped(members["meta"])
    names = msgspec.json.encode(list(members))
    return hashlib.sha256(b"\0".join((names, *values.values()))).hexdigest()


def _unstamped(meta: msgspec.Raw) -> bytes | msgspec.Raw:
    try:
        return _CANONICAL.encode(_without_stamps(msgspec.json.decode(meta)))
    except msgspec.ValidationError:  # a number that this decoder does not take
        return meta


def _without_stamps(meta: object) -> object:
    return {name: value for name, value in meta.items() if name not in _STAMPS} if isinstance(meta, dict) else meta


def canonical_hash(raw: bytes) -> str:
    """Return the sha256 of a resource's canonical JSON without its stamps: names sorted, no space between.

    It is the content hash in datasets from before that of what was received.

    Parameters
    ----------
    raw : bytes
        JSON whose head was decoded before.

    References
    ----------
    RFC 8259, section 4: the order of an object's members means nothing.
    """
    resource: dict[str, Any] = decode_checked(raw, "The log")
    if "meta" in resource:
        resource["meta"] = _without_stamps(resource["meta"])
    return hashlib.sha256(_CANONICAL.encode(resource)).hexdigest()


def content_digest(raw: str) -> bytes | None:
    """Return what is equal for two resources that are the same but for their stamps and the way they are written.

    The order of members and the space between them are no content. Numbers count digit by digit.

    Parameters
    ----------
    raw : str
        JSON whose head was decoded before.

    Returns
    -------
    bytes or None
        None where an object gives an element twice: such a resource is like no other.

    References
    ----------
    RFC 8259, section 4. FHIR STU3, "Data types", decimal: its precision is part of what it says.
    """
    try:
        resource = json.loads(
            raw, object_pairs_hook=_in_order, parse_int=_as_written, parse_float=_as_written, strict=False
        )
    except _Twice:
        return None
    if "meta" in resource:
        resource["meta"] = _without_stamps(resource["meta"])
    return hashlib.sha256(repr(resource).encode(errors="surrogatepass")).digest()


class _Twice(ValueError):
    """An object gives an element twice."""


def _in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(sorted(pairs, key=_name))
    if len(members) < len(pairs):
        raise _Twice
    return members


def _name(pair: tuple[str, Any]) -> str:
    return pair[0]


def _as_written(digits: str) -> tuple[str]:
    # JSON has no tuples: no text and no list can be taken for a number.
    return (digits,)
