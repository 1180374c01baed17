"""The cache of DICOM files: bytes as received, one file an instance, an index that knows what is whole."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
from filelock import FileLock, Timeout

from s4s_lab.dicom.checking import CacheCheck, Checker
from s4s_lab.dicom.columns import instance_schema
from s4s_lab.dicom.eviction import Evicted, evict, pin
from s4s_lab.dicom.files import FILE_MODE, LOCKS, PART_SUFFIX, entries_below, own_folder, require_own
from s4s_lab.dicom.index import CachedStudy
from s4s_lab.dicom.removal import Removed, remove_patient, require_removable
from s4s_lab.dicom.rows import table_of
from s4s_lab.dicom.upkeep import KeptIndex
from s4s_lab.errors import DatasetBusy, S4SWarning
from s4s_lab.values.uids import checked_uid

_LOCK_WAIT_S: Final = 3600.0
_LOCK_POLL_S: Final = 0.2


def _nothing() -> None:
    """Let the wait go on."""


class DicomCache:
    """DICOM files by archive, study, series and instance, with an index beside them.

    Files lie at `<archive>/<study>/<series>/<instance>.dcm`, what could not be filed at `<archive>/quarantine/`, the
    index at `index.sqlite`. Several threads and processes may share one cache. Nothing is made before the first write.

    Parameters
    ----------
    root : Path
        The cache's folder; in a dataset `<dataset>/dicom`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index = KeptIndex(root / "index.sqlite")

    def __repr__(self) -> str:
        return f"DicomCache({str(self.root)!r})"

    @property
    def generation(self) -> int:
        """A number that grows with every change of the cache; 0 before the first."""
        return self.index.generation()

    def study(self, archive: str, study_uid: str) -> CachedStudy:
        """Return what the cache holds of one study.

        Parameters
        ----------
        archive : str
            What `archive_key` gives.
        study_uid : str
            Study Instance UID, bare.

        Returns
        -------
        CachedStudy
            With state `missing` when nothing is there.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        return self.index.study(archive, study_uid)

    def studies(self, source: str, patient_id: str, study_uid: str | None = None) -> list[CachedStudy]:
        """Return what the cache holds of each of a patient's studies, from whichever archive, the fullest first.

        Parameters
        ----------
        source, patient_id : str
            Who: FHIR base URL of the server, and the patient's FHIR id there.
        study_uid : str, optional
            Only this one.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        return self.index.studies_of(source, patient_id, study_uid)

    def held(self, archive: str, study_uid: str) -> dict[str, frozenset[str]]:
        """Return which instances of a study are here whole: SOP Instance UIDs by Series Instance UID.

        Parameters
        ----------
        archive, study_uid : str
            The study's key.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        found: dict[str, set[str]] = {}
        for instance_uid, file in self.index.files(archive, study_uid).items():
            path = require_own(self.root, self.root / file.path)
            if path.is_file() and path.stat().st_size == file.bytes:
                found.setdefault(path.parent.name, set()).add(instance_uid)
        return {series_uid: frozenset(uids) for series_uid, uids in found.items()}

    def series(self, archive: str, study_uid: str) -> dict[str, tuple[int, int]]:
        """Return what the index knows of a study's series: files and their size [bytes], by Series Instance UID.

        Parameters
        ----------
        archive, study_uid : str
            The study's key.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        found: dict[str, tuple[int, int]] = {}
        for file in self.index.files(archive, study_uid).values():
            series_uid = Path(file.path).parent.name
            count, size = found.get(series_uid, (0, 0))
            found[series_uid] = (count + 1, size + file.bytes)
        return found

    def instances(self, study_uid: str | None = None) -> pa.Table:
        """Return table `dicom_instance`: one row a file, its header's facts and where it is.

        Parameters
        ----------
        study_uid : str, optional
            Only the files of this study.

        Returns
        -------
        pyarrow.Table
            With the schema of `instance_schema`; by source, patient, study, series and instance number.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        return table_of(self.index.rows(study_uid), self.root.name)

    def file(self, path: str) -> Path:
        """Return where a file is that a row of `instances` names.

        Parameters
        ----------
        path : str
            As in the column `path`.

        Raises
        ------
        DatasetError
            If a symbolic link would lead out of the cache.
        """
        return require_own(self.root, self.root.parent / path)

    def unfinished(self) -> list[Path]:
        """Return the files that are being received or that a killed process left; links are not followed."""
        left = (Path(entry.path) for entry in entries_below(self.root) if entry.is_file(follow_symlinks=False))
        return [path for path in left if path.suffix == PART_SUFFIX]

    @staticmethod
    def instance_schema() -> pa.Schema:
        """Return the schema of `instances`, with `meaning` and `unit` in each field's metadata."""
        return instance_schema()

    def verify(self, *, repair: bool = False) -> CacheCheck:
        """Hash every file again and compare with the index; find files that it does not know.

        Parameters
        ----------
        repair : bool
            Whether to move damaged and unknown files to quarantine and drop the rows of missing ones, so that a fetch
            brings them again.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        return Checker(self.root, self.index, repair).check()

    def pin(self, study_uid: str) -> None:
        """Keep a study from being evicted.

        Parameters
        ----------
        study_uid : str
            Study Instance UID; the study may come later.

        Raises
        ------
        BadUid
            If that is no UID.
        DatasetError
            If the index cannot be used.

        Warns
        -----
        S4SWarning
            When nothing of such a study is here.
        """
        study_uid = checked_uid(study_uid)
        pin(self.index, study_uid, pinned=True)
        if study_uid not in {study.study_uid for study in self.index.studies()}:
            text = f"Nothing of study {study_uid} is here: check the UID, or fetch it; it is kept from then on."
            warnings.warn(S4SWarning(text), stacklevel=2)

    def unpin(self, study_uid: str) -> None:
        """Let a study be evicted again.

        Parameters
        ----------
        study_uid : str
            Study Instance UID.

        Raises
        ------
        BadUid
            If that is no UID.
        DatasetError
            If the index cannot be used.
        """
        pin(self.index, checked_uid(study_uid), pinned=False)

    def evict(self, max_bytes: int) -> Evicted:
        """Remove files of the studies that were not used for longest, until `max_bytes` of images are left.

        Pinned studies and those that are being retrieved stay; a fetch brings the others again.

        Parameters
        ----------
        max_bytes : int
            How much may stay [bytes].

        Raises
        ------
        UsageError
            If that is no size.
        DatasetError
            If the index cannot be used.
        """
        return evict(self.root, self.index, max_bytes)

    def require_removable(self, source: str, patient_id: str, study_uids: Collection[str] = ()) -> None:
        """Check that everything of one patient can be removed: that none of it lies behind a symbolic link.

        Parameters
        ----------
        source, patient_id, study_uids
            As for `remove`.

        Raises
        ------
        DatasetError
            If some of it does, or the index cannot be used.
        """
        require_removable(self.root, self.index, source, patient_id, study_uids)

    def remove(self, source: str, patient_id: str, study_uids: Collection[str] = ()) -> Removed:
        """Remove everything of one patient: files, rows, quarantine, locks.

        The caller sees to it that nothing of this patient is being retrieved. After a kill it is called again.

        Parameters
        ----------
        source, patient_id : str
            Who: FHIR base URL of the server, and the patient's FHIR id there.
        study_uids : collection of str
            Studies of the patient whose retrieval the index may not know of.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        return remove_patient(self.root, self.index, source, patient_id, study_uids)

    @contextmanager
    def receiving(self, archive: str, study_uid: str, on_wait: Callable[[], None] = _nothing) -> Iterator[bool]:
        """Hold the lock of one study, so that of several processes only one retrieves it.

        Parameters
        ----------
        archive, study_uid : str
            The study's key.
        on_wait : callable
            Called several times a second while another one holds it; what it raises ends the wait.

        Yields
        ------
        bool
            Whether another one held it before: then the study may be there by now.

        Raises
        ------
        DatasetBusy
            If the other one did not end within an hour.
        """
        folder = own_folder(self.root, self.root / archive / LOCKS)
        lock = FileLock(folder / study_uid, mode=FILE_MODE, fallback_to_soft=False)
        waited = False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waited = True
            self._wait_for(lock, on_wait)
        try:
            yield waited
        finally:
            lock.release()

    def _wait_for(self, lock: FileLock, on_wait: Callable[[], None]) -> None:
        end = time.monotonic() + _LOCK_WAIT_S
        while time.monotonic() < end:
            on_wait()
            try:
                lock.acquire(timeout=_LOCK_POLL_S)
            except Timeout:
                continue
            return
        raise DatasetBusy("Another process has been retrieving this study for an hour.")
