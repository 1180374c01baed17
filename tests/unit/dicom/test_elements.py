"""The walk over a data set: every encoding, every way to be odd, nothing raised."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import pytest

from s4s_lab.dicom.elements import Elements, ends_early, inflated_sizes, read_elements
from tests.unit.dicom.samples import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    SEQUENCE_END,
    UNDEFINED,
    dicom_file,
    element,
    item,
)

MODALITY, ROWS, PIXELS = 0x00080060, 0x00280010, 0x7FE00010
NO_DATA_SET = dicom_file(b"", syntax=DEFLATED).removesuffix(b"\3\0")  # what deflating nothing gives
NESTED, PRIVATE = 0x00081140, 0x00090010


def walked(data: bytes, *wanted: int) -> Elements:
    return read_elements(data, wanted or (MODALITY, ROWS), 0x0028FFFF)


def content(form: str, rows: bytes) -> bytes:
    return (
        element(MODALITY, b"CS", "CT", form=form)
        + element(PRIVATE, b"UN", b"\0" * 70_000, form=form)
        + element(ROWS, b"US", rows, form=form)
    )


@pytest.mark.parametrize(
    ("syntax", "form"),
    [
        (EXPLICIT_LITTLE, "explicit"),
        (IMPLICIT_LITTLE, "implicit"),
        (EXPLICIT_BIG, "big"),
        (DEFLATED, "explicit"),
        ("1.2.840.10008.1.2.4.90", "explicit"),
        (None, "explicit"),
        (None, "implicit"),
        (None, "big"),
    ],
)
def test_every_encoding_gives_the_same_values(syntax: str | None, form: str) -> None:
    rows = struct.pack(">H" if form == "big" else "<H", 512)
    found = walked(dicom_file(content(form, rows), syntax=syntax))
    assert found.flaw is None
    assert found.values[MODALITY] == b"CT"
    assert found.values[ROWS] == rows
    assert found.little == (form != "big")


def test_an_encoding_that_the_transfer_syntax_denies_is_read_as_it_is() -> None:
    found = walked(dicom_file(content("implicit", b"\0\2"), syntax=EXPLICIT_LITTLE))
    assert found.values == {0x00020010: b"1.2.840.10008.1.2.1\0", MODALITY: b"CT", ROWS: b"\0\2"}


NESTINGS = {
    "defined lengths": element(NESTED, b"SQ", item(element(MODALITY, b"CS", "MR"))),
    "undefined lengths": element(
        NESTED, b"SQ", item(element(MODALITY, b"CS", "MR"), length=UNDEFINED) + SEQUENCE_END, length=UNDEFINED
    ),
    "undefined around defined": element(
        NESTED, b"SQ", item(element(MODALITY, b"CS", "MR")) + SEQUENCE_END, length=UNDEFINED
    ),
    "three deep": element(
        NESTED,
        b"SQ",
        item(
            element(
                NESTED, b"SQ", item(element(MODALITY, b"CS", "MR"), length=UNDEFINED) + SEQUENCE_END, length=UNDEFINED
            ),
            length=UNDEFINED,
        )
        + SEQUENCE_END,
        length=UNDEFINED,
    ),
    "unknown VR, implicit within": element(
        NESTED,
        b"UN",
        item(element(MODALITY, b"CS", "MR", form="implicit"), length=UNDEFINED) + SEQUENCE_END,
        length=UNDEFINED,
    ),
    "empty": element(NESTED, b"SQ", SEQUENCE_END, length=UNDEFINED),
    # The first bytes of these lengths read DS, a VR, and BB, none.
    "fragments of 0x5344 bytes": element(PRIVATE, b"OB", item(b"\xff" * 0x5344) + SEQUENCE_END, length=UNDEFINED),
    "fragments of 0x4242 bytes": element(PRIVATE, b"OB", item(b"\xff" * 0x4242) + SEQUENCE_END, length=UNDEFINED),
}


@pytest.mark.parametrize("name", NESTINGS)
def test_a_sequence_is_stepped_over_with_all_that_is_in_it(name: str) -> None:
    found = walked(dicom_file(NESTINGS[name] + element(ROWS, b"US", b"\0\2")))
    assert found.flaw is None
    assert found.values.get(MODALITY) is None
    assert found.values[ROWS] == b"\0\2"


def test_the_walk_ends_before_pixel_data_and_never_returns_it() -> None:
    data = dicom_file(element(MODALITY, b"CS", "CT") + element(PIXELS, b"OW", b"", length=UNDEFINED))
    found = read_elements(data, (MODALITY, PIXELS), 0xFFFFFFFF)
    assert (found.values[MODALITY], found.flaw) == (b"CT", None)
    assert PIXELS not in found.values


def test_of_a_repeated_element_the_first_counts() -> None:
    found = walked(dicom_file(element(MODALITY, b"CS", "CT") + element(MODALITY, b"CS", "MR")))
    assert found.values[MODALITY] == b"CT"


@pytest.mark.parametrize("data", [b"", b"\0" * 131, b"DICM" + bytes(200), b"\0" * 128 + b"dicm", b"GIF89a" * 100])
def test_what_is_no_dicom_file_has_no_values(data: bytes) -> None:
    found = walked(data)
    assert found.values == {}
    assert found.flaw == "it does not begin as a DICOM file"
    assert found.cut == (len(data) < 132)


def test_a_head_cut_anywhere_gives_a_part_of_the_values_and_says_that_it_is_cut() -> None:
    data = dicom_file(element(MODALITY, b"CS", "CT") + element(ROWS, b"US", b"\0\2") + element(PIXELS, b"OB", b"x"))
    whole = walked(data)
    assert not whole.cut
    for end in range(data.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB")) + 8):
        found = walked(data[:end])
        assert found.values.items() <= whole.values.items()
        assert found.cut


HOSTILE = {
    "a length of 4 GiB": (element(MODALITY, b"UT", b"x", length=UNDEFINED - 1), "ends within a value"),
    "a sequence without an end": (element(NESTED, b"SQ", item(b""), length=UNDEFINED), "ends within an element"),
    "sequences 65 deep": (
        element(NESTED, b"SQ", item(b"", length=UNDEFINED)[:8], length=UNDEFINED) * 33,
        "nested more than 64 deep",
    ),
    "a million empty elements": (element(PRIVATE, b"CS", "") * 1_000_000, "more than 200000 elements"),
    "a million empty items": (element(NESTED, b"SQ", item(b"") * 1_000_000, length=UNDEFINED), "more than 200000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_go_on_for_ever_ends_with_a_reason(name: str) -> None:
    content, reason = HOSTILE[name]
    data = dicom_file(element(0x00080005, b"CS", "ISO_IR 100") + content + element(ROWS, b"US", b"\0\2"))
    began = time.perf_counter()
    found = read_elements(data, (0x00080005, MODALITY, ROWS), 0x0028FFFF)
    assert reason in str(found.flaw)
    assert found.values[0x00080005] == b"ISO_IR 100"
    assert time.perf_counter() - began < 10


def test_a_deflated_bomb_is_inflated_no_further_than_a_header_needs() -> None:
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = squeeze.compress(element(MODALITY, b"CS", "CT"))
    bomb += b"".join(squeeze.compress(element(PRIVATE, b"OB", bytes(1 << 20))) for _ in range(200)) + squeeze.flush()
    data = NO_DATA_SET + bomb
    tracemalloc.start()
    found = walked(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.values[MODALITY], found.cut) == (b"CT", True)
    assert peak < 8 << 20


def test_a_deflated_data_set_that_is_none_is_told() -> None:
    assert walked(NO_DATA_SET + b"\xff" * 50).flaw == "its deflated data set cannot be inflated"


FRAGMENTS = element(PIXELS, b"OB", b"", length=UNDEFINED) + item(b"") + item(b"\1\2\3\4") + SEQUENCE_END


@pytest.mark.parametrize(
    ("syntax", "form", "pixels"),
    [
        (EXPLICIT_LITTLE, "explicit", element(PIXELS, b"OW", bytes(20_000))),
        (IMPLICIT_LITTLE, "implicit", element(PIXELS, b"OW", bytes(20_000), form="implicit")),
        (EXPLICIT_BIG, "big", element(PIXELS, b"OW", bytes(20_000), form="big")),
        ("1.2.840.10008.1.2.4.90", "explicit", FRAGMENTS),
        (DEFLATED, "explicit", element(PIXELS, b"OW", bytes(2_000_000))),
    ],
    ids=["explicit", "implicit", "big", "fragments", "deflated"],
)
def test_a_file_that_lost_its_last_bytes_ends_early_and_a_whole_one_does_not(
    syntax: str, form: str, pixels: bytes
) -> None:
    data = dicom_file(content(form, b"\0\0") + pixels, syntax=syntax)
    assert not ends_early(data)
    assert not ends_early(data + b"\0")
    assert not ends_early(data + b"more than a file holds")
    assert all(ends_early(data[:-lost]) for lost in (1, 2, 7, 12))


def test_padding_behind_a_file_without_pixels_is_no_loss() -> None:
    data = dicom_file(content("explicit", b"\0\0"))
    assert not ends_early(data + bytes(5))
    assert ends_early(data[:-1])


@pytest.mark.parametrize("size", [(1 << 20) + more for more in (-1, 0, 1, 257, 258, 259)] + [2 << 20, 3 << 20])
def test_a_deflation_that_ends_about_a_piece_is_whole(size: int) -> None:
    deflated = zlib.compress(bytes(size), wbits=-zlib.MAX_WBITS)
    assert list(inflated_sizes(deflated, 0))[-1] == size


def test_a_deflation_bomb_is_followed_to_the_bound_only() -> None:
    bomb = dicom_file(content("explicit", b"\0\0") + element(PIXELS, b"OW", bytes(200 << 20)), syntax=DEFLATED)
    tracemalloc.start()
    assert not ends_early(bomb[:-100])
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
