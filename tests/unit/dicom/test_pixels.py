"""Slices: values, order, and clear errors for what is no image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from s4s_lab.dicom import Slices, slices
from s4s_lab.dicom.pixels import Slice, decoded_frames
from s4s_lab.errors import ImageError
from tests.unit.dicom.samples import DEFLATED, dicom_file, element, image_file

AXIAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]


def saved(folder: Path, name: str, *, value: int, **attributes: object) -> Path:
    """A 4 × 4 image of one value, with further attributes by keyword."""
    path = folder / name
    path.write_bytes(image_file(f"1.2.{value}", size=4, filler=value))
    data_set = dcmread(path)
    for keyword, content in attributes.items():
        if content is None:
            del data_set[keyword]
        else:
            setattr(data_set, keyword, content)
    data_set.save_as(path)
    return path


def values(slices: Iterable[np.ndarray]) -> list[float]:
    return [float(one[0, 0]) for one in slices]


def test_a_slice_is_a_float_array_of_rows_by_columns(tmp_path: Path) -> None:
    (one,) = Slices([saved(tmp_path, "a", value=7)])
    assert (one.dtype, one.shape) == (np.dtype("float32"), (4, 4))
    assert (one == 7).all()


def test_rescale_gives_modality_units(tmp_path: Path) -> None:
    path = saved(tmp_path, "a", value=100, RescaleSlope=2, RescaleIntercept=-1024)
    assert values(Slices([path])) == [100 * 2 - 1024]


def test_the_order_is_by_position_along_the_normal_not_by_number(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path, str(at), value=at, ImagePositionPatient=[at, 5, -at], ImageOrientationPatient=plane,
              InstanceNumber=at)
        for at, plane in ((1, AXIAL), (3, AXIAL), (2, AXIAL))
    ]  # fmt: skip
    # The normal of axial slices is +z, and z is -at here.
    assert values(Slices(paths)) == [3, 2, 1]


def test_sagittal_slices_are_ordered_along_their_own_normal(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path, str(at), value=at, ImagePositionPatient=[at, 0, 0], ImageOrientationPatient=SAGITTAL)
        for at in (2, 1, 3)
    ]
    # Row +y, column -z: the normal is their cross product, -x.
    assert values(Slices(paths)) == [3, 2, 1]


@pytest.mark.parametrize("odd_one", [{"ImageOrientationPatient": SAGITTAL}, {"ImagePositionPatient": [0, 0]}])
def test_without_one_common_normal_the_instance_number_decides(tmp_path: Path, odd_one: dict[str, object]) -> None:
    paths = []
    for at, number in ((1, 30), (2, 10), (3, 20)):
        place: dict[str, object] = {"ImagePositionPatient": [0, 0, at], "ImageOrientationPatient": AXIAL}
        paths.append(
            saved(tmp_path, str(at), value=at, InstanceNumber=number, **(place | (odd_one if at == 2 else {})))
        )
    assert values(Slices(paths)) == [2, 3, 1]


def test_slices_at_one_place_keep_the_order_of_their_numbers(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path, str(at), value=at, ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=AXIAL,
              InstanceNumber=4 - at)
        for at in (1, 2, 3)
    ]  # fmt: skip
    assert values(Slices(paths)) == [3, 2, 1]


def test_without_numbers_and_places_the_order_is_as_given(tmp_path: Path) -> None:
    paths = [saved(tmp_path, str(at), value=at, InstanceNumber=None) for at in (2, 3, 1)]
    assert values(Slices(paths)) == [2, 3, 1]


def enhanced(folder: Path) -> Path:
    """Two frames stored against their spatial order, each with its own rescale."""
    path = saved(folder, "enhanced", value=0, NumberOfFrames=2, PixelData=b"\1" * 16 + b"\2" * 16, InstanceNumber=1)
    data_set, per_frame = dcmread(path), []
    for height, slope in ((10, 1), (5, 100)):
        place, values_group = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, height]
        values_group.RescaleSlope, values_group.RescaleIntercept = slope, 0
        frame = Dataset()
        frame.PlanePositionSequence = Sequence([place])
        frame.PixelValueTransformationSequence = Sequence([values_group])
        per_frame.append(frame)
    shared, planes = Dataset(), Dataset()
    planes.ImageOrientationPatient = AXIAL
    shared.PlaneOrientationSequence = Sequence([planes])
    data_set.SharedFunctionalGroupsSequence = Sequence([shared])
    data_set.PerFrameFunctionalGroupsSequence = Sequence(per_frame)
    data_set.save_as(path)
    return path


def test_a_multi_frame_file_gives_its_frames_by_their_own_places_and_rescales(tmp_path: Path) -> None:
    assert values(Slices([enhanced(tmp_path)])) == [200, 1]


def test_colour_becomes_grey_by_its_luma(tmp_path: Path) -> None:
    path = saved(
        tmp_path, "rgb", value=0, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
        PixelData=bytes([200, 100, 50]) * 16,
    )  # fmt: skip
    # ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.
    assert values(Slices([path])) == [pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]


def test_monochrome1_is_not_inverted(tmp_path: Path) -> None:
    assert values(Slices([saved(tmp_path, "a", value=9, PhotometricInterpretation="MONOCHROME1")])) == [9]


def test_only_what_is_looked_at_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [saved(tmp_path, f"{n}", value=n, InstanceNumber=10 - n, ImagePositionPatient=[0, 0, -n]) for n in range(5)]
    decoded: list[str] = []

    def counted(path: Path) -> list[Slice]:
        decoded.append(path.name)
        return decoded_frames(path)

    monkeypatch.setattr(slices, "decoded_frames", counted)
    found = Slices(paths)
    assert (len(found), found.paths, decoded) == (5, tuple(paths[::-1]), [])
    assert found[-1].max() == 0
    assert [one.max() for one in found[:2]] == [4, 3]
    assert len(decoded) == 3


def test_no_files_give_no_slices() -> None:
    assert list(Slices([])) == []


HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "no pixels": ({"PixelData": None, "Modality": "SR"}, "has no pixels: it is SR"),
    "too few bytes": ({"PixelData": b"\1" * 8}, "its pixels cannot be read"),
    "beyond memory": ({"NumberOfFrames": 2**31 - 1, "Rows": 65535, "Columns": 65535}, "beyond what is read at once"),
    "no rows": ({"Rows": 0}, "An image of 0 samples"),
    "no size at all": ({"Rows": None}, "its pixels cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_image_is_said_in_a_sentence(tmp_path: Path, name: str) -> None:
    attributes, message = HOSTILE[name]
    with pytest.raises(ImageError, match=message):
        list(Slices([saved(tmp_path, "a", value=1, **attributes)]))


def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "video"
    # MPEG2 Main Profile: no decoder for it exists in pydicom's family.
    path.write_bytes(image_file("1.2", size=4))
    data_set = dcmread(path)
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # type: ignore[assignment]  # set as text on purpose
    data_set.PixelData = struct.pack("<HHLHHL", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, 4) + b"video"[:4]
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(path)
    with pytest.raises(ImageError, match=r"1\.2\.840\.10008\.1\.2\.4\.100 cannot be decoded"):
        list(Slices([path]))


@pytest.mark.parametrize("content", [b"", b"no dicom", b"<html>" * 100])
def test_what_is_no_dicom_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        list(Slices([path]))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        Slices([tmp_path / "gone.dcm"])


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(element(0x00090010, b"OB", bytes(1 << 20))) for _ in range(200)) + squeeze.flush()
    path = tmp_path / "bomb"
    path.write_bytes(dicom_file(b"", syntax=DEFLATED).removesuffix(b"\3\0") + bomb)
    with pytest.raises(ImageError, match="inflates to more than 128 MiB"):
        list(Slices([path]))


def test_sequences_nested_beyond_recursion_are_refused(tmp_path: Path) -> None:
    deep = element(0x00081140, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), length=0xFFFFFFFF) * 3000
    path = tmp_path / "deep"
    path.write_bytes(dicom_file(deep))
    with pytest.raises(ImageError):
        list(Slices([path]))


def test_a_real_ct_series_comes_in_the_order_of_its_places(test_data: Path) -> None:
    folder = test_data / "dicom" / "pydicom-dicomdirtests" / "98892001"
    series: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            series.setdefault(str(dcmread(path).SeriesInstanceUID), []).append(path)
    paths = max(series.values(), key=len)
    slices = Slices(paths[::-1])
    by_height = sorted(paths, key=lambda path: float(dcmread(path).ImagePositionPatient[2]))
    assert len(paths) > 2
    for one, path in zip(slices, by_height, strict=True):
        data_set = dcmread(path)
        expected = data_set.pixel_array * data_set.RescaleSlope + data_set.RescaleIntercept
        np.testing.assert_allclose(one, expected)
