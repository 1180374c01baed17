"""The slices of a series in spatial order, each decoded when it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, overload

import numpy as np
import numpy.typing as npt
import pydicom

from s4s_lab.dicom.pixels import Slice, decoded_frames, faults_named, frame_count, functional_group, header_of
from s4s_lab.errors import ImageError

_SAME_DIRECTION: Final = 1e-3


@dataclass(frozen=True)
class _Place:
    """One frame and what decides its place: position [mm], row and column cosines, instance and frame number."""

    path: Path
    number: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    instance_number: int | None


class Slices(Sequence[Slice]):
    """The frames of DICOM files as slices in spatial order: headers are read at once, pixels when asked for.

    The order is by Image Position (Patient) along the normal of the slices when every frame has one and all lie in
    parallel planes, else by Instance Number, else as given. Each slice is float32, shape (rows, columns), with the
    rescale applied: in modality units (Hounsfield for CT) where the file says how. Colour becomes grey by its luma;
    MONOCHROME1 is not inverted. No more than one file's pixels are in memory.

    Parameters
    ----------
    paths : sequence of Path
        The files, usually of one series.

    Attributes
    ----------
    paths : tuple of Path
        The files in the order of their first slices.

    Raises
    ------
    ImageError
        If a file has no pixels, is damaged or too large; at a look, if it is in a transfer syntax that no installed
        decoder reads.

    References
    ----------
    DICOM PS3.3, sections C.7.6.2 (Image Plane), C.11.1 (Modality LUT), C.7.6.16 (multi-frame functional groups).
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._places = _in_order([place for path in paths for place in _places(path)])
        self.paths = tuple(dict.fromkeys(place.path for place in self._places))
        self._decoded: tuple[Path | None, list[Slice]] = (None, [])

    def __repr__(self) -> str:
        return f"<Slices: {len(self)} in {len(self.paths)} files>"

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Slice: ...

    @overload
    def __getitem__(self, index: slice) -> list[Slice]: ...

    def __getitem__(self, index: int | slice) -> Slice | list[Slice]:
        """Decode one slice, or several."""
        if isinstance(index, slice):
            return [self._slice(place) for place in self._places[index]]
        return self._slice(self._places[index])

    def __iter__(self) -> Iterator[Slice]:
        return map(self._slice, self._places)

    def _slice(self, place: _Place) -> Slice:
        path, frames = self._decoded
        if path != place.path:
            frames = decoded_frames(place.path)
            self._decoded = place.path, frames
        if place.number >= len(frames):
            raise ImageError(f"{place.path.name} holds {len(frames)} frames, fewer than it declares.")
        return frames[place.number]


def _places(path: Path) -> list[_Place]:
    header = header_of(path)
    with faults_named(path):
        return [_place(path, header, number) for number in range(frame_count(header))]


def _place(path: Path, header: pydicom.Dataset, number: int) -> _Place:
    instance_number = header.get("InstanceNumber")
    plane = functional_group(header, number, "PlanePositionSequence")
    planes = functional_group(header, number, "PlaneOrientationSequence")
    return _Place(
        path=path,
        number=number,
        position=_numbers(plane, "ImagePositionPatient", 3),
        orientation=_numbers(planes, "ImageOrientationPatient", 6),
        instance_number=None if instance_number is None else int(instance_number),
    )


def _in_order(places: list[_Place]) -> list[_Place]:
    by_number = places
    if all(place.instance_number is not None for place in places):
        by_number = sorted(places, key=lambda place: (place.instance_number or 0, place.number))
    normal = _common_normal(places)
    if normal is None:
        return by_number
    return sorted(by_number, key=lambda place: float(np.dot(normal, place.position or ())))


def _common_normal(places: list[_Place]) -> npt.NDArray[np.float64] | None:
    """Return the normal that all frames share, or None when they have none in common."""
    orientations = [place.orientation for place in places]
    if not places or None in orientations or any(place.position is None for place in places):
        return None
    cosines = np.array(orientations)
    if np.abs(cosines - cosines[0]).max() > _SAME_DIRECTION:
        return None
    return np.cross(cosines[0, :3], cosines[0, 3:])


def _numbers(item: pydicom.Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    value = item.get(keyword)
    if value is None or isinstance(value, str) or len(value) != count:
        return None
    numbers = tuple(float(number) for number in value)
    return numbers if np.isfinite(numbers).all() else None
