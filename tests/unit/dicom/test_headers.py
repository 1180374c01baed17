"""Headers as table rows: typed values, decoded text, and every oddity told."""

from __future__ import annotations

import struct
from datetime import date
from typing import Any

import pytest

from s4s_lab.dicom.columns import ATTRIBUTES, KEYS
from s4s_lab.dicom.headers import Header, read_header
from tests.unit.dicom.samples import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    SERIES,
    STUDY,
    dicom_file,
    element,
    identity,
    image_file,
)

TAGS = {attribute.name: attribute for attribute in (*KEYS, *ATTRIBUTES)}
VRS = {"date": b"DA", "time": b"TM", "integer": b"IS", "number": b"DS", "numbers": b"DS", "code": b"CS", "text": b"LO"}


def header_with(name: str, value: str | bytes, *, charset: str = "") -> Header:
    attribute = TAGS[name]
    elements = {attribute.tag: element(attribute.tag, VRS.get(attribute.kind, b"CS"), value)}
    elements |= {tag: element(tag, b"UI", uid) for tag, uid in ((0x00080018, "1.9"), (0x0020000D, STUDY))}
    elements |= {0x0020000E: element(0x0020000E, b"UI", SERIES), 0x00080005: element(0x00080005, b"CS", charset)}
    return read_header(dicom_file(b"".join(elements[tag] for tag in sorted(elements))))


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("study_date", "20040119", date(2004, 1, 19)),
        ("study_date", "1997.04.24", date(1997, 4, 24)),
        ("study_time", "072730", "07:27:30"),
        ("study_time", "072730.5", "07:27:30.5"),
        ("study_time", "072730.123456", "07:27:30.123456"),
        ("study_time", "0727", "07:27"),
        ("study_time", "07", "07"),
        ("study_time", "10:55:07", "10:55:07"),
        ("series_number", " 7 ", 7),
        ("instance_number", "-1", -1),
        ("number_of_frames", "30", 30),
        ("slice_thickness", "5.00000 ", 5.0),
        ("rescale_intercept", "-1.024e3", -1024.0),
        ("pixel_spacing", "0.5\\ .25", [0.5, 0.25]),
        ("image_position_patient", "-1\\0\\+2.5", [-1.0, 0.0, 2.5]),
        ("window_center", "40", [40.0]),
        ("image_type", "ORIGINAL\\PRIMARY\\AXIAL ", ["ORIGINAL", "PRIMARY", "AXIAL"]),
        ("modality", "CT ", "CT"),
        ("patient_id_dicom", "00098890234 ", "00098890234"),
        ("study_description", " ", None),
        ("study_date", "", None),
        ("window_width", "", []),
    ],
)
def test_a_value_becomes_a_cell(name: str, value: str, cell: Any) -> None:
    header = header_with(name, value)
    assert (header.values[name], header.issues) == (cell, ())


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("study_date", "20041319", "study_date: '20041319' is no date"),
        ("study_date", "2004-01-19", "is no date"),
        ("study_date", "2004.0119", "is no date"),
        ("study_time", "2527", "is no time"),
        ("study_time", "072799", "is no time"),
        ("number_of_frames", "1A", "number_of_frames: '1A' is no integer"),
        ("instance_number", "99999999999", "is no integer"),
        ("instance_number", "1_000", "is no integer"),
        ("slice_thickness", "NaN", "is no number"),
        ("slice_thickness", "1e999", "is no number"),
        ("slice_thickness", "0x10", "is no number"),
        ("pixel_spacing", "0.5\\wide", "pixel_spacing: 'wide' is no number"),
        ("image_type", "A" * 5000, "5000 bytes are too long"),
        ("study_date", "２００４０１１９".encode(), "do not fit the character set"),
    ],
)
def test_what_cannot_be_read_is_empty_and_an_issue(name: str, value: str | bytes, reason: str) -> None:
    header = header_with(name, value)
    assert not header.values[name]
    assert reason in "; ".join(header.issues)
    assert header.refusal is None


def test_an_absent_attribute_is_null_and_an_absent_list_is_empty() -> None:
    header = read_header(image_file("1.9"))
    assert header.values["manufacturer"] is None
    assert header.values["window_center"] == []
    assert set(header.values) == set(TAGS)


@pytest.mark.parametrize("big", [False, True])
def test_binary_numbers_follow_the_byte_order(big: bool) -> None:
    form, packed = ("big", ">H") if big else ("explicit", "<H")
    data_set = identity("1.9", form=form) + element(0x00280010, b"US", struct.pack(packed, 258), form=form)
    header = read_header(dicom_file(data_set, syntax=EXPLICIT_BIG if big else EXPLICIT_LITTLE))
    assert header.values["rows"] == 258


# PS3.5, annexes H, I, J and K: the standard's own examples.
NAMES = [
    ("", b"Wang^XiaoDong", "Wang^XiaoDong"),
    ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    ("\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
    ("ISO-IR-100", b"J\xe9", "Jé"),
    ("iso_ir 100", b"J\xe9", "Jé"),
]


@pytest.mark.parametrize(("charset", "raw", "name"), NAMES)
def test_the_standards_own_names_are_decoded(charset: str, raw: bytes, name: str) -> None:
    header = header_with("patient_name", raw, charset=charset)
    assert (header.values["patient_name"], header.issues) == (name, ())


def test_a_delimiter_brings_the_first_character_set_back() -> None:
    # PS3.5, section 6.1.2.5.3: Greek by escape, then a new component in the first set, Latin-1.
    header = header_with("patient_name", b"\x1b-F\xc4\xe9^J\xe9", charset="ISO 2022 IR 100\\ISO 2022 IR 126")
    assert header.values["patient_name"] == "Δι^Jé"


@pytest.mark.parametrize(
    ("charset", "raw", "shown", "reason"),
    [
        ("ISO_IR 999", b"Doe", "Doe", "character set 'ISO_IR 999' is not known"),
        ("ISO_IR 192", b"J\xe9", "J\ufffd", "do not fit the character set"),
        ("ISO_IR 100", b"J\x1b$Z\xe9", "J\x1b$Zé", "do not fit the character set"),
    ],
)
def test_text_that_cannot_be_decoded_is_shown_as_far_as_it_can(
    charset: str, raw: bytes, shown: str, reason: str
) -> None:
    header = header_with("patient_name", raw, charset=charset)
    assert header.values["patient_name"] == shown
    assert reason in "; ".join(header.issues)


@pytest.mark.parametrize(
    "uid", ["../../x", "/etc/cron.d/x", "1.2\0/3", "1" * 65, "1..2", ".", "1.2.", "１.２", "1.2 3"]
)
@pytest.mark.parametrize("which", ["study", "series", "instance"])
def test_a_file_whose_uid_is_none_is_refused(which: str, uid: str) -> None:
    uids = {"instance": "1.9", "study": STUDY, "series": SERIES} | {which: uid}
    raw = {name: value.encode("utf-8").decode("latin-1") for name, value in uids.items()}
    header = read_header(dicom_file(identity(raw["instance"], study=raw["study"], series=raw["series"])))
    assert header.refusal == f"its {which}_uid is no UID"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it has no study_uid: it does not begin as a DICOM file"),
        (dicom_file(b""), "it has no study_uid"),
        (dicom_file(identity("1.9")[:60]), "it has no study_uid: it ends within a value"),
        (dicom_file(element(0x0020000D, b"UI", STUDY)), "it has no series_uid"),
    ],
)
def test_a_file_without_its_uids_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    assert read_header(data).refusal == reason


def test_leading_zeros_and_one_component_pass_as_real_archives_have_them() -> None:
    header = read_header(dicom_file(identity("1.09", study="1", series="1.002")))
    assert (header.refusal, header.study_uid, header.series_uid, header.instance_uid) == (None, "1", "1.002", "1.09")


@pytest.mark.parametrize(
    ("preamble", "program"), [(b"MZ", "a Windows program"), (b"\x7fELF", "a Linux program"), (b"#!/bin/sh", "a script")]
)
def test_a_preamble_that_is_a_program_is_told(preamble: bytes, program: str) -> None:
    header = read_header(dicom_file(identity("1.9"), preamble=preamble.ljust(128, b"\0")))
    assert header.issues == (f"the preamble begins like {program}",)


def test_another_instance_uid_in_the_meta_information_is_told_and_the_data_sets_counts() -> None:
    data = dicom_file(identity("1.9"))
    meta = element(0x00020003, b"UI", "1.8")
    header = read_header(data[:132] + meta + data[132:])
    assert header.instance_uid == "1.9"
    assert header.issues == ("the file meta information names another SOP Instance UID",)
