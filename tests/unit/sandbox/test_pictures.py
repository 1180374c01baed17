"""The DICOM files of invented examinations: the same bytes every time, true to their headers, worth looking at."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from functools import cache

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from s4s_lab.sandbox.archive.people import Exam, story
from s4s_lab.sandbox.archive.pictures import exam_images, series_files
from s4s_lab.sandbox.archive.protocols import PROTOCOLS

EXAMS = {exam.protocol: exam for number in range(4) for exam in story(20, number)}
# What DICOM PS3.3 requires of each modality's images with a value (types 1 and 1C as they apply here).
REQUIRED = {
    "CT": "ImageType RescaleIntercept RescaleSlope KVP PixelSpacing ImageOrientationPatient ImagePositionPatient",
    "MR": "ScanningSequence SequenceVariant EchoTime RepetitionTime PixelSpacing ImageOrientationPatient",
    "CR": "ViewPosition PatientOrientation ImagerPixelSpacing",
    "MG": "PositionerType ImageLaterality OrganExposed ViewCodeSequence AnatomicRegionSequence PresentationIntentType",
    "US": "SequenceOfUltrasoundRegions LossyImageCompression ImageType",
    "NM": "NumberOfFrames FrameIncrementPointer EnergyWindowVector DetectorVector FrameOfReferenceUID",
}


@cache
def files(protocol: str) -> list[pydicom.FileDataset]:
    """Every file of an examination, read back."""
    instances = exam_images(EXAMS[protocol]).instances
    return [pydicom.dcmread(one.open()) for one in instances]


def physical(dataset: pydicom.FileDataset) -> NDArray[np.float64]:
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    pixels: NDArray[np.float64] = dataset.pixel_array * float(slope) + float(intercept)
    return pixels


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_is_what_its_study_says(protocol: str) -> None:
    exam, planned = EXAMS[protocol], PROTOCOLS[protocol]
    study = exam_images(exam)
    assert len(study.instances) == sum(one.count for one in planned.series)
    for instance, dataset in zip(study.instances, files(protocol), strict=True):
        assert dataset.SOPInstanceUID == instance.instance_uid == dataset.file_meta.MediaStorageSOPInstanceUID
        assert dataset.SeriesInstanceUID == instance.series_uid
        assert dataset.file_meta.TransferSyntaxUID == instance.transfer_syntax_uid
        assert (dataset.StudyInstanceUID, dataset.Modality) == (exam.study_uid, planned.modality)
        assert dataset.SOPClassUID == planned.sop_class_uid
        assert dataset.PatientID == exam.person.mrn
        assert str(dataset.PatientName) == f"{exam.person.family}^{exam.person.given}"
        assert dataset.StudyDate == exam.started.strftime("%Y%m%d")
        for keyword in REQUIRED[planned.modality].split():
            assert dataset.get(keyword) not in (None, "", []), keyword
    assert len({one.SOPInstanceUID for one in files(protocol)}) == len(study.instances)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_images_are_small_and_use_their_range(protocol: str) -> None:
    for dataset in files(protocol):
        pixels = dataset.pixel_array
        assert 64 <= min(pixels.shape) <= max(pixels.shape) <= 128
        assert pixels.max() < 2**dataset.BitsStored
        assert len(np.unique(pixels)) > 20
        centre, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
        shown = np.clip((physical(dataset) - centre) / width + 0.5, 0, 1)
        assert 0.03 < shown.mean() < 0.97
        assert shown.std() > 0.03


@pytest.mark.parametrize("protocol", [name for name, one in PROTOCOLS.items() if one.series[0].heights_mm])
def test_slices_lie_where_their_headers_say(protocol: str) -> None:
    for number, series in enumerate(PROTOCOLS[protocol].series, 1):
        slices = [one for one in files(protocol) if one.SeriesNumber == number]
        heights = [float(one.ImagePositionPatient[2]) for one in slices]
        assert heights == pytest.approx(list(series.heights_mm))
        assert np.diff(heights) == pytest.approx([float(slices[0].SpacingBetweenSlices)] * (len(slices) - 1))
        assert len({one.FrameOfReferenceUID for one in slices}) == 1
        for one in slices:
            spacing = float(one.PixelSpacing[0])
            assert one.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
            # The image is centred: its first pixel lies half the field and half a pixel from the middle.
            assert float(one.ImagePositionPatient[0]) == pytest.approx((1 - one.Columns) / 2 * spacing, abs=1e-3)


def test_a_ct_of_the_chest_has_air_bone_and_tissue_where_they_belong() -> None:
    middle = physical(files("CT chest")[8])
    assert middle[:6, :6].mean() < -950
    left_lung, right_lung, spine = middle[60:70, 85:90], middle[60:70, 38:43], middle[80:84, 62:66]
    assert left_lung.mean() < -600
    assert right_lung.mean() < -600
    assert spine.mean() > 150


def test_the_heart_is_on_the_left_and_the_liver_on_the_right() -> None:
    low = physical(files("CT chest")[4])
    assert (low[40:64, 66:90] > 0).mean() > (low[40:64, 38:62] > 0).mean() + 0.2
    belly = physical(files("CT abdomen")[13])
    assert (belly[40:80, 20:45] > 60).mean() > (belly[40:80, 83:108] > 60).mean() + 0.2


def test_t1_and_t2_show_water_and_white_matter_the_other_way_round() -> None:
    slices = {
        name: [one for one in files("MR head") if one.SeriesDescription == f"{name} axial"][7] for name in ("T1", "T2")
    }
    water = (slice(50, 58), slice(67, 71))
    white = (slice(60, 68), slice(76, 84))
    t1, t2 = physical(slices["T1"]), physical(slices["T2"])
    assert t1[water].min() < t1[white].mean()
    assert t2[water].max() > t2[white].mean()


def test_a_nodule_grows_from_year_to_year() -> None:
    nodules = [exam for exam in story(20, 2) if exam.protocol == "CT chest"]
    assert [exam.lesion_mm for exam in nodules] == sorted(exam.lesion_mm for exam in nodules)
    volumes = []
    for exam in nodules:
        stack = np.stack([physical(pydicom.dcmread(io.BytesIO(one))) for one in series_files(exam, 0)])
        volumes.append(int((stack[10:13, 58:76, 32:46] > -200).sum()))
    assert volumes == sorted(set(volumes))


def test_a_right_breast_mirrors_a_left_one() -> None:
    views = {f"{one.ImageLaterality} {one.ViewPosition}": one.pixel_array for one in files("MG screening")}
    assert set(views) == {"L CC", "R CC", "L MLO", "R MLO"}
    for projection in ("CC", "MLO"):
        left, right = views[f"L {projection}"], views[f"R {projection}"]
        assert left[:, :20].mean() > 2 * left[:, -20:].mean()
        assert right[:, -20:].mean() > 2 * right[:, :20].mean()


def digest_of(exam: Exam) -> str:
    found = hashlib.sha256()
    for instance in exam_images(exam).instances:
        found.update(instance.open().read())
    return found.hexdigest()


@pytest.mark.parametrize("protocol", ["US abdomen", "NM bone"])
def test_another_process_makes_the_same_bytes(protocol: str) -> None:
    code = (
        "import hashlib, sys\n"
        "from s4s_lab.sandbox.archive.people import story\n"
        "from s4s_lab.sandbox.archive.pictures import exam_images\n"
        "found = hashlib.sha256()\n"
        f"exams = {{exam.protocol: exam for number in range(4) for exam in story(20, number)}}\n"
        f"for one in exam_images(exams[{protocol!r}]).instances: found.update(one.open().read())\n"
        "sys.stdout.write(found.hexdigest())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == digest_of(EXAMS[protocol])
