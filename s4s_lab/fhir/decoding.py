"""FHIR JSON from servers: bounded in depth, strict in syntax, each resource's own bytes kept as they came."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import msgspec

from s4s_lab.errors import UnexpectedAnswer

MAX_DEPTH = 100
_BOM = b"\xef\xbb\xbf"
_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_ALIKE = bytes.maketrans(b"{}", b"[]")
_TEXT = re.compile(rb'"[^"]*"')
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


class HeadShape(msgspec.Struct, rename="camel"):
    """What tells a resource from others; the rest is passed over, and has to be JSON all the same."""

    resource_type: Any = None
    id: Any = None


def _number(digits: str) -> float | Decimal:
    # FHIR decimals know no bounds, Python's floats do: what they cannot hold stays exact instead of becoming infinite.
    value = float(digits)
    return value if math.isfinite(value) else Decimal(digits)


_bundle = msgspec.json.Decoder(BundleShape)
_head = msgspec.json.Decoder(HeadShape)
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


def decode_head(raw: bytes, where: str) -> HeadShape:
    """Decode what a resource is, and see that all of it can be decoded later.

    Parameters
    ----------
    raw : bytes
        UTF-8; a byte order mark is passed over.
    where : str
        Whose answer it is, fit for a message.

    Raises
    ------
    UnexpectedAnswer
        If it is no JSON, too deeply nested, or no object with a `resourceType`.
    """
    content = _plain(raw, where)
    failure: UnexpectedAnswer
    try:
        head = _head.decode(content)
        # What a decoder passes over it does not check.
        if not content.isascii():
            content.decode("utf-8")
    except msgspec.ValidationError:
        failure = _no_resource(where)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failure = _undecodable(where, error)
    else:
        if not isinstance(head.resource_type, str):
            failure = _no_resource(where)
        elif _depth(content) > MAX_DEPTH:
            failure = UnexpectedAnswer(f"{where} sent JSON nested deeper than {MAX_DEPTH} levels.", hint=_ASK_OPERATOR)
        else:
            return head
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
    decode_head(raw, where)
    return decode_checked(raw, where)


def decode_checked(raw: bytes, where: str) -> dict[str, Any]:
    """Decode one resource whose head was decoded before.

    Parameters
    ----------
    raw : bytes
        As `decode_head` took it.
    where : str
        Whose answer it is, fit for a message.

    Raises
    ------
    UnexpectedAnswer
        If it holds a number that no reader takes.
    """
    try:
        value: dict[str, Any] = _decode_any(_plain(raw, where))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        failure = _undecodable(where, error)
    else:
        return value
    raise failure


def _no_resource(where: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"{where} sent JSON that is no FHIR resource.", hint=_CHECK_ADDRESS)


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


def _depth(content: bytes) -> int:
    """Count how many objects and lists lie within each other; of JSON that could be decoded.

    Brackets are all that is left, those in texts taken out; each round takes out the innermost pairs.
    """
    if b"\\" in content:
        content = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = content.translate(_ALIKE, _NOT_MARKS)
    # Texts without brackets are two quotes side by side now, and gone with this; the others take longer.
    brackets = marks.replace(b'""', b"")
    if b'"' in brackets:
        brackets = _TEXT.sub(b"", marks)
    depth = 0
    while brackets:
        depth, brackets = depth + 1, brackets.replace(b"[]", b"")
    return depth
