"""Headers of files that nobody would write on purpose: never an exception, always cells that fit the table."""

from __future__ import annotations

import os

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s4s_lab.dicom import instance_schema
from s4s_lab.dicom.columns import ATTRIBUTES, KEYS
from s4s_lab.dicom.headers import Header, read_header
from s4s_lab.values.uids import is_uid
from tests.unit.dicom.samples import DEFLATED, EXPLICIT_LITTLE, dicom_file, element, identity, image_file

MANY = 10_000 if os.environ.get("S4S_FULL") == "1" else 500
SCHEMA = instance_schema()
VRS = [b"CS", b"UI", b"DS", b"IS", b"US", b"SQ", b"UN", b"PN", b"\0\0"]
TAGS = sorted({attribute.tag for attribute in (*KEYS, *ATTRIBUTES)} | {0x00080005, 0x00081140, 0xFFFEE000, 0xFFFEE00D})
SEEDS = [
    image_file("1.9.1"),
    dicom_file(identity("1.9.2"), syntax=DEFLATED),
    dicom_file(identity("1.9.3", form="implicit"), syntax=None),
    dicom_file(element(0x00081140, b"SQ", b"", length=0xFFFFFFFF) + identity("1.9.4")),
]


def fits_the_table(header: Header) -> None:
    for name, cell in header.values.items():
        pa.array([cell], SCHEMA.field(name).type)
    if header.refusal is None:
        assert all(map(is_uid, (header.study_uid, header.series_uid, header.instance_uid)))


@settings(max_examples=MANY, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_a_changed_file_never_raises(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(120, len(seed) - 1))
        changed[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    fits_the_table(read_header(bytes(changed)))


elements = st.builds(
    element,
    st.sampled_from(TAGS),
    st.sampled_from(VRS),
    st.binary(max_size=20) | st.sampled_from([b"1.2", b"20040119", b"ISO_IR 192", b"\xff\xff\xff\xff", b"9999999999"]),
    length=st.none() | st.sampled_from([0, 3, 0xFFFF]),
    form=st.sampled_from(["explicit", "implicit", "big"]),
)


@settings(max_examples=MANY, deadline=None)
@given(st.lists(elements, max_size=12), st.sampled_from([EXPLICIT_LITTLE, DEFLATED, None]))
@example([element(0x00280010, b"UL", b"\xff\xff\xff\xff")], EXPLICIT_LITTLE)
def test_any_elements_in_any_order_never_raise(written: list[bytes], syntax: str | None) -> None:
    fits_the_table(read_header(dicom_file(b"".join(written), syntax=syntax)))


@settings(max_examples=MANY, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_prefix_never_raise(data: bytes) -> None:
    fits_the_table(read_header(bytes(128) + b"DICM" + data))
