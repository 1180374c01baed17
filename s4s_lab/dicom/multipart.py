"""A push parser for `multipart/related`: constant memory, bounded everywhere, and truncation always found.

Only the closing boundary proves that a body is whole: servers that end a body by closing the connection (Orthanc does)
leave HTTP with nothing to check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from s4s_lab.dicom.content_type import MAX_BOUNDARY
from s4s_lab.errors import TruncatedAnswer, UnexpectedAnswer

# RFC 2046 lets transport padding follow a boundary; this much of it is still taken for padding.
_PADDING: Final = rb"[ \t]{0,256}"
_AFTER_DELIMITER = re.compile(rb"(?P<last>--)?" + _PADDING + rb"\r\n")
_AFTER_DELIMITER_SO_FAR = re.compile(rb"-?|(?:--)?" + _PADDING + rb"\r?")
_LAST_AT_END = re.compile(rb"--" + _PADDING + rb"\r?")
_FIRST_LINE = re.compile(rb"[ \t\r\n]*--(?P<boundary>[ -~]{0,%d}[!-~])[ \t]*\r\n" % (MAX_BOUNDARY - 1))
_END_OF_HEADERS: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """What one body may hold at most; beyond it the answer is refused.

    Parameters
    ----------
    preamble_bytes : int
        Bytes before the first boundary.
    header_bytes : int
        Bytes of one part's headers.
    header_lines : int
        Lines of one part's headers.
    parts : int
        Parts of the body.
    part_bytes : int
        Bytes of one part's content.
    total_bytes : int
        Bytes of the whole body.
    """

    preamble_bytes: int = 64 << 10
    header_bytes: int = 16 << 10
    header_lines: int = 32
    parts: int = 20_000
    part_bytes: int = 4 << 30
    total_bytes: int = 256 << 30


class PartSink(Protocol):
    """Where the parser hands the parts to, as they come."""

    def begin_part(self, headers: Mapping[str, str]) -> None:
        """Take the headers of a part that begins.

        Parameters
        ----------
        headers : mapping of str to str
            Names in lower case; of a repeated one the first.
        """

    def part_data(self, data: memoryview) -> None:
        """Take the next bytes of the open part.

        Parameters
        ----------
        data : memoryview
            A view into the piece at hand.
        """

    def end_part(self) -> None:
        """Learn that the open part is whole."""


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    CLOSED = auto()


def _refusal(what: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"The multipart answer {what}.", hint="Report this to the server's operator.")


class MultipartParser:
    """Split a multipart body into its parts while it arrives in pieces of any size.

    A line that only begins like the boundary is data. White space after a boundary, text before the first one and
    after the last one are passed over. Beyond the piece at hand, the parser keeps no more than a boundary or one
    part's headers in memory.

    Parameters
    ----------
    boundary : bytes or None
        The boundary parameter of the content type. None: it is taken from the first line of the body.
    sink : PartSink
        Takes the parts.
    limits : Limits
        What is accepted at most.

    References
    ----------
    RFC 2046, section 5.1.1; RFC 2387; DICOM PS3.18, section 8.6.1.2.
    """

    def __init__(self, boundary: bytes | None, sink: PartSink, limits: Limits = Limits()) -> None:
        self._sink = sink
        self._limits = limits
        self._delimiter = b"" if boundary is None else b"\r\n--" + boundary
        self._state = _State.PREAMBLE
        # The first boundary may stand at the very start: a line break before it is imagined, and dropped again.
        self._rest = b"\r\n"
        self._undue = 2
        self._total = self._parts = self._size = 0

    @property
    def closed(self) -> bool:
        """Whether the closing boundary was seen."""
        return self._state is _State.CLOSED

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Parameters
        ----------
        data : bytes
            Any number of bytes.

        Raises
        ------
        UnexpectedAnswer
            If the body is no multipart, or exceeds a limit.
        """
        self._total += len(data)
        if self._total > self._limits.total_bytes:
            raise _refusal(f"is longer than {self._limits.total_bytes} bytes")
        buffer = self._rest + data
        if not self._delimiter and not self._sniffed(buffer):
            return
        position: int | None = 0
        while position is not None and not self.closed:
            step = self._read_headers if self._state is _State.HEADERS else self._read_content
            position = step(buffer, position)

    def close(self) -> None:
        """Learn that no more bytes will come.

        Raises
        ------
        TruncatedAnswer
            If the closing boundary never came.
        """
        after = self._rest[len(self._delimiter) :]
        if self._delimiter and self._rest.startswith(self._delimiter) and _LAST_AT_END.fullmatch(after):
            self._pass_delimiter(last=True)
        if not self.closed:
            seen = f"{self._total} bytes and {self._parts} parts"
            raise TruncatedAnswer(f"The answer broke off after {seen}, before its closing boundary.")

    def _sniffed(self, buffer: bytes) -> bool:
        first_line = _FIRST_LINE.match(buffer)
        if first_line is not None:
            self._delimiter = b"\r\n--" + first_line["boundary"]
        elif b"\r\n" in buffer.lstrip() or len(buffer) > self._limits.preamble_bytes:
            raise _refusal("names no boundary, and its first line is none")
        else:
            self._rest = buffer
        return bool(self._delimiter)

    def _read_content(self, buffer: bytes, start: int) -> int | None:
        """Hand on content up to the next boundary; return where its line ends, or None when more bytes are needed."""
        delimiter = self._delimiter
        found = buffer.find(delimiter, start)
        while found >= 0:
            after = found + len(delimiter)
            if line_end := _AFTER_DELIMITER.match(buffer, after):
                self._pass_content(buffer, start, found)
                self._pass_delimiter(last=line_end["last"] is not None)
                return line_end.end() - 2
            if _AFTER_DELIMITER_SO_FAR.fullmatch(buffer, after):
                break
            found = buffer.find(delimiter, after)
        if found < 0:
            # A delimiter holds one CR only, its first byte: the last CR is the one place where a cut one can begin.
            found = buffer.rfind(b"\r", max(start, len(buffer) - len(delimiter) + 1))
            if found < 0 or not delimiter.startswith(buffer[found:]):
                found = len(buffer)
        self._pass_content(buffer, start, found)
        self._rest = buffer[found:]
        return None

    def _pass_content(self, buffer: bytes, start: int, end: int) -> None:
        undue = min(self._undue, end - start)
        self._undue -= undue
        self._size += end - start - undue
        if self._state is _State.PREAMBLE:
            if self._size > self._limits.preamble_bytes:
                raise _refusal(f"has no boundary in its first {self._limits.preamble_bytes} bytes")
        elif self._size > self._limits.part_bytes:
            raise _refusal(f"has a part of more than {self._limits.part_bytes} bytes")
        elif start + undue < end:
            self._sink.part_data(memoryview(buffer)[start + undue : end])

    def _pass_delimiter(self, *, last: bool) -> None:
        if self._state is _State.BODY:
            self._sink.end_part()
        self._state = _State.CLOSED if last else _State.HEADERS

    def _read_headers(self, buffer: bytes, start: int) -> int | None:
        """Hand on a part's headers, which begin at the line break before them; return where its content begins."""
        end = buffer.find(_END_OF_HEADERS, start)
        if (len(buffer) if end < 0 else end) - start > self._limits.header_bytes:
            raise _refusal(f"has a part with more than {self._limits.header_bytes} bytes of headers")
        if end < 0:
            self._rest = buffer[start:]
            return None
        self._parts += 1
        if self._parts > self._limits.parts:
            raise _refusal(f"has more than {self._limits.parts} parts")
        self._sink.begin_part(self._headers(buffer[start:end]))
        # An empty part may be followed by its boundary at once: the line break that ends the headers may be the
        # boundary's own, so the search begins there.
        self._state, self._undue, self._size = _State.BODY, 2, 0
        return end + 2

    def _headers(self, block: bytes) -> dict[str, str]:
        lines = re.sub(rb"\r\n[ \t]+", b" ", block).decode("latin-1").split("\r\n")[1:]
        if len(lines) > self._limits.header_lines:
            raise _refusal(f"has a part with more than {self._limits.header_lines} header lines")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _refusal("has a part whose headers cannot be read")
            headers.setdefault(name.strip().lower(), value.strip())
        return headers
