"""The multipart parser on bodies and cuts that nobody thought of."""

from __future__ import annotations

import contextlib
import os
import re

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from s4s_lab.dicom import Limits, MultipartParser
from s4s_lab.errors import TruncatedAnswer, UnexpectedAnswer
from tests.unit.dicom.multipart_bodies import BOUNDARY, Collector, body_of, in_pieces, parsed, reference_parts

MANY = 3000 if os.environ.get("S4S_FULL") == "1" else 300
DELIMITER = b"\r\n--" + BOUNDARY
# Content that is made to be mistaken: pieces of the boundary, line breaks, hyphens, blanks.
tricky = st.lists(
    st.sampled_from([DELIMITER[:end] for end in range(1, len(DELIMITER) + 1)] + [b"-", b"\r\n", b" ", b"X"])
    | st.binary(),
    max_size=8,
).map(b"".join)


BOUNDARY_LINE = re.compile(rb"\r\n--BnD(?:--)?[ \t]*\r\n")


def holds_no_boundary(part: bytes) -> bool:
    """Whether no line of a part is a boundary; lines that only begin like one are data."""
    return BOUNDARY_LINE.search(b"\r\n" + part + b"\r\n") is None


def holds_no_such_line(part: bytes) -> bool:
    """Whether no line of a part begins with the boundary either, as RFC 2046 demands."""
    return DELIMITER not in b"\r\n" + part + b"\r\n"


@st.composite
def cuts(draw: st.DrawFn, body: bytes) -> list[bytes]:
    return in_pieces(body, draw(st.lists(st.integers(1, max(1, len(body) - 1)), max_size=12, unique=True)))


@settings(max_examples=MANY, deadline=None)
@given(st.lists(tricky.filter(holds_no_boundary), max_size=4), st.data())
@example([DELIMITER[:-1], b"\r", b"\r\n--BnDX"], None)
def test_parts_survive_any_cutting(parts: list[bytes], data: st.DataObject | None) -> None:
    body = body_of(parts)
    pieces = data.draw(cuts(body)) if data else [body[at : at + 1] for at in range(len(body))]
    assert parsed(pieces, sink=Collector()) == parts


@settings(max_examples=MANY, deadline=None)
@given(st.lists(tricky.filter(holds_no_such_line), min_size=1, max_size=4), st.data())
def test_python_multipart_agrees_on_every_legal_body(parts: list[bytes], data: st.DataObject) -> None:
    pieces = data.draw(cuts(body_of(parts)))
    assert parsed(pieces, sink=Collector()) == reference_parts(pieces)


@settings(max_examples=MANY, deadline=None)
@given(st.lists(tricky, max_size=4), st.data())
def test_the_cutting_never_changes_what_is_found(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts) + body_of(parts)
    results = []
    for pieces in ([body], data.draw(cuts(body))):
        sink, error = Collector(), ""
        try:
            parsed(pieces, sink=sink)
        except (TruncatedAnswer, UnexpectedAnswer) as refusal:
            error = type(refusal).__name__
        results.append((sink.parts, error))
    assert results[0] == results[1]


@settings(max_examples=MANY, deadline=None)
@given(st.lists(st.binary(max_size=40).filter(holds_no_such_line), min_size=1, max_size=4), st.data())
def test_no_cut_body_is_taken_for_a_whole_one(parts: list[bytes], data: st.DataObject) -> None:
    body = body_of(parts)
    end = data.draw(st.integers(0, len(body) - len(b"\r\n") - 1))
    sink = Collector()
    with contextlib.suppress(TruncatedAnswer):
        parsed(data.draw(cuts(body[:end])) if end else [], sink=sink)
        raise AssertionError(f"cut at {end} and called whole")
    assert sink.parts == parts[: sink.whole]


@settings(max_examples=MANY, deadline=None)
@given(st.lists(tricky.filter(holds_no_boundary), max_size=4), st.data())
def test_a_changed_body_gives_parts_or_a_refusal_and_nothing_else(parts: list[bytes], data: st.DataObject) -> None:
    body = bytearray(body_of(parts))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assume(body)
    limits = Limits(preamble_bytes=64, header_bytes=64, header_lines=2, parts=4, part_bytes=4096, total_bytes=8192)
    with contextlib.suppress(TruncatedAnswer, UnexpectedAnswer):
        parsed(data.draw(cuts(bytes(body))), limits=limits, sink=Collector())


@settings(max_examples=MANY, deadline=None)
@given(st.lists(st.integers(1, 4096), min_size=1, max_size=20))
def test_every_byte_that_cannot_be_of_a_boundary_is_handed_on_at_once(sizes: list[int]) -> None:
    parser = MultipartParser(BOUNDARY, sink := Collector())
    parser.feed(b"--BnD\r\n\r\n")
    fed = 0
    for size in sizes:
        parser.feed(b"\r" * size)
        fed += size
        assert fed - len(sink.contents[0]) <= len(DELIMITER)
