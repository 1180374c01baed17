"""DICOM files of the invented examinations, made when they are asked for."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from s4s_lab.sandbox.archive.modalities import describe
from s4s_lab.sandbox.archive.people import Exam, Person, digest, uid
from s4s_lab.sandbox.archive.protocols import PROTOCOLS, SeriesProtocol
from s4s_lab.sandbox.archive.store import ImageStudy, Instance
from s4s_lab.sandbox.phantoms import planar
from s4s_lab.sandbox.phantoms.fields import Field
from s4s_lab.sandbox.phantoms.head import Head, head_slices
from s4s_lab.sandbox.phantoms.trunk import Trunk, radiograph, trunk_slices

IMPLEMENTATION_UID = UID("2.25.329800735698586629295641978511506172918")


def person_seed(person: Person) -> int:
    """Return the seed of a person's anatomy: the same in every examination.

    Parameters
    ----------
    person : Person
        Who is examined.
    """
    return int.from_bytes(digest(person.mrn)[:4])


def _slices(exam: Exam, series: SeriesProtocol) -> list[Field]:
    kind, _, contrast = series.picture.partition(" ")
    seed, heights = person_seed(exam.person), list(series.heights_mm)
    if kind == "head":
        return list(head_slices(Head(seed, exam.lesion_mm), contrast, heights, series.rows))
    return list(trunk_slices(Trunk(seed, exam.lesion_mm), series.picture, heights, series.rows))


def _view(exam: Exam, series: SeriesProtocol, number: int) -> Field:
    seed, view, shape = person_seed(exam.person), series.views[number], (series.rows, series.columns)
    match series.picture:
        case "radiograph":
            return radiograph(Trunk(seed, exam.lesion_mm), view, series.rows)
        case "ultrasound":
            return planar.ultrasound(seed + number, view.split()[0], series.rows, cyst_mm=exam.lesion_mm)
        case "mammogram":
            side, projection = view.split()
            return planar.mammogram(seed, side, projection, shape, lesion_mm=exam.lesion_mm if side == "L" else 0)
        case _:
            return planar.bone_scan(seed, view, shape, hot=exam.lesion_mm > 0)


def _images(exam: Exam, series: SeriesProtocol) -> list[Field]:
    """Return the images of a series in physical units."""
    if series.heights_mm:
        return _slices(exam, series)
    return [_view(exam, series, number) for number in range(series.count)]


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


def _pixel_level(dataset: Dataset, series: SeriesProtocol, image: Field) -> None:
    """Store an image as its modality does: 8 bits for ultrasound, 16 for counts, 12 of 16 for the others."""
    bits = {"US": 8, "NM": 16}.get(dataset.Modality, 12)
    stored = np.rint(image) - (dataset.get("RescaleIntercept", 0) if dataset.Modality == "CT" else 0)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if bits == 8 else 16, bits, bits - 1
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
    for index, image in enumerate(_images(exam, series)):
        dataset = _study_level(exam)
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.SeriesDescription = (
            series_uid,
            number + 1,
            series.description,
        )
        dataset.SOPInstanceUID, dataset.InstanceNumber = uids[index], index + 1
        describe(dataset, series, index)
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
