"""Taking one patient out of a cache for good: files, what was set aside, rows, locks."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from s4s_lab.dicom.files import LOCKS, QUARANTINE, TRASH, entries_below, require_own, require_own_study
from s4s_lab.dicom.index import SetAside, StudyKey
from s4s_lab.dicom.upkeep import KeptIndex


@dataclass(frozen=True)
class Removed:
    """What was removed of a patient: studies, files, and their size [bytes]."""

    studies: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Share:
    """A patient's share of a cache: the studies in its index, those that may lie beside it, and the others' studies."""

    known: list[StudyKey]
    unknown: list[StudyKey]
    others: list[StudyKey]

    @property
    def studies(self) -> list[StudyKey]:
        return self.known + self.unknown


def _share(root: Path, index: KeptIndex, source: str, patient_id: str, study_uids: Collection[str]) -> _Share:
    known: list[StudyKey] = []
    others: list[StudyKey] = []
    for study in index.studies():
        (known if (study.source, study.patient_id) == (source, patient_id) else others).append(study)
    places = {(other.archive, other.study_uid) for other in others}
    # A study whose folder is another patient's is theirs.
    unknown = [
        StudyKey(archive, uid, source, patient_id, None)
        for archive in _archives(root)
        for uid in study_uids
        if (archive, uid) not in places
    ]
    return _Share(known, unknown, others)


def _archives(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def require_removable(root: Path, index: KeptIndex, source: str, patient_id: str, study_uids: Collection[str]) -> None:
    """Check that no link leads out of the cache where a patient's images are: what lies behind it would be left.

    Parameters
    ----------
    root, index, source, patient_id, study_uids
        As for `remove_patient`.

    Raises
    ------
    DatasetError
        If one does, or the index cannot be used.
    """
    for study in _share(root, index, source, patient_id, study_uids).studies:
        folder = root / study.archive / study.study_uid
        if folder.is_symlink() or folder.exists():
            require_own_study(root, study.archive, study.study_uid)
            require_own(root, root / study.archive / LOCKS)
        for file in _set_aside(index, study):
            require_own(root, root / file.path)


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
        If the index cannot be used, or a link leads out of the cache: then nothing has been removed.
    """
    require_removable(root, index, source, patient_id, study_uids)
    share = _share(root, index, source, patient_id, study_uids)
    sizes = [size for study in share.studies for size in _remove_study(root, index, study)]
    mine = {study.archive for study in share.known} - {study.archive for study in share.others}
    for archive in _archives(root):
        # Nothing of the patient is behind a link, as was seen above.
        if not (root / archive).is_symlink():
            _tidy(root / archive, whole=archive in mine)
    # Last: it names what is to be removed when this is called again.
    index.remove(share.studies)
    return Removed(len(share.known), len(sizes), sum(sizes))


def _set_aside(index: KeptIndex, study: StudyKey) -> list[SetAside]:
    """Return what is in quarantine of one study alone."""
    set_aside = index.set_aside(study.archive)
    users = Counter(file.path for _, _, file in set_aside)
    return [file for _, uid, file in set_aside if uid == study.study_uid and users[file.path] == 1]


def _remove_study(root: Path, index: KeptIndex, study: StudyKey) -> Iterator[int]:
    """Remove the files of one study, and yield the size of each [bytes]."""
    folder = root / study.archive
    if folder.is_symlink():
        return
    inside = [Path(entry.path) for entry in entries_below(folder / study.study_uid)]
    for path in [*(root / file.path for file in _set_aside(index, study)), *inside]:
        if path.is_file() and not path.is_symlink():
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
