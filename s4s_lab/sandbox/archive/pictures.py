"""DICOM files of the invented examinations, made when they are asked for."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from s4s_lab.sandbox.archive.people import Exam, Person, digest, uid
from s4s_lab.sandbox.archive.protocols import PROTOCOLS, SeriesProtocol
from s4s_lab.sandbox.archive.store import ImageStudy, Instance
from s4s_lab.sandbox.phantoms import planar
from s4s_lab.sandbox.phantoms.fields import Field
from s4s_lab.sandbox.phantoms.head import FIELD_MM as HEAD_MM
from s4s_lab.sandbox.phantoms.head import Head, head_slices
from s4s_lab.sandbox.phantoms.trunk import FIELD_MM as TRUNK_MM
from s4s_lab.sandbox.phantoms.trunk import Trunk, radiograph, trunk_slices

IMPLEMENTATION_UID = UID("2.25.329800735698586629295641978511506172918")
# MR echo and repetition times [ms] by sequence.
_SEQUENCES = {"T1": ("SE", 14, 520), "T2": ("SE", 98, 4200), "FLAIR": ("IR", 120, 9000)}


def person_seed(person: Person) -> int:
    """Return the seed of a person's anatomy: the same in every examination.

    Parameters
    ----------
    person : Person
        Who is examined.
    """
    return int.from_bytes(digest(person.mrn)[:4])


def _pixels(exam: Exam, series: SeriesProtocol) -> list[Field]:
    """Return the images of a series in physical units."""
    kind, _, contrast = series.picture.partition(" ")
    seed, heights, size = person_seed(exam.person), list(series.heights_mm), series.rows
    shape = (series.rows, series.columns)
    match kind:
        case "head":
            return list(head_slices(Head(seed, exam.lesion_mm), contrast, heights, size))
        case "chest" | "abdomen":
            return list(trunk_slices(Trunk(seed, exam.lesion_mm), series.picture, heights, size))
        case "radiograph":
            return [radiograph(Trunk(seed, exam.lesion_mm), view, size) for view in series.views]
        case "ultrasound":
            return [
                planar.ultrasound(seed + number, view.split()[0], size, cyst_mm=exam.lesion_mm)
                for number, view in enumerate(series.views)
            ]
        case "mammogram":
            sides = [(view[0], view.split()[1]) for view in series.views]
            return [
                planar.mammogram(seed, side, view, shape, lesion_mm=exam.lesion_mm if side == "L" else 0)
                for side, view in sides
            ]
        case _:
            return [planar.bone_scan(seed, view, shape, hot=exam.lesion_mm > 0) for view in series.views]


def _study_level(exam: Exam) -> Dataset:
    """Return the attributes that every file of an examination shares."""
    person, protocol = exam.person, PROTOCOLS[exam.protocol]
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = protocol.sop_class_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = exam.started.strftime(
        "%Y%m%d"
    )
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = exam.started.strftime("%H%M%S")
    dataset.AccessionNumber = exam.accession
    dataset.Modality = protocol.modality
    dataset.Manufacturer = "S4S Lab sandbox"
    dataset.ManufacturerModelName = "Phantom"
    dataset.InstitutionName = "Marlow Falls General Hospital"
    dataset.ReferringPhysicianName = f"{exam.doctor}^^^Dr."
    dataset.StudyDescription = protocol.title
    dataset.PatientName = f"{person.family}^{person.given}"
    dataset.PatientID = person.mrn
    dataset.PatientBirthDate = person.birth_date.strftime("%Y%m%d")
    dataset.PatientSex = {"female": "F", "male": "M"}.get(person.gender, "O")
    dataset.BodyPartExamined = protocol.body_part
    dataset.StudyInstanceUID = exam.study_uid
    dataset.StudyID = str(exam.number + 1)
    dataset.TimezoneOffsetFromUTC = exam.started.strftime("%z")
    return dataset


def _geometry(dataset: Dataset, series: SeriesProtocol, number: int) -> None:
    """Place a slice in the patient: to the left, backward, upward [mm]."""
    field_mm = HEAD_MM if series.picture.startswith("head") else TRUNK_MM
    spacing = field_mm / series.rows
    corner = spacing / 2 - field_mm / 2
    step = series.heights_mm[1] - series.heights_mm[0]
    dataset.PixelSpacing = [round(spacing, 6)] * 2
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [round(corner, 6), round(corner, 6), series.heights_mm[number]]
    dataset.SliceLocation = series.heights_mm[number]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = step
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""


def _modality_level(dataset: Dataset, series: SeriesProtocol, number: int) -> None:
    """Add what a modality's images carry."""
    view = series.views[number] if series.views else ""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if series.heights_mm else ""]
    match dataset.Modality:
        case "CT":
            dataset.KVP, dataset.ConvolutionKernel = 120, "STANDARD"
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
        case "MR":
            scan, echo, repetition = _SEQUENCES[series.picture.split()[1]]
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
            dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = scan, "NONE", ""
            dataset.MRAcquisitionType, dataset.MagneticFieldStrength = "2D", 1.5
            dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = echo, repetition, 1
            if scan == "IR":
                dataset.InversionTime = 2500
        case "CR":
            dataset.ImageType = ["DERIVED", "PRIMARY"]
            dataset.ViewPosition, dataset.PlateType = view, ""
            dataset.ImagerPixelSpacing = [round(TRUNK_MM / series.rows, 6)] * 2
        case "MG":
            _mammography(dataset, series, view)
        case "US":
            dataset.ImageType = [
                "ORIGINAL",
                "PRIMARY",
                "ABDOMINAL" if series.description != "Left breast" else "SMALL PARTS",
            ]
            dataset.UltrasoundColorDataPresent = 0
            dataset.LossyImageCompression = "00"
            dataset.SequenceOfUltrasoundRegions = Sequence([_region(series.rows)])
        case _:
            _gamma_camera(dataset, series, view)


def _mammography(dataset: Dataset, series: SeriesProtocol, view: str) -> None:
    side, projection = view.split()
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        ("399162004", "SCT", "cranio-caudal") if projection == "CC" else ("399368009", "SCT", "medio-lateral oblique")
    )
    code.ViewModifierCodeSequence = Sequence()
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.ViewCodeSequence = Sequence([code])
    dataset.ImageLaterality, dataset.ViewPosition = side, projection
    dataset.PatientOrientation = ["A", "R"] if side == "R" else ["P", "L"]
    dataset.PresentationIntentType, dataset.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.ImagerPixelSpacing = [planar.BREAST_MM[0] / series.rows, round(planar.BREAST_MM[1] / series.columns, 6)]
    dataset.OrganExposed, dataset.BurnedInAnnotation, dataset.LossyImageCompression = "BREAST", "NO", "00"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"


def _region(rows: int) -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1 = region.RegionLocationMaxY1 = rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    # In cm, as the units say.
    region.PhysicalDeltaX = region.PhysicalDeltaY = planar.SECTOR_MM / rows / 10
    return region


def _gamma_camera(dataset: Dataset, series: SeriesProtocol, view: str) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    dataset.NumberOfFrames = 1
    dataset.FrameIncrementPointer = [0x00540010, 0x00540020]
    dataset.EnergyWindowVector, dataset.NumberOfEnergyWindows = 1, 1
    dataset.DetectorVector, dataset.NumberOfDetectors = 1, 1
    dataset.PixelSpacing = [planar.BODY_MM[0] / series.rows, planar.BODY_MM[1] / series.columns]
    dataset.SeriesDescription = series.description
    dataset.ImageComments = view


def _pixel_level(dataset: Dataset, series: SeriesProtocol, image: Field) -> None:
    """Store an image as its modality does: 8 bits for ultrasound, 12 of 16 for the others."""
    bits = 8 if dataset.Modality == "US" else 12
    stored = np.rint(image) - (dataset.get("RescaleIntercept", 0) if dataset.Modality == "CT" else 0)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8, 8, 7) if bits == 8 else (16, 12, 11)
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = series.window
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    dataset.PixelData = np.clip(stored, 0, 2**bits - 1).astype(kind).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def instance_uids(exam: Exam, number: int) -> tuple[str, list[str]]:
    """Return the UID of a series, and those of its instances.

    Parameters
    ----------
    exam : Exam
        The examination.
    number : int
        Which series, from 0.
    """
    series_uid = uid(exam.study_uid, "series", number)
    count = PROTOCOLS[exam.protocol].series[number].count
    return series_uid, [uid(series_uid, "instance", index) for index in range(count)]


@lru_cache(maxsize=64)
def series_files(exam: Exam, number: int) -> tuple[bytes, ...]:
    """Return the files of one series; the same bytes every time.

    Parameters
    ----------
    exam : Exam
        The examination.
    number : int
        Which series, from 0.
    """
    series = PROTOCOLS[exam.protocol].series[number]
    series_uid, uids = instance_uids(exam, number)
    files = []
    for index, image in enumerate(_pixels(exam, series)):
        dataset = _study_level(exam)
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.SeriesDescription = (
            series_uid,
            number + 1,
            series.description,
        )
        dataset.FrameOfReferenceUID = uid(exam.study_uid, "frame")
        dataset.SOPInstanceUID, dataset.InstanceNumber = uids[index], index + 1
        _modality_level(dataset, series, index)
        if series.heights_mm:
            _geometry(dataset, series, index)
        _pixel_level(dataset, series, image)
        files.append(_file(dataset))
    return tuple(files)


def transfer_syntax_of(exam: Exam) -> str:
    """Return the transfer syntax that an examination is stored in.

    Parameters
    ----------
    exam : Exam
        The examination; ultrasound comes compressed, as it often does.
    """
    return str(RLELossless if PROTOCOLS[exam.protocol].modality == "US" else ExplicitVRLittleEndian)


def _file(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "S4S_LAB_SANDBOX"
    if dataset.Modality == "US":
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, little_endian=True, implicit_vr=False)
    return buffer.getvalue()


def exam_images(exam: Exam) -> ImageStudy:
    """Return the images of an examination; nothing is drawn before it is asked for.

    Parameters
    ----------
    exam : Exam
        The examination.
    """

    def opener(number: int, index: int) -> Any:
        def opened() -> BinaryIO:
            return io.BytesIO(series_files(exam, number)[index])

        return opened

    instances = []
    for number in range(len(PROTOCOLS[exam.protocol].series)):
        series_uid, uids = instance_uids(exam, number)
        for index, instance_uid in enumerate(uids):
            instances.append(Instance(series_uid, instance_uid, transfer_syntax_of(exam), opener(number, index)))
    return ImageStudy(exam.study_uid, exam.person.patient_id, tuple(instances))
