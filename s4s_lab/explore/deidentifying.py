"""De-identified copies of image files, for handing on; the files in the cache stay as they were received."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pydicom
from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from s4s_lab.dicom.pixels import inflates_too_far
from s4s_lab.errors import DatasetError, ImageError, UsageError
from s4s_lab.explore.writing import write_beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from s4s_lab.dicom import DicomCache

    Actions = dict[tuple[int, ...], Callable[..., None]]

_EDITION: Final = "dicomfields_2026c"
_MAX_DEPTH: Final = 32
# PS3.16, CID 7050.
_PROFILE: Final = ("113100", "DCM", "Basic Application Confidentiality Profile")
# What pydicom and the library raise for elements they cannot read or change.
_FAULTS: Final = (
    ArithmeticError, AssertionError, AttributeError, EOFError, InvalidDicomError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


class Deidentifier:
    """Makes de-identified copies; UIDs of one instance's copies fit each other, and nobody can lead them back.

    Parameters
    ----------
    folder : Path
        Where the copies go: `<study>/<series>/<instance>.dcm`, by their new UIDs.

    Raises
    ------
    UsageError
        If the library that knows the profile is not installed.

    References
    ----------
    DICOM PS3.15, annex E: Basic Application Level Confidentiality Profile, without options; table E.1-1 by the library
    dicom-anonymizer.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from dicomanonymizer import simpledicomanonymizer
        except ModuleNotFoundError:
            hint = "pip install 's4s-lab[deid]'"
            raise UsageError("Copies of images need the extra [deid], which is not installed.", hint=hint) from None
        self._folder = folder
        self._library = simpledicomanonymizer
        self._actions: Actions = simpledicomanonymizer.initialize_actions(_EDITION)
        # New UIDs come from a memory of the library's: what an earlier export made must not tie the two together.
        simpledicomanonymizer.dictionary.clear()

    def copy(self, path: Path, participant_id: str | None) -> dict[str, Any]:
        """Write a de-identified copy of a file.

        Parameters
        ----------
        path : Path
            The file; it is only read.
        participant_id : str or None
            The research study's own pseudonym: the copy's Patient ID and name.

        Returns
        -------
        dict
            participant_id, the new study_uid, series_uid and instance_uid, modality, and path below the folder.

        Raises
        ------
        ImageError
            If it cannot be read or changed, or its pixels have names burnt into them.
        """
        with warnings.catch_warnings():
            # pydicom warns of every liberty a file takes; what is wrong with the copy is told as an error.
            warnings.simplefilter("ignore")
            try:
                if inflates_too_far(path):
                    raise ImageError("It inflates to more than is read at once.")
                data_set = self._changed(pydicom.dcmread(path), participant_id)
                place = self._place(data_set)
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_beside(place, partial(data_set.save_as, enforce_file_format=True))
            except _FAULTS as error:
                raise ImageError(f"It cannot be read or changed ({type(error).__name__}).") from None
        return {
            "participant_id": participant_id,
            "study_uid": str(data_set.StudyInstanceUID),
            "series_uid": str(data_set.SeriesInstanceUID),
            "instance_uid": str(data_set.SOPInstanceUID),
            "modality": data_set.get("Modality"),
            "path": place.relative_to(self._folder).as_posix(),
        }

    def _place(self, data_set: pydicom.Dataset) -> Path:
        # All three were made anew, so none of them can lead out of the folder.
        study, series = self._folder / str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID)
        return study / series / f"{data_set.SOPInstanceUID}.dcm"

    def _changed(self, data_set: pydicom.FileDataset, participant_id: str | None) -> pydicom.FileDataset:
        if _may_be_burnt_in(data_set.get("BurnedInAnnotation")):
            raise ImageError("It says that text is burnt into its pixels, which no change of its header takes out.")
        syntax = data_set.file_meta.TransferSyntaxUID
        self._apply(data_set, depth=0)
        data_set.PatientID = data_set.PatientName = participant_id or ""
        data_set.PatientIdentityRemoved = "YES"
        data_set.DeidentificationMethod = "PS3.15 Basic Application Confidentiality Profile"
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = _PROFILE
        data_set.DeidentificationMethodCodeSequence = [code]
        # What the sender put before the data set may name the scanner; it is written anew.
        data_set.preamble = b"\0" * 128
        data_set.file_meta = FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = syntax
        return data_set

    def _apply(self, data_set: pydicom.Dataset, depth: int) -> None:
        """Apply the profile to a data set and to every data set within it."""
        if depth > _MAX_DEPTH:
            raise ImageError(f"Its sequences are nested more than {_MAX_DEPTH} deep.")
        self._library.anonymize_dataset(data_set, base_rules_gen=self._actions.copy)
        # Of what the standard does not define the profile cannot say that it is harmless.
        for tag in tuple(filterfalse(_is_defined, data_set.keys())):
            del data_set[tag]
        for element in data_set:
            for item in element.value if element.VR == "SQ" else ():
                self._apply(item, depth + 1)


def _is_defined(tag: BaseTag) -> bool:
    return dictionary_has_tag(tag) or repeater_has_tag(tag)


def _may_be_burnt_in(said: object) -> bool:
    """Tell whether a Burned In Annotation says anything but NO, in whatever spelling (PS3.3, section C.7.6.1)."""
    values = said if isinstance(said, MultiValue) else [said]
    return any(str(value or "").strip().upper() not in ("", "N", "NO") for value in values)


def copy_images(
    rows: Iterable[Mapping[str, Any]], cache: DicomCache, folder: Path
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Make de-identified copies of the files that rows of `dicom_instance` name.

    Parameters
    ----------
    rows : iterable of mapping
        With `path` and `participant_id`.
    cache : DicomCache
        Where the files are.
    folder : Path
        Where the copies go.

    Returns
    -------
    tuple of list of dict and Counter
        One row a copy; and how many files have none, by reason.

    Raises
    ------
    UsageError
        If the library that knows the profile is not installed.
    """
    deidentifier = Deidentifier(folder)
    made: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        try:
            made.append(deidentifier.copy(cache.file(row["path"]), row["participant_id"]))
        except (ImageError, DatasetError) as error:
            left_out[str(error)] += 1
    return made, left_out
