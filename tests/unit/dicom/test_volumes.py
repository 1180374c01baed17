"""Volumes: every voxel at its place in the patient, and a reason for every series that is no volume."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from s4s_lab.dicom import read_volume
from s4s_lab.errors import ImageError, NotAVolume
from tests.unit.dicom.samples import image_file

SERIES = "1.2.826.0.1.3680043.8.498.1"
AXIAL = np.array([1.0, 0, 0, 0, 1, 0])


def stack(folder: Path, places: list[float], **attributes: object) -> list[Path]:
    """Axial 4 × 4 slices at heights z [mm], each filled with its index; attributes by keyword, a tuple by index."""
    paths = []
    for index, z in enumerate(places):
        path = folder / f"{index}.dcm"
        path.write_bytes(image_file(f"1.2.{index + 1}", size=4, filler=index))
        data_set = dcmread(path)
        data_set.SeriesInstanceUID, data_set.Modality = SERIES, "CT"
        data_set.PixelSpacing, data_set.ImageOrientationPatient = [2.5, 0.5], AXIAL.tolist()
        data_set.ImagePositionPatient = [10, -20, z]
        for keyword, value in attributes.items():
            chosen = value[index] if isinstance(value, tuple) else value
            if chosen is None:
                if keyword in data_set:
                    del data_set[keyword]
            else:
                setattr(data_set, keyword, chosen)
        data_set.save_as(path)
        paths.append(path)
    return paths


def test_slices_become_an_array_in_spatial_order_with_spacing_and_origin(tmp_path: Path) -> None:
    volume = read_volume(stack(tmp_path, [6, 0, 3]))
    assert list(volume.array.shape) == [3, 4, 4]
    assert str(volume.array.dtype) == "float32"
    assert volume.array[:, 0, 0].tolist() == [1, 2, 0]
    assert list(volume.spacing) == [3, 2.5, 0.5]
    assert list(volume.origin) == [10, -20, 0]
    assert repr(volume) == "<Volume CT 3 × 4 × 4, 3 × 2.5 × 0.5 mm>"


def test_each_slice_has_its_own_rescale_and_the_unit_is_the_files(tmp_path: Path) -> None:
    paths = stack(tmp_path, [0, 1], Modality="PT", Units="BQML", RescaleSlope=(2, 10), RescaleIntercept=(0, 1))
    volume = read_volume(paths)
    assert (volume.array[:, 0, 0].tolist(), volume.unit) == ([0, 1 * 10 + 1], "BQML")


@pytest.mark.parametrize(
    ("attributes", "unit"),
    [
        ({"RescaleSlope": 1, "RescaleIntercept": -1024}, "HU"),
        ({"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}, ""),
        ({"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU", "Modality": "CT"}, "HU"),
        ({"RescaleSlope": 1, "RescaleIntercept": 0, "Modality": "MR"}, ""),
        ({}, ""),
    ],
)
def test_ct_is_in_hounsfield_units_where_it_is_rescaled(
    tmp_path: Path, attributes: dict[str, object], unit: str
) -> None:
    assert read_volume(stack(tmp_path, [0, 1], **attributes)).unit == unit


def rotation(quaternion: list[float]) -> npt.NDArray[np.float64]:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


turns = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1)


@given(turns, st.floats(0.3, 5), st.permutations(range(5)))
def test_the_affine_leads_every_slice_to_where_its_file_says(
    tmp_path_factory: pytest.TempPathFactory, turn: list[float], step: float, order: list[int]
) -> None:
    along, down, normal = rotation(turn).T
    positions = [np.round(np.array([1, 2, 3]) + normal * step * at, 6).tolist() for at in order]
    paths = stack(
        tmp_path_factory.mktemp("turned"), [0.0] * 5, ImagePositionPatient=tuple(positions),
        ImageOrientationPatient=np.round(np.concatenate([along, down]), 9).tolist(),
    )  # fmt: skip
    volume = read_volume(paths)
    assert volume.array[:, 0, 0].tolist() == [order.index(at) for at in range(5)]
    for index, row, column in product((0, 4), (0, 3), (0, 3)):
        # PS3.3, section C.7.6.2.1.1: row i lies i × row spacing along the second cosine, column j along the first.
        expected = np.array([1, 2, 3]) + normal * step * index + down * 2.5 * row + along * 0.5 * column
        assert (volume.affine @ [index, row, column, 1])[:3] == pytest.approx(expected, abs=1e-4)


def test_a_multi_frame_file_is_a_volume_of_its_frames(tmp_path: Path) -> None:
    (path,) = stack(
        tmp_path, [0], NumberOfFrames=3, PixelData=bytes([7] * 16 + [8] * 16 + [9] * 16), Modality="MR",
        ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None,
    )  # fmt: skip
    data_set = dcmread(path)
    frames = []
    for z in (4, 0, 2):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    measures, planes, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, planes.ImageOrientationPatient = [1, 1], AXIAL.tolist()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([planes])
    data_set.PerFrameFunctionalGroupsSequence, data_set.SharedFunctionalGroupsSequence = frames, [shared]
    data_set.save_as(path)
    volume = read_volume([path])
    assert (volume.array[:, 0, 0].tolist(), volume.spacing) == ([8, 9, 7], (2, 1, 1))


def test_one_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    assert read_volume(stack(tmp_path, [0], SliceThickness=5)).spacing == (5, 2.5, 0.5)


SAGITTAL = [0, 1, 0, 0, 0, -1]
REFUSED: dict[str, tuple[list[float], dict[str, object], str]] = {
    "a missing slice": ([0, 3, 6, 12, 15], {}, r"Between 2\.dcm and 3\.dcm lie 6 mm where 3 mm are usual"),
    "two at one place": ([0, 3, 3, 6], {}, r"2 slices or more share a place, such as 1\.dcm and 2\.dcm"),
    "a localizer": ([0, 1, 2], {"ImageOrientationPatient": (AXIAL.tolist(), AXIAL.tolist(), SAGITTAL)},
                    r"2\.dcm is not parallel to 0\.dcm"),
    "another spacing": ([0, 1], {"PixelSpacing": ([1, 1], [1, 2])}, "differ in Pixel Spacing"),
    "another series": ([0, 1], {"SeriesInstanceUID": ("1.2.3", "1.2.4")}, "do not share one series: 1.2.3, 1.2.4"),
    "another unit": ([0, 1], {"Modality": "PT", "Units": ("BQML", "CNTS")}, "do not share one unit: BQML, CNTS"),
    "another system of coordinates": ([0, 1], {"FrameOfReferenceUID": ("1.2.5", "1.2.6")},
                                      "do not share one Frame of Reference UID: 1.2.5, 1.2.6"),
    "a system that one does not name": ([0, 1], {"FrameOfReferenceUID": ("1.2.5", None)},
                                        "do not share one Frame of Reference UID: 1.2.5, none"),
    "another modality": ([0, 1], {"Modality": ("CT", "MR")}, "do not share one Modality: CT, MR"),
    "another sense of light": ([0, 1], {"PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2")},
                               "do not share one Photometric Interpretation: MONOCHROME1, MONOCHROME2"),
    "a palette": ([0, 1], {"PhotometricInterpretation": "PALETTE COLOR"}, r"0\.dcm is in colour \(PALETTE COLOR\)"),
    "steps that grow": ([*np.arange(0, 300, 3), *np.arange(300, 604, 3.03)], {},
                        r"100\.dcm lies 1\.5 mm from where 200 even steps of 3\.0\d+ mm would put it"),
    "a slight tilt over many": (
        [3.0 * at for at in range(100)], {"ImagePositionPatient": tuple([0, 0.02 * at, 3 * at] for at in range(100))},
        "drift by 2.0 mm"),
    "no place": ([0, 1], {"ImagePositionPatient": None}, "does not say where in the patient"),
    "no spacing": ([0, 1], {"PixelSpacing": None}, "does not say where in the patient"),
    "a spacing of zero": ([0, 1], {"PixelSpacing": [0, 1]}, "gives a Pixel Spacing of 0 × 1 mm"),
    "cosines askew": ([0, 1], {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no pair of perpendicular unit vectors"),
    "one thin slice": ([0], {}, "does not say how thick it is"),
    "colour": ([0, 1], {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "is in colour"),
    "too many frames": ([0], {"NumberOfFrames": 2**31 - 1}, "beyond what is read at once"),
    "a tilted gantry": ([0, 3, 6], {"ImagePositionPatient": ([0, 0, 0], [0, 1, 3], [0, 2, 6])}, "drift by 2.0 mm"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_volume_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    places, attributes, message = REFUSED[name]
    places = [float(place) for place in places]
    with pytest.raises(NotAVolume, match=message):
        read_volume(stack(tmp_path, places, **attributes))


def test_frames_of_one_file_in_other_units_are_no_volume(tmp_path: Path) -> None:
    (path,) = stack(tmp_path, [0], NumberOfFrames=2, PixelData=bytes(32), Modality="MR", SliceThickness=1)
    data_set = dcmread(path)
    frames = []
    for z, unit in ((0, "HU"), (1, "mT")):
        place, values, frame = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 0, unit
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = Sequence([place]), Sequence([values])
        frames.append(frame)
    data_set.PerFrameFunctionalGroupsSequence = frames
    data_set.save_as(path)
    with pytest.raises(NotAVolume, match="do not share one unit: HU, mT"):
        read_volume([path])


def test_places_that_were_rounded_are_even(tmp_path: Path) -> None:
    # A step of 5/7 mm, written with three digits: each gap is 0.714 or 0.715 mm.
    volume = read_volume(stack(tmp_path, [round(at * 5 / 7, 3) for at in range(60)]))
    assert volume.spacing[0] == pytest.approx(5 / 7, abs=1e-4)


def test_slices_of_other_sizes_are_no_volume(tmp_path: Path) -> None:
    small, large = stack(tmp_path, [0, 1])
    data_set = dcmread(large)
    data_set.Rows, data_set.Columns, data_set.PixelData = 2, 2, b"\0" * 4
    data_set.save_as(large)
    with pytest.raises(NotAVolume, match="differ in size: 2 × 2 against 4 × 4 pixels"):
        read_volume([small, large])


def test_a_number_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    (path,) = stack(tmp_path, [0], SliceThickness=5)
    path.write_bytes(path.read_bytes().replace(b"DS\4\x005.0 ", b"DS\4\0five"))
    with pytest.raises(ImageError, match=r"0\.dcm: its pixels cannot be read"):
        read_volume([path])


def test_a_series_without_files_is_no_volume() -> None:
    with pytest.raises(NotAVolume, match="without files"):
        read_volume([])


def test_a_file_without_pixels_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="has no pixels: it is SR"):
        read_volume(stack(tmp_path, [0], PixelData=None, Modality="SR"))
