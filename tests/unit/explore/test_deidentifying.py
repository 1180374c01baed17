"""De-identified copies: nothing of a person is left in them, pixels and geometry are, originals stay as they are."""

from __future__ import annotations

import hashlib
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from s4s_lab.dicom import DicomCache
from s4s_lab.dicom.deposit import deposit
from s4s_lab.dicom.index import StudyKey
from s4s_lab.errors import DatasetError, S4SWarning, UsageError
from s4s_lab.explore import export
from s4s_lab.explore.deidentifying import copy_images
from s4s_lab.lake import Dataset, open_dataset
from tests.unit.dicom.samples import DEFLATED, UNDEFINED, dicom_file, element, identity

SOURCE = "https://ehr.example/fhir"
SECRET = "Mustermann"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path / "data")


def told(name: str) -> pydicom.FileDataset:
    """A file of pydicom's that says who the patient is in every place where one can."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    data_set = pydicom.dcmread(path)
    data_set.PatientName = data_set.PatientComments = data_set.OperatorsName = data_set.StudyDescription = SECRET
    data_set.PatientID, data_set.PatientBirthDate, data_set.AccessionNumber = f"{SECRET}-1", "19551231", SECRET
    data_set.private_block(0x0009, SECRET, create=True).add_new(1, "LO", SECRET)
    nested = pydicom.Dataset()
    nested.PatientName, nested.ReferencedSOPInstanceUID = SECRET, data_set.SOPInstanceUID
    # Tags of even groups that the standard does not define.
    data_set.add_new(0x00221234, "LO", SECRET)
    nested.add_new(0x00400FFA, "LO", SECRET)
    nested.RequestAttributesSequence = [pydicom.Dataset()]
    nested.RequestAttributesSequence[0].ScheduledProcedureStepDescription = SECRET
    # A sequence that the profile itself keeps.
    data_set.SharedFunctionalGroupsSequence = [nested]
    data_set.preamble = SECRET.encode().ljust(128)
    data_set.file_meta.SourceApplicationEntityTitle = SECRET
    return data_set


def receive(data: Dataset, *data_sets: pydicom.FileDataset) -> dict[str, bytes]:
    """Put files into the cache as a retrieval does; their bytes by instance."""
    contents = {}
    key = StudyKey("archive", str(data_sets[0].StudyInstanceUID), SOURCE, "p", "S-1")
    with deposit(data.images.root, data.images.index, key) as incoming:
        for data_set in data_sets:
            path = data.path() / "file"
            data_set.save_as(path)
            contents[str(data_set.SOPInstanceUID)] = content = path.read_bytes()
            path.unlink()
            incoming.begin_part({})
            incoming.part_data(memoryview(content))
            incoming.end_part()
    return contents


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm"])
def test_a_copy_shows_the_image_and_nobody(data: Dataset, tmp_path: Path, name: str) -> None:
    original = told(name)
    contents = receive(data, original)
    export(data, tmp_path / "out", tables=[], images=True)
    (path,) = (tmp_path / "out" / "images").rglob("*.dcm")
    copy = pydicom.dcmread(path)
    for text in (SECRET, "19551231", original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID):
        assert text.encode() not in path.read_bytes(), text
    assert (copy.PatientID, str(copy.PatientName), copy.PatientIdentityRemoved) == ("S-1", "S-1", "YES")
    assert copy.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert path.parts[-3:] == (copy.StudyInstanceUID, copy.SeriesInstanceUID, f"{copy.SOPInstanceUID}.dcm")
    assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
    assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert copy.PixelData == original.PixelData
    assert np.array_equal(copy.get("PixelSpacing") or [], original.get("PixelSpacing") or [])
    (kept,) = data.images.root.rglob("*.dcm")
    assert kept.read_bytes() == contents[str(original.SOPInstanceUID)]


def test_what_the_documentation_says_of_copies_is_so(data: Dataset, tmp_path: Path) -> None:
    original = told("CT_small.dcm")
    original.StudyDate, original.SeriesDate, original.AcquisitionTime = "20040119", "20040125", "101010"
    original.PatientSex, original.PatientAge, original.EthnicGroup = "F", "060Y", "x"
    original.InstitutionName, original.DeviceSerialNumber, original.ProtocolName = "General", "42", "Head"
    original.SoftwareVersions, original.BodyPartExamined = "7.1", "HEAD"
    original.add_new(0x60000022, "LO", "of the overlay")
    original.add_new(0x60003000, "OW", bytes(8))
    receive(data, original)
    export(data, tmp_path / "out", tables=[], images=True)
    (path,) = (tmp_path / "out" / "images").rglob("*.dcm")
    copy = pydicom.dcmread(path)
    assert copy.PixelData == original.PixelData
    assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert not [tag for tag in copy.keys() if tag.is_private]  # noqa: SIM118  a data set yields elements
    assert {copy.StudyDate, copy.SeriesDate, copy.PatientBirthDate} == {"00010101"}
    assert float(copy.AcquisitionTime) == 0
    assert (copy.PatientName, copy.PatientID, copy.PatientSex) == ("S-1", "S-1", "")
    assert not {"PatientAge", "EthnicGroup", "StudyDescription", "PatientComments"} & set(copy.dir())
    assert {copy.InstitutionName, copy.DeviceSerialNumber, copy.ProtocolName} == {"ANONYMIZED"}
    stays = (
        "Manufacturer SoftwareVersions BodyPartExamined KVP SOPClassUID SeriesNumber InstanceNumber PixelSpacing"
        " ImagePositionPatient ImageOrientationPatient"
    )
    for keyword in stays.split():
        assert (keyword, copy[keyword].value) == (keyword, original[keyword].value)
    assert (0x60003000 in copy, copy[0x60000022].value) == (False, "of the overlay")
    anew = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    assert not {copy[keyword].value for keyword in anew} & {original[keyword].value for keyword in anew}


def test_files_of_one_study_stay_together_and_no_two_exports_fit_each_other(data: Dataset, tmp_path: Path) -> None:
    first, second = told("CT_small.dcm"), told("CT_small.dcm")
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    receive(data, first, second)
    studies = []
    for name in ("one", "two"):
        report = export(data, tmp_path / name, tables=[], images=True)
        listed = pd.read_csv(tmp_path / name / "images.csv", dtype=str)
        assert report.iloc[-1]["rows"] == len(listed) == listed["instance_uid"].nunique() == 2
        assert listed["series_uid"].nunique() == 1
        for row in listed.itertuples():
            assert hashlib.sha256((tmp_path / name / str(row.path)).read_bytes()).hexdigest() == row.sha256
        studies += list(listed["study_uid"].unique())
    assert len(set(studies)) == 2


@pytest.mark.parametrize("said", ["YES", "yes", "Y", " Yes", ["NO", "YES"], "MAYBE"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_file_with_text_in_its_pixels_has_no_copy_and_that_is_said(
    data: Dataset, tmp_path: Path, said: str | list[str]
) -> None:
    burnt, clean = told("CT_small.dcm"), told("CT_small.dcm")
    burnt.BurnedInAnnotation, clean.BurnedInAnnotation = said, "NO"
    clean.SOPInstanceUID = clean.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    receive(data, burnt, clean)
    with pytest.warns(S4SWarning, match=r"1 image file has no copy. It says that text is burnt into its pixels"):
        export(data, tmp_path / "out", tables=[], images=True)
    assert len(list((tmp_path / "out" / "images").rglob("*.dcm"))) == 1


def nested(depth: int) -> bytes:
    """Sequences within sequences, each of undefined length (PS3.5, section 7.5)."""
    begins = element(0x0040A730, b"SQ", b"", length=UNDEFINED) + struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
    ends = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    return begins * depth + ends * depth


def damaged() -> bytes:
    """A deflated file whose deflation is broken in its middle."""
    content = bytearray(dicom_file(identity("1.9") + element(0x00204000, b"LT", "text " * 200), syntax=DEFLATED))
    content[-25:-15] = b"\xff" * 10
    return bytes(content)


def a_bomb() -> bytes:
    """A deflated file of 200 KiB that is 200 MiB of pixels."""
    return dicom_file(identity("1.9") + element(0x7FE00010, b"OB", bytes(200 << 20)), syntax=DEFLATED)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dicom_file(identity("1.9") + nested(3000)), "RecursionError"),
        (damaged(), "error"),
        (a_bomb(), "It inflates to more than is read at once"),
        (b"", "ValueError"),
        (b"no file of DICOM's", "InvalidDicomError"),
    ],
    ids=["nested", "damaged", "bomb", "empty", "none"],
)
def test_an_export_goes_on_over_a_file_that_cannot_be_copied(tmp_path: Path, content: bytes, reason: str) -> None:
    cache = DicomCache(tmp_path / "dicom")
    cache.root.mkdir()
    (cache.root / "broken.dcm").write_bytes(content)
    told("CT_small.dcm").save_as(cache.root / "good.dcm")
    rows = [{"path": f"dicom/{name}.dcm", "participant_id": "S-1"} for name in ("broken", "good")]
    tracemalloc.start()
    made, left_out = copy_images(rows, cache, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert (len(made), left_out.total()) == (1, 1)
    assert reason in next(iter(left_out))


def test_copies_never_join_those_of_an_earlier_export(data: Dataset, tmp_path: Path) -> None:
    receive(data, told("CT_small.dcm"))
    export(data, tmp_path / "out", tables=[], images=True)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"images holds files already\. Remove it"):
        export(data, tmp_path / "out", tables=[], images=True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    export(data, tmp_path / "out", tables=[])


def test_without_the_library_it_says_what_to_install(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dicomanonymizer", None)
    with pytest.raises(UsageError, match=r"pip install 's4s-lab\[deid\]'"):
        export(data, tmp_path / "out", tables=[], images=True)


def test_images_behind_a_link_are_neither_copied_nor_read(data: Dataset, tmp_path: Path) -> None:
    receive(data, told("CT_small.dcm"))
    (place,) = (data.path() / "dicom").rglob("*.dcm")
    series_uid = place.parent.name
    place.parent.rename(tmp_path / "elsewhere")
    place.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(S4SWarning, match=f"1 image file has no copy. .*{series_uid} leads out of the image cache"):
        export(data, tmp_path / "out", tables=[], images=True)
    assert not list((tmp_path / "out").rglob("*.dcm"))
    with pytest.raises(DatasetError, match="leads out of the image cache"):
        data.slices(series_uid)
