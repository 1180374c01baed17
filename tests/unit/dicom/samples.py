"""DICOM files written byte by byte after PS3.5, section 7.1.2 and PS3.10, section 7.1."""

from __future__ import annotations

import struct
import zlib

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
LONG_FORM = (b"OB", b"OW", b"SQ", b"UN", b"UT")
UNDEFINED = 0xFFFFFFFF

STUDY, SERIES = "1.2.826.0.1.1", "1.2.826.0.1.2"


def element(tag: int, vr: bytes, value: bytes | str, *, length: int | None = None, form: str = "explicit") -> bytes:
    """One data element; `form` is explicit, implicit or big."""
    raw = value.encode("latin-1") if isinstance(value, str) else value
    raw += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(raw) % 2)
    size = len(raw) if length is None else length
    group, number = tag >> 16, tag & 0xFFFF
    if form == "implicit":
        return struct.pack("<HHL", group, number, size) + raw
    order = ">" if form == "big" else "<"
    if vr in LONG_FORM:
        return struct.pack(order + "HH2sHL", group, number, vr, 0, size) + raw
    return struct.pack(order + "HH2sH", group, number, vr, size) + raw


def item(content: bytes, *, length: int | None = None) -> bytes:
    """One item of a sequence, with its end when its length is undefined."""
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) if length == UNDEFINED else b""
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content) if length is None else length) + content + end


SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def dicom_file(data_set: bytes, *, syntax: str | None = EXPLICIT_LITTLE, preamble: bytes = bytes(128)) -> bytes:
    """A DICOM file around a data set; without a transfer syntax when it is None."""
    meta = element(0x00020010, b"UI", syntax) if syntax else b""
    group_length = element(0x00020000, b"UL", struct.pack("<L", len(meta)))
    if syntax == DEFLATED:
        squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data_set = squeeze.compress(data_set) + squeeze.flush()
    return preamble + b"DICM" + group_length + meta + data_set


def identity(instance: str, *, study: str = STUDY, series: str = SERIES, form: str = "explicit") -> bytes:
    """The elements that say which instance this is, in order of their tags."""
    return b"".join(
        element(tag, b"UI", uid, form=form)
        for tag, uid in ((0x00080016, "1.2.840.10008.5.1.4.1.1.7"), (0x00080018, instance))
    ) + b"".join(
        element(tag, b"UI", uid, form=form)
        for tag, uid in ((0x0020000D, study), (0x0020000E, series))
        if uid is not None
    )


def image_file(
    instance: str, *, study: str = STUDY, series: str = SERIES, size: int = 64, filler: int = 0, number: int = 1
) -> bytes:
    """A small grey image of size × size pixels of one value."""
    numbers = [(0x00280002, 1), (0x00280010, size), (0x00280011, size), (0x00280100, 8), (0x00280101, 8)]
    pixel_module = [element(tag, b"US", struct.pack("<H", value)) for tag, value in numbers]
    pixel_module.insert(1, element(0x00280004, b"CS", "MONOCHROME2"))
    pixel_module += [element(0x00280102, b"US", b"\x07\0"), element(0x00280103, b"US", b"\0\0")]
    return dicom_file(
        identity(instance, study=study, series=series)
        + element(0x00200013, b"IS", str(number))
        + b"".join(pixel_module)
        + element(0x7FE00010, b"OB", bytes([filler]) * size * size)
    )
