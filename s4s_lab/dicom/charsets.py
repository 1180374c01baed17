"""DICOM's character sets: text values as bytes to `str`, with code extensions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

DEFAULT: Final = ("iso8859",)
_FRAGMENT = re.compile(rb"\A[^\x1b]+|\x1b[^\x1b]*")
_FOUR_BYTE_ESCAPES: Final = (b"\x1b$(", b"\x1b$)")
_STATEFUL: Final = ("iso2022_jp", "iso2022_jp_2")
# A new value, a new component or group of a name, or a new line brings the first character set back.
_RESET = re.compile(rb"[\\^=\r\n\f\t]")
_SPELLING = re.compile(r"ISO.(?:(2022).)?IR.(\d+)", re.IGNORECASE)


def _codec(term: str) -> str | None:
    """Return Python's codec for a defined term, also for one spelled with other separators (`ISO-IR-100`)."""
    if term in python_encoding:
        return python_encoding[term]
    spelled = _SPELLING.fullmatch(term)
    return spelled and python_encoding.get(
        f"ISO {spelled[1]} IR {spelled[2]}" if spelled[1] else f"ISO_IR {spelled[2]}"
    )


def codecs_of(specific_character_set: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return Python's codecs for a Specific Character Set (0008,0005), and the terms that are not known.

    Parameters
    ----------
    specific_character_set : bytes
        The element's value; empty when it is absent.

    References
    ----------
    DICOM PS3.3, section C.12.1.1.2.
    """
    terms = [term.strip("\0 ") for term in specific_character_set.decode("latin-1").split("\\")]
    known = [(term, _codec(term)) for term in terms]
    codecs = tuple(codec for _, codec in known if codec is not None)
    return codecs or DEFAULT, tuple(term for term, codec in known if codec is None)


def _decode_fragment(fragment: bytes, first: str) -> str:
    if not fragment.startswith(b"\x1b"):
        return fragment.decode(first)
    size = 4 if fragment.startswith(_FOUR_BYTE_ESCAPES) else 3
    codec = CODES_TO_ENCODINGS.get(fragment[:size])
    if codec is None:
        raise UnicodeDecodeError(first, fragment, 0, min(size, len(fragment)), "unknown escape sequence")
    if codec in _STATEFUL:
        return fragment.decode(codec)
    body = fragment[size:]
    reset = _RESET.search(body)
    end = reset.start() if reset else len(body)
    return body[:end].decode(codec) + body[end:].decode(first)


def decode_text(value: bytes, codecs: Sequence[str]) -> str:
    """Decode a text value.

    Parameters
    ----------
    value : bytes
        The value as in the file.
    codecs : Sequence[str]
        What `codecs_of` gave; the first is used where no escape sequence says otherwise.

    Raises
    ------
    UnicodeDecodeError
        If the bytes do not fit the character set.

    References
    ----------
    DICOM PS3.5, section 6.1.2.5.
    """
    if b"\x1b" not in value:
        return value.decode(codecs[0])
    return "".join(_decode_fragment(fragment, codecs[0]) for fragment in _FRAGMENT.findall(value))
