"""The header of one DICOM file as a table row: values typed, text decoded, what is odd told and never raised."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from s4s_lab.dicom.charsets import codecs_of, decode_text
from s4s_lab.dicom.columns import (
    ATTRIBUTES,
    INSTANCE_UID,
    KEYS,
    LAST_TAG,
    META_INSTANCE_UID,
    SERIES_UID,
    SPECIFIC_CHARACTER_SET,
    STUDY_UID,
    WANTED,
    Attribute,
    Kind,
)
from s4s_lab.dicom.elements import Buffer, Elements, read_elements
from s4s_lab.values.uids import is_uid

_MAX_VALUE: Final = 4096
_SHOWN: Final = 40
_US_BYTES: Final = 2
_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_PROGRAMS: Final = {b"MZ": "a Windows program", b"\x7fELF": "a Linux program", b"#!": "a script"}


@dataclass(frozen=True)
class Header:
    """What a file's header says.

    Parameters
    ----------
    values : dict[str, Any]
        Cell by column name, for every attribute of the table; None where absent, an empty list for list columns.
    issues : tuple of str
        What could not be read, one sentence each, for column `parse_issues`.
    refusal : str or None
        Why the file cannot be filed under its UIDs; None when it can.
    cut : bool
        Whether the bytes ended before the header did.
    """

    values: dict[str, Any]
    issues: tuple[str, ...]
    refusal: str | None
    cut: bool

    @property
    def study_uid(self) -> str:
        """Study Instance UID, checked unless there is a refusal."""
        return str(self.values[STUDY_UID.name])

    @property
    def series_uid(self) -> str:
        """Series Instance UID, checked unless there is a refusal."""
        return str(self.values[SERIES_UID.name])

    @property
    def instance_uid(self) -> str:
        """SOP Instance UID, checked unless there is a refusal."""
        return str(self.values[INSTANCE_UID.name])


def _date(text: str) -> date:
    """Read a DA, also as ACR-NEMA wrote it (`1997.04.24`)."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError
    return date(int(match[1]), int(match[3]), int(match[4]))


def _time(text: str) -> str:
    """Read a TM, also with colons; what the file leaves out is left out."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    return ":".join(part for part in match.group(1, 2, 3) if part) + (match[4] or "")


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**31) <= int(text) < 2**31:
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    if not _DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError
    return float(text)


_FROM_TEXT: Final[dict[Kind, Callable[[str], Any]]] = {
    "code": str,
    "codes": str,
    "text": str,
    "date": _date,
    "time": _time,
    "integer": _integer,
    "number": _number,
    "numbers": _number,
}
_BINARY_TAGS: Final = frozenset(a.tag for a in ATTRIBUTES if a.tag >> 16 == 0x0028 and a.kind == "integer") - {
    0x0028_0008
}


@dataclass
class _Reading:
    """The cells and issues of one header, while they are gathered."""

    elements: Elements
    codecs: tuple[str, ...]
    issues: list[str] = field(default_factory=list)

    def _text(self, attribute: Attribute, raw: bytes) -> str:
        try:
            return decode_text(raw, self.codecs if attribute.kind == "text" else ("ascii",))
        except UnicodeDecodeError:
            self.issues.append(f"{attribute.name}: bytes that do not fit the character set")
            return raw.decode(self.codecs[0], "replace")

    def _parsed(self, attribute: Attribute, text: str) -> Any:
        try:
            return _FROM_TEXT[attribute.kind](text)
        except (ValueError, OverflowError):
            self.issues.append(f"{attribute.name}: {text[:_SHOWN]!r} is no {attribute.kind.rstrip('s')}")
            return None

    def cell(self, attribute: Attribute) -> Any:
        """Return the attribute's cell; what cannot be read is None and an issue."""
        raw = self.elements.values.get(attribute.tag, b"")
        if len(raw) > _MAX_VALUE:
            self.issues.append(f"{attribute.name}: {len(raw)} bytes are too long for a header value")
            raw = b""
        if not raw:
            return [] if attribute.is_list else None
        if attribute.tag in _BINARY_TAGS and len(raw) == _US_BYTES:
            return int.from_bytes(raw, "little" if self.elements.little else "big")
        text = self._text(attribute, raw).strip("\0 ")
        if attribute.is_list:
            return self._list(attribute, text)
        return self._parsed(attribute, text) if text else None

    def _list(self, attribute: Attribute, text: str) -> list[Any]:
        items = [item.strip("\0 ") for item in text.split("\\")] if text else []
        parsed = [self._parsed(attribute, item) for item in items]
        # One bad number would shift the meaning of the others: the list is whole or empty.
        return [] if None in parsed else parsed


def _refusal(values: dict[str, Any], elements: Elements) -> str | None:
    for attribute in KEYS:
        uid = values[attribute.name]
        if uid is None:
            return f"it has no {attribute.name}" + (f": {elements.flaw}" if elements.flaw else "")
        if not is_uid(uid):
            return f"its {attribute.name} is no UID"
    return None


def read_header(buffer: Buffer) -> Header:
    """Read the header of a DICOM file; nothing is raised.

    Parameters
    ----------
    buffer : bytes or mmap
        The file, or its beginning: when that was too little, the result says `cut`.

    Returns
    -------
    Header
        One cell a column, with what was odd.

    References
    ----------
    DICOM PS3.5, section 6.2 (value representations); PS3.10, section 7.1.
    """
    elements = read_elements(buffer, WANTED, LAST_TAG)
    codecs, unknown = codecs_of(elements.values.get(SPECIFIC_CHARACTER_SET, b"")[:_MAX_VALUE])
    reading = _Reading(elements, codecs)
    values = {attribute.name: reading.cell(attribute) for attribute in (*KEYS, *ATTRIBUTES)}
    issues = [f"character set {term[:_SHOWN]!r} is not known" for term in unknown] + reading.issues
    if elements.flaw:
        issues.append(f"the header was read in part: {elements.flaw}")
    meta_uid = elements.values.get(META_INSTANCE_UID, b"").decode("latin-1").strip("\0 ")
    if meta_uid and meta_uid != values[INSTANCE_UID.name]:
        issues.append("the file meta information names another SOP Instance UID")
    for magic, program in _PROGRAMS.items():
        if buffer[: len(magic)] == magic:
            issues.append(f"the preamble begins like {program}")
    return Header(values, tuple(issues), _refusal(values, elements), elements.cut)
