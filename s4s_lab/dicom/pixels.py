"""Pixels out of DICOM files: decoded, in grey, with the rescale applied."""

from __future__ import annotations

import mmap
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from s4s_lab.dicom.elements import DEFLATED, TRANSFER_SYNTAX, inflated_sizes, read_elements
from s4s_lab.errors import ImageError

Slice = npt.NDArray[np.float32]

_MAX_SAMPLES: Final = 1 << 28
_MAX_INFLATED: Final = 128 << 20
_DEFERRED: Final = 4096
_LUMA: Final = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# What pydicom and the decoders below it raise for data they cannot read.
_FAULTS: Final = (
    ArithmeticError, AttributeError, EOFError, IndexError, KeyError, MemoryError, NotImplementedError, RuntimeError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


def header_of(path: Path) -> pydicom.Dataset:
    """Read the header of a file that holds an image.

    Parameters
    ----------
    path : Path
        A DICOM file.

    Raises
    ------
    ImageError
        If it has no pixels, is damaged or too large.
    """
    with faults_named(path):
        return _read(path, with_pixels=False)


def decoded_frames(path: Path) -> list[Slice]:
    """Decode the frames of one file, each in modality units, in the order of the file.

    Parameters
    ----------
    path : Path
        A DICOM file.

    Raises
    ------
    ImageError
        If it has no pixels, is damaged or too large, or is in a transfer syntax that no installed decoder reads.
    """
    with faults_named(path):
        data_set = _read(path)
        return [_rescaled(data_set, pixels, number) for number, pixels in enumerate(_decoded(data_set))]


def frame_count(data_set: pydicom.Dataset) -> int:
    """Return how many frames a file declares, once it is clear that they can be read.

    Parameters
    ----------
    data_set : pydicom.Dataset
        A file's elements, or its header's.

    Raises
    ------
    ImageError
        If they are too many or too large, or none.
    """
    count = int(data_set.get("NumberOfFrames") or 1)
    samples = count * data_set.Rows * data_set.Columns * data_set.SamplesPerPixel
    if not 0 < samples <= _MAX_SAMPLES:
        raise ImageError(f"An image of {samples} samples is beyond what is read at once ({_MAX_SAMPLES}).")
    return count


def functional_group(data_set: pydicom.Dataset, frame: int, group: str) -> pydicom.Dataset:
    """Return the item that holds a functional group of one frame; the data set itself where there are none.

    Parameters
    ----------
    data_set : pydicom.Dataset
        A file's elements.
    frame : int
        Counted from 0.
    group : str
        Keyword of the functional group's sequence.

    References
    ----------
    DICOM PS3.3, section C.7.6.16: a frame's own item goes before the shared one.
    """
    per_frame = data_set.get("PerFrameFunctionalGroupsSequence") or ()
    shared = data_set.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*per_frame[frame : frame + 1], *shared[:1]):
        if groups.get(group):
            return groups[group].value[0]  # type: ignore[no-any-return]  # pydicom types sequence values as Any
    return data_set


@contextmanager
def faults_named(path: Path) -> Iterator[None]:
    """Turn what pydicom and its decoders raise in the block into an `ImageError` that names the file.

    Parameters
    ----------
    path : Path
        The file that is read.

    Raises
    ------
    ImageError
        For whatever the file made them raise.
    """
    with warnings.catch_warnings():
        # pydicom warns of every liberty a file takes; what matters here is whether its pixels can be had.
        warnings.simplefilter("ignore")
        try:
            yield
        except OSError as error:
            raise ImageError(f"{path.name} cannot be read: {error.strerror}.") from None
        except _FAULTS as error:
            raise ImageError(f"{path.name}: its pixels cannot be read ({_first_line(error)}).") from None


def _rescaled(data_set: pydicom.Dataset, pixels: npt.NDArray[Any], number: int) -> Slice:
    rescale = functional_group(data_set, number, "PixelValueTransformationSequence")
    rescaled: Slice = _grey(apply_modality_lut(pixels, rescale)).astype(np.float32)
    return rescaled


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _read(path: Path, *, with_pixels: bool = True) -> pydicom.Dataset:
    if inflates_too_far(path):
        raise ImageError(f"{path.name} inflates to more than {_MAX_INFLATED >> 20} MiB.")
    try:
        # Left on disk until it is asked for, and checked for being there at all.
        data_set = pydicom.dcmread(path, defer_size=None if with_pixels else _DEFERRED)
    except InvalidDicomError:
        raise ImageError(f"{path.name} is no DICOM file.") from None
    if not any(name in data_set for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        modality = data_set.get("Modality") or "an object without a modality"
        raise ImageError(f"{path.name} has no pixels: it is {modality}.", hint="Choose a series of images.")
    return data_set


def inflates_too_far(path: Path) -> bool:
    """Say whether a deflated data set would fill the memory; pydicom inflates without a limit.

    Parameters
    ----------
    path : Path
        A DICOM file.

    Returns
    -------
    bool
        Whether it is deflated, and inflates to more than 128 MiB.

    Raises
    ------
    EOFError
        If some of it got lost.
    zlib.error
        If it is damaged.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        elements = read_elements(whole, {TRANSFER_SYNTAX}, 0)
        if elements.values.get(TRANSFER_SYNTAX, b"").strip(b"\0 ") != DEFLATED.encode():
            return False
        return any(size > _MAX_INFLATED for size in inflated_sizes(whole, elements.data_set_at))


def _decoded(data_set: pydicom.Dataset) -> npt.NDArray[Any]:
    """Return the pixels, shape (frames, rows, columns) or (frames, rows, columns, samples)."""
    count = frame_count(data_set)
    syntax = data_set.file_meta.get("TransferSyntaxUID")
    try:
        pixels = pixel_array(data_set)
    except (NotImplementedError, RuntimeError) as error:
        hint = "Install the decoders: pip install 's4s-lab[pixels]'." if "missing" in str(error) else ""
        raise ImageError(f"Transfer syntax {syntax} cannot be decoded ({_first_line(error)}).", hint=hint) from None
    if data_set.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data_set)
    return pixels if count > 1 else pixels[np.newaxis]


def _grey(frame: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if frame.ndim == 2:
        return frame
    grey: npt.NDArray[Any] = frame[..., :3] @ _LUMA
    return grey
