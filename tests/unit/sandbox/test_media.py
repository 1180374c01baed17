"""Accept headers, by the cases that matter."""

from __future__ import annotations

import pytest

from s4s_lab.sandbox.media import judge_dicom, parse_accept, takes_fhir_json

EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


def test_ranges_are_read_with_their_parameters() -> None:
    header = 'Multipart/Related; type="application/dicom"; transfer-syntax=*;q=0.5, text/html;level="a,\\"b;c"'
    first, second = parse_accept(header)
    assert (first.name, first.quality) == ("multipart/related", 0.5)
    assert first.parameters == {"type": "application/dicom", "transfer-syntax": "*"}
    assert (second.name, second.parameters) == ("text/html", {"level": 'a,"b;c'})


def test_the_form_of_the_imaging_page_is_read() -> None:
    (only,) = parse_accept("multipart/related; type=application/dicom")
    assert only.parameters == {"type": "application/dicom"}


@pytest.mark.parametrize("header", [None, "", "*/*"])
def test_no_header_means_anything(header: str | None) -> None:
    assert [one.name for one in parse_accept(header)] == ["*/*"]


@pytest.mark.parametrize(("text", "quality"), [("2", 1.0), ("-1", 0.0), ("x", 1.0), ("0.3", 0.3)])
def test_a_strange_quality_is_brought_into_range(text: str, quality: float) -> None:
    assert parse_accept(f"*/*;q={text}")[0].quality == quality


@pytest.mark.parametrize(
    ("accept", "parameter", "taken"),
    [
        ("application/json+fhir", None, True),
        ("application/fhir+xml, application/xml", None, False),
        ("text/html, application/xhtml+xml, */*;q=0.8", None, True),
        ("application/*", None, True),
        ("application/fhir+json;q=0", None, False),
        ("application/fhir+xml", "json", True),
        ("application/fhir+json", "xml", False),
        ("application/fhir+json", "application/fhir json", True),
    ],
)
def test_json_is_taken_by_who_says_so(accept: str, parameter: str | None, taken: bool) -> None:
    assert takes_fhir_json(accept, parameter) is taken


def test_a_transfer_syntax_may_be_asked_for_when_it_is_the_stored_one() -> None:
    accept = 'multipart/related; type="application/dicom"; transfer-syntax='
    assert judge_dicom(accept + JPEG, [JPEG, JPEG]) is None
    assert judge_dicom(accept + "*", [JPEG, EXPLICIT]) is None
    refused = judge_dicom(accept + EXPLICIT, [JPEG, EXPLICIT])
    assert refused is not None
    assert refused.startswith(f"The files are stored as {EXPLICIT}, {JPEG}")
    assert judge_dicom("image/png", [JPEG]) == 'Only multipart/related; type="application/dicom" can be given.'
