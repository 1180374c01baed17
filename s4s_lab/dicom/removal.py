"""Taking one patient out of a cache for good: files, what was set aside, rows, locks."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from s4s_lab.dicom.files import LOCKS, QUARANTINE, TRASH
from s4s_lab.dicom.index import StudyKey
from s4s_lab.dicom.upkeep import KeptIndex


@dataclass(frozen=True)
class Removed:
    """What was removed of a patient: studies, files, and their size [bytes]."""

    studies: int = 0
    files: int = 0
    bytes: int = 0


def remove_patient(root: Path, index: KeptIndex, source: str, patient_id: str, study_uids: Collection[str]) -> Removed:
    """Remove a patient's studies from a cache. May be called again.

    The caller sees to it that nothing of this patient is being retrieved.

    Parameters
    ----------
    root : Path
        The cache's folder.
    index : KeptIndex
        Its index.
    source, patient_id : str
        Who: FHIR base URL of the server, and the patient's FHIR id there.
    study_uids : collection of str
        Studies of the patient that the index may not know, since their retrieval had not begun or was killed.

    Raises
    ------
    DatasetError
        If the index cannot be used.
    """
    theirs: list[StudyKey] = []
    others: list[StudyKey] = []
    for study in index.studies():
        (theirs if (study.source, study.patient_id) == (source, patient_id) else others).append(study)
    archives = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    unknown = [StudyKey(archive, uid, source, patient_id, None) for archive in archives for uid in study_uids]
    removed = [*theirs, *_not_among(others, unknown)]
    sizes = [size for study in removed for size in _remove_study(root, index, study)]
    mine = {study.archive for study in theirs} - {study.archive for study in others}
    for archive in archives:
        _tidy(root / archive, whole=archive in mine)
    # Last: it names what is to be removed when this is called again.
    index.remove(removed)
    return Removed(len(theirs), len(sizes), sum(sizes))


def _not_among(others: Iterable[StudyKey], studies: Iterable[StudyKey]) -> Iterator[StudyKey]:
    """Leave out studies whose folder is another patient's."""
    places = {(other.archive, other.study_uid) for other in others}
    return (study for study in studies if (study.archive, study.study_uid) not in places)


def _remove_study(root: Path, index: KeptIndex, study: StudyKey) -> Iterator[int]:
    """Remove the files of one study, and yield the size of each [bytes]."""
    folder = root / study.archive
    set_aside = index.set_aside(study.archive)
    users = Counter(file.path for _, _, file in set_aside)
    mine = [root / file.path for _, uid, file in set_aside if uid == study.study_uid and users[file.path] == 1]
    for path in [*mine, *(folder / study.study_uid).rglob("*")]:
        if path.is_file():
            yield path.stat().st_size
            path.unlink()
    shutil.rmtree(folder / study.study_uid, ignore_errors=True)
    (folder / LOCKS / study.study_uid).unlink(missing_ok=True)


def _tidy(folder: Path, *, whole: bool) -> None:
    """Remove the folder of an archive if it is empty, or `whole`: named by a patient whom nobody shares it with."""
    # An eviction that was killed may have left anybody's images there.
    shutil.rmtree(folder / TRASH, ignore_errors=True)
    if whole:
        shutil.rmtree(folder)
    # Folders that still hold something stay.
    for path in (folder / LOCKS, folder / QUARANTINE, folder):
        with suppress(OSError):
            path.rmdir()
