"""FHIR JSON from servers: bounded in depth, strict in syntax, each resource's own bytes kept as they came."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import accumulate
from typing import Any

import msgspec

from s4s_lab.errors import UnexpectedAnswer

MAX_DEPTH = 100
_BOM = b"\xef\xbb\xbf"
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ASK_OPERATOR = "Report this to the server's operator."
_CHECK_ADDRESS = "Check that the address is the FHIR base URL, and that no login page or proxy answers in its place."


class EntryShape(msgspec.Struct, rename="camel"):
    """One entry of a Bundle, its resource still undecoded."""

    full_url: Any = None
    search: Any = None
    resource: msgspec.Raw = msgspec.Raw()


class BundleShape(msgspec.Struct, rename="camel"):
    """A Bundle, its resources still undecoded."""

    resource_type: Any = None
    total: Any = None
    link: Any = None
    meta: Any = None
    entry: list[EntryShape | None] | None = None


def _number(digits: str) -> float | Decimal:
    # FHIR decimals know no bounds, Python's floats do: what they cannot hold stays exact instead of becoming infinite.
    value = float(digits)
    return value if math.isfinite(value) else Decimal(digits)


_bundle = msgspec.json.Decoder(BundleShape)
_any = msgspec.json.Decoder()
_any_size = msgspec.json.Decoder(float_hook=_number)


def decode_bundle(body: bytes, where: str) -> BundleShape:
    """Decode a Bundle, leaving its resources as they came.

    Parameters
    ----------
    body : bytes
        UTF-8; a byte order mark is passed over.
    where : str
        Whose answer it is, fit for a message.

    Raises
    ------
    UnexpectedAnswer
        If it is no JSON, or no JSON of a Bundle's shape.
    """
    content = _plain(body, where)
    try:
        return _bundle.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failure = _undecodable(where, error)
    raise failure


def decode_resource(raw: bytes, where: str) -> dict[str, Any]:
    """Decode one resource.

    Parameters
    ----------
    raw : bytes
        UTF-8; a byte order mark is passed over.
    where : str
        Whose answer it is, fit for a message.

    Returns
    -------
    dict
        Numbers as float, or Decimal where no float can hold them. `NaN` and the like are no JSON.

    Raises
    ------
    UnexpectedAnswer
        If it is no JSON, too deeply nested, or no object with a `resourceType`.
    """
    content = _plain(raw, where)
    try:
        value = _decode_any(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failure = _undecodable(where, error)
    else:
        if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
            raise UnexpectedAnswer(f"{where} sent JSON that is no FHIR resource.", hint=_CHECK_ADDRESS)
        if _may_be_deep(content) and _depth(value) > MAX_DEPTH:
            raise UnexpectedAnswer(f"{where} sent JSON nested deeper than {MAX_DEPTH} levels.", hint=_ASK_OPERATOR)
        return value
    raise failure


def _decode_any(content: bytes) -> Any:
    try:
        return _any.decode(content)
    except msgspec.ValidationError:
        return _any_size.decode(content)


def _plain(body: bytes, where: str) -> bytes:
    """Return `body` without a byte order mark, or say what it is in place of JSON."""
    content = body.removeprefix(_BOM)
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise UnexpectedAnswer(f"{where} sent a web page in place of FHIR JSON.", hint=_CHECK_ADDRESS)
    if start.startswith(b"<"):
        raise UnexpectedAnswer(f"{where} sent XML in place of FHIR JSON.", hint=_CHECK_ADDRESS)
    if not start:
        raise UnexpectedAnswer(f"{where} sent nothing in place of FHIR JSON.", hint=_ASK_OPERATOR)
    return content


def _undecodable(where: str, error: Exception) -> UnexpectedAnswer:
    # msgspec's messages name places and types, never content; Python's own quote bytes, so they are not repeated.
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    else:
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
    return UnexpectedAnswer(f"{where} sent what is no FHIR JSON: {reason}.", hint=_CHECK_ADDRESS)


def _may_be_deep(content: bytes) -> bool:
    """Say whether the brackets alone, those inside texts included, ever lie deeper than allowed."""
    brackets = content.translate(None, _NOT_BRACKETS)
    return max(accumulate(1 if byte in b"[{" else -1 for byte in brackets), default=0) > MAX_DEPTH


def _depth(value: object) -> int:
    """Count how many objects and lists lie within each other; in levels, for what is too deep to recurse into."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
