"""Multipart bodies written out, and the means to take them apart with our parser and with python-multipart's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from python_multipart.multipart import MultipartParser as ReferenceParser

from s4s_lab.dicom import Limits, MultipartParser

BOUNDARY = b"BnD"
HEADERS = b"Content-Type: application/dicom\r\n"


def body_of(parts: Iterable[bytes], *, boundary: bytes = BOUNDARY, headers: bytes = HEADERS) -> bytes:
    """A body as RFC 2046, section 5.1.1 writes it."""
    pieces = [b"--" + boundary + b"\r\n" + headers + b"\r\n" + part + b"\r\n" for part in parts]
    return b"".join(pieces) + b"--" + boundary + b"--\r\n"


def in_pieces(body: bytes, size: int | Sequence[int]) -> list[bytes]:
    """The body cut every `size` bytes, or at the given places."""
    places = range(size, len(body), size) if isinstance(size, int) else sorted(size)
    ends = [*places, len(body)]
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


@dataclass
class Collector:
    """A sink that keeps all parts; `whole` counts those that ended."""

    headers: list[Mapping[str, str]] = field(default_factory=list)
    contents: list[bytearray] = field(default_factory=list)
    whole: int = 0

    def begin_part(self, headers: Mapping[str, str]) -> None:
        self.headers.append(headers)
        self.contents.append(bytearray())

    def part_data(self, data: memoryview) -> None:
        self.contents[-1] += data

    def end_part(self) -> None:
        self.whole += 1

    @property
    def parts(self) -> list[bytes]:
        """The parts that are whole."""
        return [bytes(content) for content in self.contents[: self.whole]]


def parsed(
    pieces: Iterable[bytes], *, boundary: bytes | None = BOUNDARY, limits: Limits | None = None, sink: Collector
) -> list[bytes]:
    """The parts of a whole body."""
    parser = MultipartParser(boundary, sink, limits or Limits())
    for piece in pieces:
        parser.feed(piece)
    parser.close()
    return sink.parts


def reference_parts(pieces: Iterable[bytes], boundary: bytes = BOUNDARY) -> list[bytes]:
    """The parts as python-multipart sees them."""
    parts: list[bytearray] = []
    ended: list[bool] = []

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1] += chunk[start:end]

    parser = ReferenceParser(
        boundary,
        {
            "on_part_begin": lambda: parts.append(bytearray()),
            "on_part_data": data,
            "on_end": lambda: ended.append(True),
        },
    )
    for piece in pieces:
        parser.write(piece)
    assert ended, "python-multipart saw no end"
    return [bytes(part) for part in parts]
