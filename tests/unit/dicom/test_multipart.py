"""The multipart parser over the edge cases, whole, byte by byte and in pieces of seven."""

from __future__ import annotations

import tracemalloc

import pytest

from s4s_lab.dicom import Limits, MultipartParser
from s4s_lab.errors import TruncatedAnswer, UnexpectedAnswer
from tests.unit.dicom.multipart_bodies import BOUNDARY, Collector, body_of, in_pieces, parsed, reference_parts

FIRST, SECOND = b"\x00\x01\r\n\r\n\xff--", b"second"
PLAIN = body_of([FIRST, SECOND])
every_feeding = pytest.mark.parametrize("size", [10_000, 1, 7], ids=["whole", "byte by byte", "by sevens"])

# What RFC 2046, section 5.1.1 makes of each body; python-multipart agrees unless it says otherwise.
AGREED = {
    "plain": (PLAIN, [FIRST, SECOND]),
    "no part headers": (body_of([b"x", b"y"], headers=b""), [b"x", b"y"]),
    "empty part": (body_of([b"", b"y"]), [b"", b"y"]),
    "no line break after the last boundary": (PLAIN.removesuffix(b"\r\n"), [FIRST, SECOND]),
    "epilogue": (PLAIN + b"epilogue \r\n--BnD\r\n\r\nno part\r\n", [FIRST, SECOND]),
    "leading line break": (b"\r\n" + PLAIN, [FIRST, SECOND]),
    "a line that begins like the boundary": (
        body_of([b"a\r\n--BnDX b", b"c\r\n--Bn"]),
        [b"a\r\n--BnDX b", b"c\r\n--Bn"],
    ),
    "only line breaks": (body_of([b"\r\n", b"\r\n\r\n"]), [b"\r\n", b"\r\n\r\n"]),
    "a wrong Content-Length": (body_of([b"12345"], headers=b"Content-Length: 3\r\n"), [b"12345"]),
    "white space after an inner boundary": (PLAIN.replace(b"\r\n--BnD\r\n", b"\r\n--BnD \t \r\n"), [FIRST, SECOND]),
}
OURS_ONLY = {
    "zero parts": (b"--BnD--\r\n", []),
    "preamble text": (b"This is a preamble.\r\n" + PLAIN, [FIRST, SECOND]),
    "a preamble that names the boundary": (b"about --BnD\r\n" + PLAIN, [FIRST, SECOND]),
    "white space after the first boundary": (PLAIN.replace(b"--BnD\r\n", b"--BnD  \r\n", 1), [FIRST, SECOND]),
    "white space after the last boundary": (PLAIN.removesuffix(b"\r\n") + b" \t\r\n", [FIRST, SECOND]),
    "a line that begins like the last boundary": (body_of([b"a\r\n--BnD--X b"]), [b"a\r\n--BnD--X b"]),
    "a boundary right behind the headers": (b"--BnD\r\nA: b\r\n\r\n--BnD\r\n\r\n--BnD--", [b"", b""]),
    "a folded header line": (body_of([b"x"], headers=b"Content-Type: a;\r\n  b=c\r\n"), [b"x"]),
}


@every_feeding
@pytest.mark.parametrize("name", [*AGREED, *OURS_ONLY])
def test_every_byte_of_every_part_comes_out(name: str, size: int) -> None:
    body, expected = {**AGREED, **OURS_ONLY}[name]
    assert parsed(in_pieces(body, size), sink=Collector()) == expected


@every_feeding
@pytest.mark.parametrize("name", AGREED)
def test_python_multipart_sees_the_same_parts(name: str, size: int) -> None:
    body, expected = AGREED[name]
    assert reference_parts(in_pieces(body, size)) == expected


@every_feeding
@pytest.mark.parametrize("end", range(len(PLAIN) - len(b"\r\n")))
def test_a_body_cut_anywhere_is_truncated_and_keeps_its_whole_parts(end: int, size: int) -> None:
    sink = Collector()
    with pytest.raises(TruncatedAnswer, match=f"{end} bytes"):
        parsed(in_pieces(PLAIN[:end], size), sink=sink)
    assert sink.parts == [FIRST, SECOND][: sink.whole]
    # The boundary behind the first part proves it whole, and nothing proves the second.
    assert sink.whole == (1 if end >= PLAIN.index(b"\r\n--BnD\r\n") + len(b"\r\n--BnD\r\n") else 0)


@every_feeding
@pytest.mark.parametrize(
    "name", [*AGREED, "white space after the first boundary", "a line that begins like the last boundary"]
)
def test_a_missing_boundary_parameter_is_taken_from_the_first_line(name: str, size: int) -> None:
    body, expected = {**AGREED, **OURS_ONLY}[name]
    assert parsed(in_pieces(body, size), boundary=None, sink=Collector()) == expected


@every_feeding
def test_a_sniffed_boundary_may_be_padded_and_follow_empty_lines(size: int) -> None:
    body = b"\r\n \r\n" + PLAIN.replace(b"--BnD\r\n", b"--BnD  \r\n", 1)
    assert parsed(in_pieces(body, size), boundary=None, sink=Collector()) == [FIRST, SECOND]


@every_feeding
@pytest.mark.parametrize("body", [b"<html>\r\n</html>\r\n", b"-BnD\r\n", b"--\r\n", b"--B\x00D\r\n", b" " * (65 << 10)])
def test_a_first_line_that_is_no_boundary_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(UnexpectedAnswer, match="names no boundary"):
        parsed(in_pieces(body, max(size, len(body) // 100)), boundary=None, sink=Collector())


@every_feeding
def test_headers_come_in_lower_case_and_unfolded(size: int) -> None:
    sink = Collector()
    parsed(in_pieces(body_of([b"x"], headers=b"Content-TYPE: a;\r\n\t b=c\r\nX:y:z\r\n"), size), sink=sink)
    assert sink.headers == [{"content-type": "a; b=c", "x": "y:z"}]


def test_nothing_behind_the_last_boundary_is_handed_on() -> None:
    sink = Collector()
    parser = MultipartParser(BOUNDARY, sink)
    parser.feed(PLAIN)
    assert parser.closed
    parser.feed(PLAIN)
    parser.close()
    assert sink.parts == [FIRST, SECOND]


def test_a_last_boundary_without_a_line_break_counts_only_at_the_end_of_the_body() -> None:
    parser = MultipartParser(BOUNDARY, sink := Collector())
    parser.feed(PLAIN.removesuffix(b"\r\n"))
    assert (parser.closed, sink.whole) == (False, 1)
    parser.close()
    assert (parser.closed, sink.whole) == (True, 2)


LIMITS = Limits(preamble_bytes=100, header_bytes=100, header_lines=3, parts=3, part_bytes=100, total_bytes=1000)
TOO_MUCH = {
    "preamble": (b"x" * 101 + b"\r\n" + PLAIN, "no boundary in its first 100 bytes"),
    "headers": (body_of([b""], headers=b"A: " + b"x" * 100 + b"\r\n"), "more than 100 bytes of headers"),
    "endless headers": (b"--BnD\r\nA: " + b"x" * 500, "more than 100 bytes of headers"),
    "header lines": (body_of([b""], headers=b"A: b\r\n" * 4), "more than 3 header lines"),
    "a line without a name": (body_of([b""], headers=b"nonsense\r\n"), "cannot be read"),
    "parts": (body_of([b""] * 4), "more than 3 parts"),
    "a part": (body_of([b"x" * 101]), "a part of more than 100 bytes"),
    "the body": (body_of([b"x" * 100] * 3) + b"x" * 1000, "longer than 1000 bytes"),
}


@every_feeding
@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_of_anything_is_refused(name: str, size: int) -> None:
    body, message = TOO_MUCH[name]
    with pytest.raises(UnexpectedAnswer, match=message):
        parsed(in_pieces(body, size), limits=LIMITS, sink=Collector())


def test_twenty_thousand_parts_are_the_most_that_is_taken_without_being_told() -> None:
    body = b"\r\n--BnD\r\n\r\n" * 20_001
    parser = MultipartParser(BOUNDARY, sink := Collector())
    with pytest.raises(UnexpectedAnswer, match="more than 20000 parts"):
        parser.feed(body)
    assert sink.whole == 20_000


@pytest.mark.parametrize(
    ("most", "beyond", "message"),
    [
        (b"x" * 65_536 + b"\r\n" + PLAIN, b"x" * 65_537 + b"\r\n" + PLAIN, "no boundary in its first 65536 bytes"),
        (body_of([b""], headers=b"A: " + b"x" * (16_384 - 5) + b"\r\n"),
         body_of([b""], headers=b"A: " + b"x" * (16_384 - 4) + b"\r\n"), "more than 16384 bytes of headers"),
        (body_of([b""], headers=b"A: b\r\n" * 32), body_of([b""], headers=b"A: b\r\n" * 33), "more than 32 header"),
    ],
    ids=["preamble", "header bytes", "header lines"],
)  # fmt: skip
def test_what_is_taken_without_being_told_is_bounded(most: bytes, beyond: bytes, message: str) -> None:
    assert parsed([most], sink=Collector())
    with pytest.raises(UnexpectedAnswer, match=message):
        parsed([beyond], sink=Collector())


def test_parts_and_bodies_may_be_as_large_as_files_of_dicom_and_no_larger() -> None:
    # An element's length has 32 bits (PS3.5, section 7.1); a body may hold 64 such files.
    assert (Limits().part_bytes, Limits().total_bytes) == (2**32, 64 * 2**32)


@every_feeding
def test_as_much_as_is_allowed_is_accepted(size: int) -> None:
    body = b"x" * 100 + b"\r\n" + body_of([b"x" * 100] * 3, headers=b"A: b\r\n" * 2 + b"A: " + b"x" * 80 + b"\r\n")
    assert len(parsed(in_pieces(body, size), limits=LIMITS, sink=Collector())) == 3


def test_memory_stays_flat_however_long_a_part_is() -> None:
    class Counter(Collector):
        size = 0

        def part_data(self, data: memoryview) -> None:
            self.size += len(data)

    parser = MultipartParser(BOUNDARY, sink := Counter())
    piece = b"\r\n--BnDX" * 9 + bytes(64 << 10) + b"\r"
    parser.feed(b"--BnD\r\n\r\n")
    tracemalloc.start()
    for _ in range(1000):
        parser.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    parser.feed(b"\r\n--BnD--\r\n")
    assert sink.size == 1000 * len(piece)
    assert peak < 4 * len(piece)
