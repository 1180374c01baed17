"""dcmtk decodes the same pixels as we do, and SimpleITK stacks the same volumes in the same place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from PIL import Image

from s4s_lab.dicom import Slices, read_volume
from s4s_lab.sandbox.archive.store import Archive
from s4s_lab.sandbox.archive.synthetic import synthetic_archive

# One file for each transfer syntax that dcmtk reads, with the program of dcmtk that reads it.
DECODED = {
    "CT_small.dcm": "dcm2pnm",
    "MR_small.dcm": "dcm2pnm",
    "MR_small_implicit.dcm": "dcm2pnm",
    "MR_small_bigendian.dcm": "dcm2pnm",
    "MR_small_RLE.dcm": "dcm2pnm",
    "image_dfl.dcm": "dcm2pnm",
    "rtdose_rle_1frame.dcm": "dcm2pnm",
    "JPGExtended.dcm": "dcmj2pnm",
    "MR_small_jpeg_ls_lossless.dcm": "dcml2pnm",
    "JPEGLSNearLossless_16.dcm": "dcml2pnm",
}


def spread(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Grey values from 0 to 65535, as a min-max window maps them."""
    wide = pixels.astype(np.float64)
    lowest, highest = float(wide.min()), float(wide.max())
    return (wide - lowest) / (highest - lowest) * 65535


@pytest.mark.parametrize("name", DECODED)
def test_dcmtk_decodes_the_same_pixels(
    name: str, test_data: Path, tmp_path: Path, require: Callable[[str], str]
) -> None:
    path, shown = test_data / "dicom" / "pydicom-test" / name, tmp_path / "shown.png"
    command = [require(DECODED[name]), "-q", "-O", "+Wm", "+on2", str(path), str(shown)]
    subprocess.run(command, capture_output=True, check=True)
    (ours,) = Slices([path])
    theirs = np.asarray(Image.open(shown)).astype(np.float64)
    assert theirs.shape == ours.shape
    # Lossy JPEG decoders may round apart by one step of the stored values; the others agree to a step of the picture.
    allowed = 65535 / float(np.ptp(ours)) * 1.01 if name == "JPGExtended.dcm" else 1.5
    assert np.abs(spread(ours) - theirs).max() <= allowed


def agree(paths: list[Path]) -> None:
    """Compare a series with what SimpleITK makes of it by its own reader and its own order."""
    uid = str(pydicom.dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID)
    reader: Any = SimpleITK.ImageSeriesReader()  # type: ignore[no-untyped-call]  # SimpleITK has no types
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(paths[0].parent), uid))
    theirs, ours = reader.Execute(), read_volume(paths)
    assert np.array_equal(SimpleITK.GetArrayFromImage(theirs), ours.array)
    assert ours.spacing == pytest.approx(theirs.GetSpacing()[::-1], abs=1e-4)
    assert ours.origin == pytest.approx(theirs.GetOrigin(), abs=1e-6)
    # ITK keeps the unit vectors as columns.
    assert ours.orientation == pytest.approx(np.reshape(theirs.GetDirection(), (3, 3)).T, abs=1e-6)


def test_simpleitk_stacks_a_real_ct_in_the_same_place(test_data: Path) -> None:
    folder = test_data / "dicom" / "pydicom-dicomdirtests" / "98892001" / "CT5N"
    agree(sorted(folder.iterdir(), reverse=True))


def agreed(archive: Archive, patient_id: str, resource: dict[str, Any], folder: Path) -> set[str]:
    """Compare the volumes of one study, and return their series."""
    study = archive.study(resource["uid"].removeprefix("urn:oid:"), patient_id)
    assert study is not None
    compared = set()
    for series in resource["series"]:
        uid = series["uid"].removeprefix("urn:oid:")
        instances = study.select(uid)
        if series["modality"]["code"] in ("CT", "MR", "PT") and len(instances) > 1:
            (folder / uid).mkdir()
            for instance in instances:
                (folder / uid / f"{instance.instance_uid}.dcm").write_bytes(instance.open().read())
            agree(sorted((folder / uid).iterdir()))
            compared.add(uid)
    return compared


def test_simpleitk_stacks_each_series_of_the_sandbox_in_the_same_place(tmp_path: Path) -> None:
    archive = synthetic_archive(20, "http://127.0.0.1/wado")
    compared: set[str] = set()
    for person in archive.participants:
        _, stored = archive.snapshot("ImagingStudy", person.patient_id)
        for resource in (one.resource for one in stored):
            compared |= agreed(archive, person.patient_id, resource, tmp_path)
    assert len(compared) >= 5
