"""The `Content-Type` header, read exactly: quoted strings may hold `;`, `=` and escapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Servers also send values with characters that a token may not have (`type=application/dicom`), so an unquoted value
# ends only at `;`. No two alternatives can match the same text: matching takes linear time.
_PARAMETER = re.compile(r';[ \t]*(?P<name>[^;="]*)(?:=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^;"]*)))?')
_ESCAPED = re.compile(r"\\(.)")
MAX_BOUNDARY = 200
_BOUNDARY = re.compile(rf"[ -~]{{0,{MAX_BOUNDARY - 1}}}[!-~]")


@dataclass(frozen=True)
class ContentType:
    """A media type with its parameters, names in lower case; of a repeated parameter the first counts.

    Parameters
    ----------
    media_type : str
        Such as `multipart/related`, in lower case; empty when there was no header.
    parameters : Mapping[str, str]
        Values as meant: without quotes and escapes.
    """

    media_type: str
    parameters: Mapping[str, str]

    @property
    def is_multipart(self) -> bool:
        """Whether the body is divided by boundaries."""
        return self.media_type.startswith("multipart/")

    @property
    def boundary(self) -> bytes | None:
        """The boundary parameter, or None when it is missing or no boundary at all.

        References
        ----------
        RFC 2046, section 5.1.1: 1 to 70 characters. Longer ones are accepted up to 200.
        """
        text = self.parameters.get("boundary", "")
        return text.encode("ascii") if _BOUNDARY.fullmatch(text) else None


def parse_content_type(text: str) -> ContentType:
    """Read a `Content-Type` header; what cannot be understood is left out, nothing is raised.

    Parameters
    ----------
    text : str
        The header's value.

    References
    ----------
    RFC 9110, sections 5.6.6 and 8.3.1; RFC 2387, section 3.
    """
    media_type, _, _ = text.partition(";")
    parameters: dict[str, str] = {}
    for match in _PARAMETER.finditer(text, len(media_type)):
        value = match["plain"] or ""
        if match["quoted"] is not None:
            value = _ESCAPED.sub(r"\1", match["quoted"])
        parameters.setdefault(match["name"].strip().lower(), value if match["quoted"] is not None else value.strip())
    return ContentType(media_type.strip().lower(), MappingProxyType(parameters))
