"""Ten thousand damaged multipart streams: each ends, none is taken for whole that is not, memory stays flat."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import time
from collections.abc import Callable

from s4s_lab.errors import TruncatedAnswer, UnexpectedAnswer
from tests.unit.dicom.multipart_bodies import BOUNDARY, Collector, body_of, in_pieces, parsed

STREAMS = 10_000
CHANCE = random.Random(31)  # noqa: S311 - a repeatable choice of damage, no secret
SEEDS = [
    body_of([CHANCE.randbytes(1300) for _ in range(3)]),
    body_of([b"\r\n--BnDX" * 80, b"", b"--BnD--" * 60]),
    b"preamble\r\n" + body_of([b"\r" * 700, b"\n\r\n" * 300]) + b"epilogue",
]
# The line without which no body is whole, found without our parser.
LAST_LINE = re.compile(rb"(?:\A|\r\n)--" + BOUNDARY + rb"--[ \t]*(?:\r\n|\r?\Z)")


def cut(body: bytes, at: int) -> bytes:
    return body[:at]


def flip(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1 << CHANCE.randrange(8)]) + body[at + 1 :]


def drop(body: bytes, at: int) -> bytes:
    return body[:at] + body[at + CHANCE.randrange(1, 40) :]


def insert(body: bytes, at: int) -> bytes:
    return body[:at] + CHANCE.choice([b"\r\n", b"\r\n--BnD", b"--BnD--", b"\r\n\r\n", b"\0" * 9]) + body[at:]


def repeat(body: bytes, at: int) -> bytes:
    return body[:at] + body[at : at + CHANCE.randrange(1, 400)] * CHANCE.randrange(2, 60) + body[at:]


def swap(body: bytes, at: int) -> bytes:
    return body[at:] + body[:at]


DAMAGES: tuple[Callable[[bytes, int], bytes], ...] = (cut, flip, drop, insert, repeat, swap)


def damaged(seed: bytes) -> bytes:
    """A body with one to three damages."""
    for _ in range(CHANCE.randrange(1, 4)):
        seed = CHANCE.choice(DAMAGES)(seed, CHANCE.randrange(len(seed))) or b"\r\n"
    return seed


def pieces_of(body: bytes) -> list[bytes]:
    """The body as it may come: whole, in a few pieces, or in steps of seven."""
    cuts = CHANCE.choice([[], range(7, len(body), 7), CHANCE.sample(range(1, len(body)), min(5, len(body) - 1))])
    return in_pieces(body, sorted(cuts))


def test_no_damaged_stream_hangs_fills_the_memory_or_is_taken_for_whole() -> None:
    before, began, accepted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic(), 0
    for number in range(STREAMS):
        body = damaged(SEEDS[number % len(SEEDS)])
        with contextlib.suppress(TruncatedAnswer, UnexpectedAnswer):
            parsed(pieces_of(body), sink=Collector())
            accepted += 1
            assert LAST_LINE.search(body), body[-200:]
    assert 0 < accepted < STREAMS
    assert time.monotonic() - began < 60
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50 << 10  # [KiB]


def test_every_cut_of_every_seed_is_told() -> None:
    for seed in SEEDS:
        for end in range(len(seed)):
            # A part may hold what would be the last line if nothing came behind it: such a cut nobody can tell.
            if LAST_LINE.search(seed[:end]):
                continue
            with contextlib.suppress(TruncatedAnswer):
                parsed(in_pieces(seed[:end], []), sink=Collector())
                raise AssertionError(f"cut at {end} and called whole")
