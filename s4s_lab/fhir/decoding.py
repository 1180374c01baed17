"""FHIR JSON from servers: bounded in depth, strict in syntax, each resource's own bytes kept as they came."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import fields

from s4s_lab.errors import UnexpectedAnswer

MAX_DEPTH = 100
BOM = b"\xef\xbb\xbf"
"""Which JSON may not begin with, and some servers begin it with (RFC 8259, section 8.1)."""

_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
_ALIKE = bytes.maketrans(b"{}", b"[]")
_SPACE = b" \t\r\n"
_TEXT = re.compile(rb'"[^"]*"')
_ASK_OPERATOR = "Report this to the server's operator."
_CHECK_ADDRESS = "Check that the address is the FHIR base URL, and that no login page or proxy answers in its place."


_Members = dict[str, msgspec.Raw]
_Measure = Callable[[Any], int]
_ABSENT = msgspec.Raw()


class EntryShape(msgspec.Struct):
    """One entry of a Bundle, its resource still undecoded."""

    full_url: Any = None
    search: Any = None
    resource: msgspec.Raw = _ABSENT


class BundleShape(msgspec.Struct):
    """A Bundle, its resources still undecoded."""

    resource_type: Any = None
    total: Any = None
    link: Any = None
    meta: Any = None
    entry: Sequence[EntryShape] = ()


class HeadShape(msgspec.Struct):
    """What tells a resource from others; the rest is not decoded yet, and has to be JSON all the same."""

    resource_type: Any
    id: Any
    members: Mapping[str, msgspec.Raw]


class _BundleMembers(msgspec.Struct, rename="camel"):
    """A Bundle with every element that the standard knows, so that what comes twice shows in its length."""

    resource_type: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    meta: msgspec.Raw = _ABSENT
    implicit_rules: msgspec.Raw = _ABSENT
    language: msgspec.Raw = _ABSENT
    identifier: msgspec.Raw = _ABSENT
    type: msgspec.Raw = _ABSENT
    timestamp: msgspec.Raw = _ABSENT
    total: msgspec.Raw = _ABSENT
    link: msgspec.Raw = _ABSENT
    entry: list[_Members | None] | None = None
    signature: msgspec.Raw = _ABSENT


# FHIR's numbers know no bounds. What no float holds stays exact instead of becoming infinite; what no type of Python
# holds stays a text, since one such number is no reason to lose a record.
def _number(digits: str) -> float | Decimal | str:
    value = float(digits)
    try:
        return value if math.isfinite(value) else Decimal(digits)
    except InvalidOperation:
        return digits


def _whole_number(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


_BUNDLE_NAMES = {field.encode_name: field.name for field in fields(_BundleMembers) if field.name != "entry"}
_bundle = msgspec.json.Decoder(_BundleMembers)
_head = msgspec.json.Decoder(_Members)
_any = msgspec.json.Decoder()


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
        If it is no JSON, no JSON of a Bundle's shape, or the Bundle or an entry gives an element twice.
    """
    content = _plain(body, where)
    try:
        bundle = _bundle.decode(content)
        _once(content, partial(_length_of_bundle, bundle), where)
        return BundleShape(
            resource_type=_value(bundle.resource_type),
            total=_value(bundle.total),
            link=_value(bundle.link),
            meta=_value(bundle.meta),
            entry=[_entry(members) for members in bundle.entry or () if members is not None],
        )
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
        If it is no JSON, too deeply nested, no object with a `resourceType`, or gives an element of the resource twice.
    """
    content = _plain(raw, where)
    failure: UnexpectedAnswer
    try:
        members = _head.decode(content)
        head = HeadShape(_value(members.get("resourceType")), _value(members.get("id")), members)
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
        elif _is_too_deep(content):
            failure = UnexpectedAnswer(f"{where} sent JSON nested deeper than {MAX_DEPTH} levels.", hint=_ASK_OPERATOR)
        else:
            _once(content, partial(_length, members), where)
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
        Numbers as float, as Decimal where no float can hold them, as text where nothing can. `NaN` and the like are no
        JSON.

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
        If it is no JSON after all.
    """
    value: dict[str, Any] = decode_value(raw.removeprefix(BOM), where)
    return value


def decode_value(raw: bytes | msgspec.Raw, where: str) -> Any:
    """Decode one element of a resource whose head was decoded before.

    Parameters
    ----------
    raw : bytes or Raw
        JSON.
    where : str
        Whose answer it is, fit for a message.

    Raises
    ------
    UnexpectedAnswer
        If it is no JSON after all.
    """
    try:
        value = _decode_any(raw)
    except (ValueError, RecursionError) as error:
        failure = _undecodable(where, error)
    else:
        return value
    raise failure


def _value(raw: msgspec.Raw | None) -> Any:
    return _decode_any(raw) if raw else None


def _entry(members: _Members) -> EntryShape:
    full_url, search, resource = map(members.get, ("fullUrl", "search", "resource"))
    return EntryShape(_value(full_url), _value(search), _ABSENT if resource is None else resource)


def _length(members: _Members, measure: _Measure) -> int:
    """Count the bytes of an object whose names come once each, without spaces and escapes in names."""
    # Two quotes, a colon and a comma for each; of brackets there are two, and a comma less.
    names = "".join(members).encode(errors="surrogatepass")
    return 1 + 4 * len(members) + measure(names) + sum(map(measure, members.values())) + (not members)


def _length_of_bundle(bundle: _BundleMembers, measure: _Measure) -> int:
    members = {name: getattr(bundle, field) for name, field in _BUNDLE_NAMES.items()}
    length = _length({name: raw for name, raw in members.items() if raw}, measure)
    entries = bundle.entry
    if entries is None:
        return length
    # `"entry":[]` and a comma; another one between entries.
    inside = sum(4 if one is None else _length(one, measure) for one in entries)
    return length + len('"entry":[],') + inside + max(len(entries) - 1, 0)


def _without_spaces(raw: bytes | msgspec.Raw) -> int:
    return len(bytes(raw).translate(None, _SPACE))


def _once(content: bytes, length: Callable[[_Measure], int], where: str) -> None:
    """See that an object, and each entry of a Bundle, gives every element once: decoders keep the last of several.

    What was dropped is missing in `length`. Escapes in names and unknown elements of a Bundle make it smaller as well:
    then names are counted.

    References
    ----------
    FHIR STU3, "JSON representation of resources": names are unique within an object. RFC 8259, section 4.
    """
    if len(content) == length(len) or _without_spaces(content) == length(_without_spaces):
        return
    # Objects become tuples of pairs.
    top = json.loads(content.decode(), object_pairs_hook=tuple, parse_int=str, parse_float=str, strict=False)
    entries = [one for name, value in top if name == "entry" and isinstance(value, list) for one in value]
    for pairs in (top, *(entry for entry in entries if isinstance(entry, tuple))):
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise UnexpectedAnswer(
                f"{where} sent JSON with two elements of one name in one object.", hint=_ASK_OPERATOR
            )


def _no_resource(where: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"{where} sent JSON that is no FHIR resource.", hint=_CHECK_ADDRESS)


def _decode_any(content: bytes | msgspec.Raw) -> Any:
    try:
        return _any.decode(content)
    except msgspec.ValidationError:
        # The bytes were found to be JSON before.
        return json.loads(bytes(content), parse_int=_whole_number, parse_float=_number, strict=False)


def _plain(body: bytes, where: str) -> bytes:
    """Return `body` without a byte order mark, or say what it is in place of JSON."""
    content = body.removeprefix(BOM)
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


def _is_too_deep(content: bytes) -> bool:
    """Say of JSON that could be decoded whether more than 100 objects and lists lie within each other."""
    marks = content.translate(_ALIKE, _NOT_MARKS)
    # Most resources have fewer of them in all.
    if marks.count(b"[") <= MAX_DEPTH:
        return False
    if b"\\" in content:
        marks = content.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ALIKE, _NOT_MARKS)
    return _depth(marks) > MAX_DEPTH


def _depth(marks: bytes) -> int:
    """Count how many brackets lie within each other: those in texts go first, then the innermost pairs, in rounds."""
    # Texts without brackets are two quotes side by side now, and gone with this; the others take longer.
    brackets = marks.replace(b'""', b"")
    if b'"' in brackets:
        brackets = _TEXT.sub(b"", marks)
    depth = 0
    while brackets:
        depth, brackets = depth + 1, brackets.replace(b"[]", b"")
    return depth
