"""What makes two versions of a resource the same: their content, without the stamps that a server puts on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.fhir.decoding import decode_checked

_CANONICAL = msgspec.json.Encoder(order="sorted")
_STAMPS = ("versionId", "lastUpdated")


def content_hash(members: Mapping[str, msgspec.Raw]) -> str:
    """Return the sha256 of a resource's members as they were received, without its stamps.

    It is equal for versions that differ in their stamps only, as long as the server writes them alike. Where hashes
    differ, `same_content` tells whether the content does: a server may order members anew, or indent them.

    Parameters
    ----------
    members : mapping of str to Raw
        As `decode_head` gives them: each name with its undecoded value, in the order received. Their names and then
        their values are joined by NUL, which no JSON has; the value of `meta` is canonical JSON.
    """
    values: dict[str, msgspec.Raw | bytes] = {**members}
    if "meta" in members:
        values["meta"] = _unstamped(members["meta"])
    names = "\0".join(members).encode(errors="surrogatepass")
    return hashlib.sha256(b"\0".join((names, *values.values()))).hexdigest()


def _unstamped(meta: msgspec.Raw) -> bytes | msgspec.Raw:
    try:
        return _CANONICAL.encode(_without_stamps(msgspec.json.decode(meta)))
    except msgspec.DecodeError:  # a number that no reader takes
        return meta


def _without_stamps(meta: object) -> object:
    return {name: value for name, value in meta.items() if name not in _STAMPS} if isinstance(meta, dict) else meta


def canonical_hash(raw: bytes) -> str | None:
    """Return the sha256 of a resource's canonical JSON without its stamps: names sorted, no space between.

    The first datasets have it for content hash. It costs several times as much, and tells resources apart by what they
    say alone.

    Parameters
    ----------
    raw : bytes
        JSON whose head was decoded before.

    Returns
    -------
    str or None
        None when it holds a number that no reader takes.

    References
    ----------
    RFC 8259, section 4: the order of an object's members means nothing.
    """
    try:
        resource: dict[str, Any] = decode_checked(raw, "The log")
    except UnexpectedAnswer:
        return None
    if "meta" in resource:
        resource["meta"] = _without_stamps(resource["meta"])
    return hashlib.sha256(_CANONICAL.encode(resource)).hexdigest()


def same_content(one: bytes, other: bytes) -> bool:
    """Say whether two resources are the same but for their stamps, and the way they are written.

    Parameters
    ----------
    one, other : bytes
        JSON whose head was decoded before.
    """
    digest = canonical_hash(one)
    return digest is not None and digest == canonical_hash(other)
