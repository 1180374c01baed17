"""Volumes: the slices of one series as one array where they truly are one, refused with the reason where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom

from s4s_lab.dicom.pixels import decoded_frames, faults_named, functional_group, header_of
from s4s_lab.errors import NotAVolume

# Positions are written with few digits: a hundredth of the step, and what a decimal string of 16 characters can lose.
_STEP_TOLERANCE: Final = 0.01
_COSINE_TOLERANCE: Final = 1e-3
_POSITION_MM: Final = 1e-3
_SPACING_MM: Final = 1e-4
# A slice that lies aside by less is still nearest to the voxels that it is put on.
_ASIDE_PIXELS: Final = 0.5
_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_ONE_OF: Final = {
    "series": "SeriesInstanceUID",
    "Frame of Reference UID": "FrameOfReferenceUID",
    "Modality": "Modality",
    "Photometric Interpretation": "PhotometricInterpretation",
}
_MAX_VOXELS: Final = 1 << 31
_HOUNSFIELD: Final = "HU"


@dataclass(frozen=True, eq=False)
class Volume:
    """One series as an array with its place in the patient.

    Parameters
    ----------
    array : ndarray
        float32, shape (slices, rows, columns), in `unit`. Slices lie in the direction of the third row of
        `orientation`, which is the cross product of the other two.
    spacing : tuple of float
        Between the centres of neighbours: (slices, rows, columns) [mm].
    orientation : ndarray
        float64, shape (3, 3): unit vectors along columns, along rows, along slices, in the patient's system (LPS).
    origin : tuple of float
        Centre of voxel [0, 0, 0] in the patient's system (LPS) [mm].
    unit : str
        Of the values: `HU`, what Rescale Type or Units (PET) says, or empty where the file says nothing.
    modality, series_uid : str
        As in the files.
    frame_of_reference_uid : str or None
        Volumes with the same one share their system of coordinates.

    References
    ----------
    DICOM PS3.3, section C.7.6.2.1.1: position and orientation of an image.
    """

    array: npt.NDArray[np.float32] = field(repr=False)
    spacing: tuple[float, float, float]
    orientation: npt.NDArray[np.float64] = field(repr=False)
    origin: tuple[float, float, float]
    unit: str
    modality: str
    series_uid: str
    frame_of_reference_uid: str | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        shape = " × ".join(str(length) for length in self.array.shape)
        spacing = " × ".join(f"{length:.4g}" for length in self.spacing)
        return f"<Volume {self.modality} {shape}, {spacing} mm{f', {self.unit}' if self.unit else ''}>"

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """The matrix, shape (4, 4), from (slice, row, column, 1) to the patient's system (LPS) [mm].

        NIfTI counts in RAS: negate the first two rows for it.
        """
        along_columns, along_rows, along_slices = self.orientation
        matrix = np.eye(4)
        matrix[:3, 0] = along_slices * self.spacing[0]
        matrix[:3, 1] = along_rows * self.spacing[1]
        matrix[:3, 2] = along_columns * self.spacing[2]
        matrix[:3, 3] = self.origin
        return matrix


@dataclass(frozen=True)
class _Plane:
    """Where one frame lies, and how its pixels are laid out; known from the header alone."""

    path: Path
    number: int
    position: npt.NDArray[np.float64]
    cosines: npt.NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    thickness: float | None
    unit: str

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        return np.cross(self.cosines[:3], self.cosines[3:])


def read_volume(paths: Sequence[Path]) -> Volume:
    """Read the files of one series as one volume; multi-frame files give one slice a frame.

    Slices are ordered by Image Position (Patient) along their common normal. Every slice has its own rescale applied.
    Memory is the array and one file.

    Parameters
    ----------
    paths : sequence of Path
        All files of the series, in any order.

    Returns
    -------
    Volume
        float32.

    Raises
    ------
    NotAVolume
        If the slices are not of one series, modality, unit and system of coordinates; not parallel, equal in size and
        spacing, evenly spaced and each at a place of its own; if they are in colour or say nothing of where they lie.
        The message names what differs and where.
    ImageError
        If a file has no pixels or cannot be decoded.

    References
    ----------
    DICOM PS3.3, sections C.7.6.2 (Image Plane), C.7.6.16 (multi-frame functional groups), C.11.1 (Modality LUT).
    """
    if not paths:
        raise NotAVolume("A series without files is no volume.", hint="Fetch its study first.")
    headers = {path: header_of(path) for path in paths}
    first = next(iter(headers.values()))
    for what, keyword in _ONE_OF.items():
        _require_one(what, {str(header.get(keyword) or "none") for header in headers.values()})
    planes = _stacked([plane for path, header in headers.items() for plane in _planes(path, header)])
    step = _step(planes)
    row_spacing, column_spacing = planes[0].spacing
    cosines = planes[0].cosines
    x, y, z = (float(number) for number in planes[0].position)
    return Volume(
        array=_filled(planes),
        spacing=(step, row_spacing, column_spacing),
        orientation=np.stack([cosines[:3], cosines[3:], planes[0].normal]),
        origin=(x, y, z),
        unit=planes[0].unit,
        modality=str(first.get("Modality") or ""),
        series_uid=str(first.get("SeriesInstanceUID") or ""),
        frame_of_reference_uid=first.get("FrameOfReferenceUID"),
    )


def _require_one(what: str, values: set[str]) -> None:
    if len(values) > 1:
        raise NotAVolume(f"The files do not share one {what}: {', '.join(sorted(values)[:3])}.")


def _unit(header: pydicom.Dataset, number: int) -> str:
    """Return the unit of a frame's rescaled values.

    A CT image whose Rescale Type is absent is in Hounsfield units (PS3.3, section C.11.1.1.2).
    """
    values = functional_group(header, number, "PixelValueTransformationSequence")
    named = values.get("RescaleType") or header.get("Units")
    if named is None:
        return _HOUNSFIELD if header.get("Modality") == "CT" and "RescaleSlope" in header else ""
    return "" if named == "US" else str(named)


def _planes(path: Path, header: pydicom.Dataset) -> Iterator[_Plane]:
    with faults_named(path):
        yield from _placed(path, header)


def _placed(path: Path, header: pydicom.Dataset) -> Iterator[_Plane]:
    colours = header.get("PhotometricInterpretation")
    if int(header.get("SamplesPerPixel") or 1) != 1 or colours not in _GREY:
        hint = "Read it by data.slices()."
        raise NotAVolume(f"{path.name} is in colour ({colours}): its samples are no quantity.", hint=hint)
    count = int(header.get("NumberOfFrames") or 1)
    _require_readable(count * int(header.Rows) * int(header.Columns))
    for number in range(count):
        yield _plane(path, header, number)


def _plane(path: Path, header: pydicom.Dataset, number: int) -> _Plane:
    measures = functional_group(header, number, "PixelMeasuresSequence")
    position = _vector(functional_group(header, number, "PlanePositionSequence"), "ImagePositionPatient", 3)
    cosines = _vector(functional_group(header, number, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = _vector(measures, "PixelSpacing", 2)
    if position is None or cosines is None or spacing is None:
        hint = "Projections, such as radiographs, and screenshots have none; read them by data.slices()."
        raise NotAVolume(f"{path.name} does not say where in the patient its image lies.", hint=hint)
    if min(spacing) <= 0:
        raise NotAVolume(f"{path.name} gives a Pixel Spacing of {spacing[0]:g} × {spacing[1]:g} mm.")
    thickness = _positive(measures.get("SpacingBetweenSlices")) or _positive(measures.get("SliceThickness"))
    return _Plane(
        path, number, position, _unit_vectors(path, cosines), (float(spacing[0]), float(spacing[1])),
        (int(header.Rows), int(header.Columns)), thickness, _unit(header, number),
    )  # fmt: skip


def _vector(item: pydicom.Dataset, keyword: str, count: int) -> npt.NDArray[np.float64] | None:
    value = item.get(keyword)
    if value is None or isinstance(value, str) or len(value) != count:
        return None
    numbers = np.array([float(number) for number in value])
    return numbers if np.isfinite(numbers).all() else None


def _positive(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(float(value)) and float(value) > 0 else None


def _unit_vectors(path: Path, cosines: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    along, down = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along), np.linalg.norm(down)
    if max(abs(length - 1) for length in lengths) > _COSINE_TOLERANCE or abs(along @ down) > _COSINE_TOLERANCE:
        raise NotAVolume(f"{path.name}: its Image Orientation (Patient) is no pair of perpendicular unit vectors.")
    return np.concatenate([along / lengths[0], down / lengths[1]])


def _stacked(planes: list[_Plane]) -> list[_Plane]:
    """Return the planes from the first to the last along their common normal, or say why there is none."""
    first = planes[0]
    _require_one("unit", {plane.unit for plane in planes})
    for plane in planes[1:]:
        if np.abs(plane.cosines - first.cosines).max() > _COSINE_TOLERANCE:
            hint = "A localizer may lie among them; leave it out."
            raise NotAVolume(f"{_name(plane)} is not parallel to {_name(first)}.", hint=hint)
        if plane.shape != first.shape:
            sizes = f"{plane.shape[0]} × {plane.shape[1]} against {first.shape[0]} × {first.shape[1]}"
            raise NotAVolume(f"{_name(plane)} and {_name(first)} differ in size: {sizes} pixels.")
        if np.abs(np.subtract(plane.spacing, first.spacing)).max() > _SPACING_MM:
            raise NotAVolume(f"{_name(plane)} and {_name(first)} differ in Pixel Spacing.")
    return sorted(planes, key=lambda plane: float(first.normal @ plane.position))


def _name(plane: _Plane) -> str:
    return f"{plane.path.name}, frame {plane.number + 1}" if plane.number else plane.path.name


def _step(planes: list[_Plane]) -> float:
    """Return the distance between neighbours [mm]; they must follow each other evenly and straight."""
    if len(planes) == 1:
        if planes[0].thickness is None:
            raise NotAVolume("One slice that does not say how thick it is makes no volume.")
        return planes[0].thickness
    normal = planes[0].normal
    positions = np.stack([plane.position for plane in planes])
    places = positions @ normal
    steps = np.diff(places)
    _require_distinct(planes, steps)
    step = float(places[-1] - places[0]) / (len(planes) - 1)
    _require_even(planes, steps)
    _require_on_places(planes, places, step)
    aside = positions - positions[0] - np.outer(places - places[0], normal)
    tilt = float(np.abs(aside).max())
    if tilt > max(_STEP_TOLERANCE * step, _ASIDE_PIXELS * min(planes[0].spacing), _POSITION_MM):
        hint = "A tilted gantry gives such stacks; resample them with a tool that knows shears."
        raise NotAVolume(f"The slices do not lie straight behind each other: they drift by {tilt:.1f} mm.", hint=hint)
    return step


def _require_distinct(planes: list[_Plane], steps: npt.NDArray[np.float64]) -> None:
    doubled = int(np.count_nonzero(steps < _POSITION_MM))
    if doubled:
        at = int(np.argmin(steps))
        hint = "Time points, echoes or reconstructions may share the series; choose one by a column of dicom_instance."
        both = f"{_name(planes[at])} and {_name(planes[at + 1])}"
        raise NotAVolume(f"{doubled + 1} slices or more share a place, such as {both}.", hint=hint)


def _require_even(planes: list[_Plane], steps: npt.NDArray[np.float64]) -> None:
    usual = float(np.median(steps))
    off = np.abs(steps - usual)
    if off.max() <= max(_STEP_TOLERANCE * usual, _POSITION_MM):
        return
    at = int(np.argmax(off))
    both = f"{_name(planes[at])} and {_name(planes[at + 1])}"
    raise NotAVolume(
        f"Between {both} lie {steps[at]:.4g} mm where {usual:.4g} mm are usual.",
        hint="A slice may be missing: compare the table dicom_instance with imaging_series, and fetch again.",
    )


def _require_on_places(planes: list[_Plane], places: npt.NDArray[np.float64], step: float) -> None:
    """Refuse steps that are each like their neighbours and drift all the same: places are counted by the step."""
    off = np.abs(places - places[0] - step * np.arange(len(places)))
    if off.max() <= max(_STEP_TOLERANCE * step, _POSITION_MM):
        return
    at = int(np.argmax(off))
    even = f"{len(places) - 1} even steps of {step:.4g} mm would put it"
    raise NotAVolume(f"{_name(planes[at])} lies {off[at]:.2g} mm from where {even}.")


def _require_readable(voxels: int) -> None:
    if voxels > _MAX_VOXELS:
        raise NotAVolume(f"A volume of {voxels} voxels is beyond what is read at once ({_MAX_VOXELS}).")


def _filled(planes: list[_Plane]) -> npt.NDArray[np.float32]:
    rows, columns = planes[0].shape
    _require_readable(len(planes) * rows * columns)
    array = np.empty((len(planes), rows, columns), np.float32)
    places: dict[Path, dict[int, int]] = {}
    for index, plane in enumerate(planes):
        places.setdefault(plane.path, {})[plane.number] = index
    for path, of_file in places.items():
        frames = decoded_frames(path)
        if len(frames) != len(of_file):
            raise NotAVolume(f"{path.name} declares {len(of_file)} frames and holds {len(frames)}.")
        for number, pixels in enumerate(frames):
            array[of_file[number]] = pixels
    return array
