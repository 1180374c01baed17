"""The table `dicom_instance`, declared once: one row a DICOM file, from its header.

The reader of headers, the cache's index, the Arrow schema and the data dictionary are all made from this declaration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

Kind = Literal["code", "text", "date", "time", "integer", "number", "numbers", "codes"]
_ARROW: Final[dict[Kind, pa.DataType]] = {
    "code": pa.string(),
    "text": pa.string(),
    "date": pa.date32(),
    "time": pa.string(),
    "integer": pa.int32(),
    "number": pa.float64(),
    "numbers": pa.list_(pa.float64()),
    "codes": pa.list_(pa.string()),
}


@dataclass(frozen=True)
class Attribute:
    """One column that comes from a DICOM attribute.

    Parameters
    ----------
    name : str
        The attribute's keyword in snake case.
    tag : int
        Group and element in one number.
    kind : Kind
        How its value is read.
    meaning : str
        What it says, in a few words.
    unit : str
        Of the value; empty where there is none.
    """

    name: str
    tag: int
    kind: Kind
    meaning: str
    unit: str = ""

    @property
    def is_list(self) -> bool:
        """Whether a cell holds a list: empty, never null, when the attribute is absent."""
        return self.kind in ("numbers", "codes")

    def field(self) -> pa.Field:
        """Return the Arrow field, with the tag, the meaning and the unit in its metadata."""
        tag = f"({self.tag >> 16:04X},{self.tag & 0xFFFF:04X})"
        return pa.field(self.name, _ARROW[self.kind], metadata=_metadata(self.meaning, self.unit, dicom=tag))


def _metadata(meaning: str, unit: str = "", **more: str) -> dict[str, str]:
    return {"meaning": meaning, "unit": unit, **more}


def _own(name: str, kind: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata=_metadata(meaning, unit))


# fmt: off
STUDY_UID = Attribute("study_uid", 0x0020_000D, "code", "Study Instance UID, without urn:oid:")
SERIES_UID = Attribute("series_uid", 0x0020_000E, "code", "Series Instance UID")
INSTANCE_UID = Attribute("instance_uid", 0x0008_0018, "code", "SOP Instance UID; one a file")
KEYS: Final = (STUDY_UID, SERIES_UID, INSTANCE_UID)

ATTRIBUTES: Final = (
    Attribute("sop_class_uid", 0x0008_0016, "code", "SOP Class UID: what kind of object this is"),
    Attribute("transfer_syntax_uid", 0x0002_0010, "code", "Transfer Syntax UID: how the file is encoded"),
    Attribute("modality", 0x0008_0060, "code", "Modality, such as CT or MR"),
    Attribute("patient_id_dicom", 0x0010_0020, "text", "Patient ID in the file, as the archive knows the person"),
    Attribute("patient_name", 0x0010_0010, "text", "Patient's Name in the file, family^given^middle^prefix^suffix"),
    Attribute("patient_birth_date", 0x0010_0030, "date", "Patient's Birth Date in the file"),
    Attribute("patient_sex", 0x0010_0040, "code", "Patient's Sex in the file: M, F or O"),
    Attribute("patient_age", 0x0010_1010, "code", "Patient's Age at the study, such as 045Y"),
    Attribute("accession_number", 0x0008_0050, "text", "Accession Number of the order"),
    Attribute("study_date", 0x0008_0020, "date", "Study Date, local to the scanner"),
    Attribute("study_time", 0x0008_0030, "time", "Study Time, local to the scanner, as hh:mm:ss and fraction"),
    Attribute("study_description", 0x0008_1030, "text", "Study Description"),
    Attribute("series_number", 0x0020_0011, "integer", "Series Number"),
    Attribute("series_description", 0x0008_103E, "text", "Series Description"),
    Attribute("instance_number", 0x0020_0013, "integer", "Instance Number"),
    Attribute("body_part_examined", 0x0018_0015, "code", "Body Part Examined"),
    Attribute("image_type", 0x0008_0008, "codes", "Image Type, such as ORIGINAL, PRIMARY, AXIAL"),
    Attribute("manufacturer", 0x0008_0070, "text", "Manufacturer of the device"),
    Attribute("manufacturer_model_name", 0x0008_1090, "text", "Manufacturer's Model Name"),
    Attribute("rows", 0x0028_0010, "integer", "Rows of one frame", "px"),
    Attribute("columns", 0x0028_0011, "integer", "Columns of one frame", "px"),
    Attribute("number_of_frames", 0x0028_0008, "integer", "Number of Frames; null in single-frame images", "1"),
    Attribute("samples_per_pixel", 0x0028_0002, "integer", "Samples per Pixel: 1 is grey, 3 is colour", "1"),
    Attribute("photometric_interpretation", 0x0028_0004, "code", "Photometric Interpretation, such as MONOCHROME2"),
    Attribute("bits_allocated", 0x0028_0100, "integer", "Bits Allocated for one sample", "bit"),
    Attribute("bits_stored", 0x0028_0101, "integer", "Bits Stored of one sample", "bit"),
    Attribute("pixel_spacing", 0x0028_0030, "numbers", "Pixel Spacing: between rows, between columns", "mm"),
    Attribute("slice_thickness", 0x0018_0050, "number", "Slice Thickness", "mm"),
    Attribute("spacing_between_slices", 0x0018_0088, "number", "Spacing Between Slices", "mm"),
    Attribute("image_position_patient", 0x0020_0032, "numbers", "Image Position (Patient): x, y, z", "mm"),
    Attribute("image_orientation_patient", 0x0020_0037, "numbers", "Image Orientation (Patient): row, column", "1"),
    Attribute("window_center", 0x0028_1050, "numbers", "Window Center, for rescaled values"),
    Attribute("window_width", 0x0028_1051, "numbers", "Window Width, for rescaled values"),
    Attribute("rescale_intercept", 0x0028_1052, "number", "Rescale Intercept"),
    Attribute("rescale_slope", 0x0028_1053, "number", "Rescale Slope"),
)
# fmt: on

SPECIFIC_CHARACTER_SET: Final = 0x0008_0005
META_INSTANCE_UID: Final = 0x0002_0003
LAST_TAG: Final = max(attribute.tag for attribute in ATTRIBUTES)
WANTED: Final = frozenset({SPECIFIC_CHARACTER_SET, META_INSTANCE_UID, *(a.tag for a in (*KEYS, *ATTRIBUTES))})


def instance_schema() -> pa.Schema:
    """Return the Arrow schema of table `dicom_instance`: one row a file, key (source, patient_id, path).

    Every field says its `meaning` and `unit` in its metadata, and the attribute's tag as `dicom` when it has one.
    """
    return pa.schema(
        [
            _own("source", pa.string(), "FHIR base URL of the server that named the study"),
            _own("participant_id", pa.string(), "the research study's own pseudonym of the participant"),
            _own("patient_id", pa.string(), "FHIR id of the patient whose study this is"),
            *(attribute.field() for attribute in (*KEYS, *ATTRIBUTES)),
            _own("bytes", pa.int64(), "size of the file", "byte"),
            _own("sha256", pa.string(), "SHA-256 of the file, in hexadecimal digits"),
            _own("path", pa.string(), "path of the file, relative to the dataset"),
            _own("parse_issues", pa.list_(pa.string()), "what could not be read of the header, one entry each"),
        ]
    )
