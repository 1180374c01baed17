"""DICOM files of a folder, indexed by their headers and grouped into studies."""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from s4s_lab.sandbox.archive.fhirfiles import modified_at
from s4s_lab.values.uids import is_uid

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "PatientID", "PatientName",
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "TimezoneOffsetFromUTC", "AccessionNumber", "StudyID",
    "StudyDescription", "ReferringPhysicianName", "SeriesNumber", "SeriesDescription", "BodyPartExamined",
    "InstanceNumber", "SpecificCharacterSet",
]  # fmt: skip
# What pydicom raises on files that are something else, or broken.
_UNREADABLE = (
    InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError,
    struct.error, OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class DicomFile:
    """One DICOM file, by its header.

    Parameters
    ----------
    path : Path
        Where it lies.
    modified : datetime
        When the file was last changed.
    transfer_syntax_uid : str
        As the file says, or as it was found to be.
    header : dict
        Values by keyword, as text; empty where the header has none.
    """

    path: Path
    modified: datetime
    transfer_syntax_uid: str
    header: dict[str, str]

    def open(self) -> BinaryIO:
        """Open the file's bytes."""
        return self.path.open("rb")

    def number(self, keyword: str) -> int | None:
        """Return a whole number of the header, None when there is none.

        Parameters
        ----------
        keyword : str
            Such as `InstanceNumber`.
        """
        value = self.header[keyword]
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def _syntax(dataset: FileDataset) -> str:
    stated = str(dataset.file_meta.get("TransferSyntaxUID", "")) if hasattr(dataset, "file_meta") else ""
    if stated:
        return stated
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _read(path: Path) -> DicomFile | None:
    """Return what a file's header says; None when it has not the UIDs of an image."""
    try:
        # Forced, for files without a preamble: the UIDs tell whether it is one.
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        header = {keyword: _value(dataset, keyword) for keyword in _TAGS}
        syntax = _syntax(dataset)
    except _UNREADABLE:
        return None
    if not all(is_uid(header[name]) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
        return None
    return DicomFile(path, modified_at(path), syntax, header)


def _value(dataset: FileDataset, keyword: str) -> str:
    value: Any = dataset.get(keyword)
    return "" if value is None else str(value).strip("\0 ")


def read_dicom_files(folder: Path) -> tuple[list[DicomFile], int]:
    """Index every DICOM file below a folder.

    Parameters
    ----------
    folder : Path
        Where to look.

    Returns
    -------
    files : list of DicomFile
        In the order of the paths; of several with one SOP Instance UID the first.
    left_out : int
        Files that are none, cannot be read, or repeat an instance.
    """
    files: dict[str, DicomFile] = {}
    left_out = 0
    # Headers outside the standard are served as they are: what pydicom has to say about them helps nobody here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            read = _read(path)
            if read is None or read.header["SOPInstanceUID"] in files:
                left_out += 1
            else:
                files[read.header["SOPInstanceUID"]] = read
    return list(files.values()), left_out
