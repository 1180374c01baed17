"""The Content-Type header, with every quirk that servers were seen to have."""

from __future__ import annotations

import time

import pytest

from s4s_lab.dicom.content_type import parse_content_type


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ("multipart/related; type=application/dicom; boundary=abc", b"abc"),
        ("multipart/related;boundary=abc;type=x", b"abc"),
        ("multipart/related ; boundary = abc ", b"abc"),
        ('multipart/related; boundary="abc"', b"abc"),
        ('multipart/related; boundary="a;b=c"; type=x', b"a;b=c"),
        ('multipart/related; start-info="x; boundary=wrong"; boundary=right', b"right"),
        (r'multipart/related; boundary="a\"b\\c"', rb'a"b\c'),
        ("Multipart/Related; Boundary=AbC", b"AbC"),
        ("multipart/related; boundary=one; boundary=two", b"one"),
        ("multipart/related; boundary=gc0p4Jq0M:2Yt08jU534c0p?", b"gc0p4Jq0M:2Yt08jU534c0p?"),
        ("multipart/related; boundary=----=_Part_1_2.3", b"----=_Part_1_2.3"),
        ("multipart/related; ; boundary=abc;", b"abc"),
        ("multipart/related; boundary=" + 70 * "x", 70 * b"x"),
    ],
)
def test_the_boundary_is_read_as_the_server_meant_it(header: str, boundary: bytes) -> None:
    assert parse_content_type(header).boundary == boundary


@pytest.mark.parametrize(
    "header",
    [
        "multipart/related",
        "multipart/related; type=application/dicom",
        "multipart/related; boundary=",
        'multipart/related; boundary=""',
        'multipart/related; boundary="unfinished',
        'multipart/related; boundary="ends in a space "',
        "multipart/related; boundary=caf\u00e9",
        "multipart/related; boundary=" + 201 * "x",
        "",
    ],
)
def test_what_is_no_boundary_counts_as_none(header: str) -> None:
    assert parse_content_type(header).boundary is None


def test_the_media_type_is_compared_in_lower_case_without_its_parameters() -> None:
    content_type = parse_content_type(" Application/DICOM ; transfer-syntax=1.2.840.10008.1.2.1 ")
    assert content_type.media_type == "application/dicom"
    assert content_type.parameters == {"transfer-syntax": "1.2.840.10008.1.2.1"}
    assert not content_type.is_multipart


def test_every_multipart_subtype_is_divided_by_boundaries() -> None:
    assert parse_content_type("multipart/mixed; boundary=x").is_multipart


def test_a_hostile_header_takes_no_more_than_linear_time() -> None:
    began = time.perf_counter()
    for header in ('a;b="' + "\\" * 200_000, "a" + ';b="' * 50_000, "a;" + " " * 200_000, "a" + ";" * 200_000):
        parse_content_type(header)
    assert time.perf_counter() - began < 5
