"""The dataset: one folder with a log of what was received, tables derived from it, a ledger of pulls, and images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from s4s_lab.dicom import Evicted, Slices, Volume, note_use, read_volume
from s4s_lab.errors import DatasetError, NotInDataset, S4SWarning
from s4s_lab.lake import maintenance, opening
from s4s_lab.lake.catalogue import Views
from s4s_lab.lake.connections import ConnectionRecord, Connections
from s4s_lab.lake.dataset_tables import DatasetTables
from s4s_lab.lake.findings import VerifyReport
from s4s_lab.lake.forgetting import ForgetReport, Forgetting, missing_in, require_consent_since
from s4s_lab.lake.images import in_order, one_copy
from s4s_lab.lake.ledger import Ledger
from s4s_lab.lake.log import ResourceLog
from s4s_lab.lake.overview import status_of
from s4s_lab.lake.tables import ViewTables
from s4s_lab.lake.verifying import Verifying, verified
from s4s_lab.values.uids import checked_uid


def open_dataset(path: str | Path, *, create: bool = True, migrate: bool = False) -> Dataset:
    """Open a dataset, making it first where there is none.

    On opening, locks are probed, the folder is closed to other users, and the newest commits are checked: one that a
    power cut left unfinished is set aside with a warning, so that it costs that commit and nothing else.

    Parameters
    ----------
    path : str or Path
        The dataset's folder.
    create : bool
        Whether to make a dataset in a missing or empty folder.
    migrate : bool
        Whether tables whose views now lack columns, or have them with other types, are derived anew without them. New
        columns need no such word.

    Returns
    -------
    Dataset
        Ready to pull into and to read from.

    Raises
    ------
    NotADataset
        If the folder holds something else, or nothing and `create` is false.
    DatasetError
        If file locks do not work there, or the dataset has lost its log.

    Warns
    -----
    S4SWarning
        When something unfinished was set aside, or the folder was open to others.

    Examples
    --------
    >>> data = open_dataset("data/demo")  # doctest: +SKIP
    """
    root = Path(path).expanduser().absolute()
    settings = opening.find_or_make(root, create=create)
    for sentence in opening.look_after(root):
        warnings.warn(S4SWarning(sentence), stacklevel=2)
    data = Dataset(root, settings, migrate=migrate)
    if migrate:
        data.refresh()
    return data


class Dataset(DatasetTables):
    """One dataset; `open_dataset` gives it.

    Parameters
    ----------
    root : Path
        Its folder.
    settings : Settings
        What its dataset.json says.
    migrate : bool
        Whether tables may lose columns because their views do.
    """

    def __init__(self, root: Path, settings: opening.Settings, *, migrate: bool = False) -> None:
        locks = opening.lock_folder(root)
        log = ResourceLog(root / "resources", settings.buckets, locks)
        self._connections = Connections(root, settings.dataset_id, locks)
        tables = ViewTables(root / "tables", log, self._connections, locks, Views(root / "views"), migrate)
        super().__init__(root, locks, log, tables)
        self.dataset_id = settings.dataset_id
        self.ledger = Ledger(root / "pulls", locks)

    def __repr__(self) -> str:
        return f"<Dataset {self.dataset_id[:8]} in {self._root}>"

    def connection(self, fhir_url: str, patient_id: str, participant_id: str | None = None) -> ConnectionRecord:
        """Find or make the record of one participant at one server.

        Parameters
        ----------
        fhir_url : str
            The server's FHIR base URL.
        patient_id : str
            The FHIR id of the patient there.
        participant_id : str, optional
            The study's own pseudonym. Another one than before is kept, and shown in the tables at once.

        Raises
        ------
        UsageError
            If `fhir_url` is no http or https address.
        """
        record, renamed = self._connections.record(fhir_url, patient_id, participant_id)
        if renamed:
            self._tables.refresh(renamed=[(record.fhir_url, record.patient_id)])
        return record

    def require_consent(self, fhir_url: str, patient_id: str, granted_at: datetime | None) -> None:
        """Check that a connection may bring in its participant: not with a grant from before they were forgotten.

        Who was forgotten is not kept, only when: whom the dataset does not know has to have consented since.

        Parameters
        ----------
        fhir_url : str
            The server's FHIR base URL.
        patient_id : str
            The FHIR id of the patient there.
        granted_at : datetime or None
            When they consented; None when that is not known.

        Raises
        ------
        AuthorizationError
            If it may not.
        """
        if not self._connections.has(fhir_url, patient_id):
            require_consent_since(self._root, granted_at)

    def connections(self) -> list[ConnectionRecord]:
        """Return every connection, by server and patient."""
        return self._connections.all()

    def cursor(self, record: ConnectionRecord, resource_type: str, fingerprint: str) -> str:
        """Return the random id of a watermark, written to the connection's file before its first use.

        Parameters
        ----------
        record : ConnectionRecord
            Whose watermark.
        resource_type : str
            Of which type.
        fingerprint : str
            Identifies the query.

        Raises
        ------
        DatasetError
            If the connection is no longer in the dataset.
        """
        return self._connections.cursor(record, resource_type, fingerprint)

    @contextmanager
    def pulling(self, record: ConnectionRecord) -> Iterator[None]:
        """Hold the lock of one connection: two pulls of it never run at once.

        Parameters
        ----------
        record : ConnectionRecord
            Whose.

        Raises
        ------
        DatasetBusy
            If another pull of it runs.
        """
        busy = "Another process is pulling this connection."
        with self._locks.alone(f"pull-{record.connection_id}", busy=busy):
            self._connections.require(record)
            yield
        self._tend()

    def _tend(self) -> None:
        """Look after the files; what hinders that is no failure of the pull before it."""
        try:
            if maintenance.tend(self._root, self._locks):
                self.refresh()
        except DatasetError as error:
            warnings.warn(S4SWarning(f"The dataset's files could not be tidied: {error}"), stacklevel=4)

    @contextmanager
    def fetching(self, record: ConnectionRecord) -> Iterator[None]:
        """Hold the lock of one connection's images, with any number of other fetches: it is not forgotten meanwhile.

        Parameters
        ----------
        record : ConnectionRecord
            Whose.

        Raises
        ------
        DatasetBusy
            If it is being forgotten.
        DatasetError
            If it has been forgotten.
        """
        busy = "Another process is removing this participant."
        with self._locks.together(f"fetch-{record.connection_id}", busy=busy):
            self._connections.require(record)
            yield

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check everything again: hashes, files, row counts, tables against the log, images against their index.

        Parameters
        ----------
        repair : bool
            Whether to put right what can be: tables are derived anew, damaged images go to quarantine so that a fetch
            brings them again, modes are narrowed. The log is never changed: what is damaged there is named.

        Returns
        -------
        VerifyReport
            What was checked; what is wrong, where, and what to do.

        Raises
        ------
        DatasetBusy
            If something is to be repaired and others write for a minute.
        """
        parts = (self._root, self.log, self._connections, self._tables, self._image_table, self._locks)
        return verified(Verifying(*parts, repair))

    def forget(self, patient_id: str, fhir_url: str | None = None) -> ForgetReport:
        """Remove one participant without residue: rows in every version, raw JSON, images, watermarks, grants.

        Versions keep their numbers and give what they gave, without this participant; `citation` and `as_of` say so. A
        later consent of the same participant starts with a first pull.

        Parameters
        ----------
        patient_id : str
            The FHIR id of the patient.
        fhir_url : str, optional
            At which server; may be left out when only one server knows the id.

        Returns
        -------
        ForgetReport
            How much of what was removed.

        Raises
        ------
        NotInDataset
            If the dataset has nothing of such a patient.
        UsageError
            If several servers know the id and none was named.
        DatasetBusy
            If the participant's record is being pulled, their images fetched, or somebody writes for a minute.
        DatasetError
            If a file of the log is damaged that may hold their rows: verify first. Nothing has been changed then.
        """
        forgetting = Forgetting(self._root, self.log, self._connections, self.images, self._locks)
        report = forgetting.forget(patient_id, fhir_url)
        self.refresh()
        self.refresh_images()
        return report

    def _files_of(self, series_uid: str, source: str | None) -> list[Path]:
        series_uid = checked_uid(series_uid)
        rows = self.images.instances()
        rows = one_copy(rows.filter(pc.equal(rows["series_uid"], series_uid)), source)
        if not rows.num_rows:
            raise NotInDataset(f"There are no images of series {series_uid}.", hint="Fetch its study first.")
        paths = [self.images.file(path) for path in in_order(rows)]
        note_use(paths[0])
        return paths

    def evict(self, max_bytes: int) -> Evicted:
        """Make room: remove images of the studies that were not used for longest, until `max_bytes` of them are left.

        What `images.pin(study_uid)` names stays, and so does every table but `dicom_instance`, which shows the files
        that are here. A fetch brings a study again.

        Parameters
        ----------
        max_bytes : int
            How much may stay [bytes].

        Returns
        -------
        Evicted
            How much went, and what is left.

        Raises
        ------
        UsageError
            If that is no size.
        DatasetError
            If the cache's index cannot be used.
        """
        evicted = self.images.evict(max_bytes)
        self.refresh_images()
        return evicted

    def slices(self, series_uid: str, *, source: str | None = None) -> Slices:
        """Return the images of one series in spatial order, each decoded when it is looked at.

        Parameters
        ----------
        series_uid : str
            Series Instance UID.
        source : str, optional
            FHIR base URL of the server whose record it is, where several have the series.

        Returns
        -------
        Slices
            A sequence of float32 arrays, shape (rows, columns), the rescale applied; `paths` are the files.

        Raises
        ------
        NotInDataset
            If the cache has none.
        UsageError
            If the records of several patients have the series and `source` does not tell which is meant.
        ImageError
            If a file has no pixels or is damaged.
        """
        return Slices(self._files_of(series_uid, source))

    def volume(self, series_uid: str, *, source: str | None = None) -> Volume:
        """Return the images of one series as one volume: an array with spacing [mm], orientation and unit.

        Parameters
        ----------
        series_uid : str
            Series Instance UID.
        source : str, optional
            FHIR base URL of the server whose record it is, where several have the series.

        Returns
        -------
        Volume
            float32, shape (slices, rows, columns), slices in spatial order, the rescale applied.

        Raises
        ------
        NotInDataset
            If the cache has no images of the series.
        UsageError
            If the records of several patients have the series and `source` does not tell which is meant.
        NotAVolume
            If they do not make one: the message says which slice is missing, doubled, tilted or of another size.
        ImageError
            If a file cannot be decoded.
        """
        return read_volume(self._files_of(series_uid, source))

    def status(self) -> pd.DataFrame:
        """Return how pulls stand: one row per connection and resource type.

        Returns
        -------
        DataFrame
            source, patient_id, participant_id, resource_type, last_check, last_mode, last_outcome, last_run,
            next_broad, not_before, rows, fallen_out.
        """
        frame: pd.DataFrame = status_of(self._connections, self.log, self.ledger).to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def citation(self, version: int | None = None) -> str:
        """Return what to cite: dataset id, version of the log, and the digest of its state.

        The same version gives the same tables (`as_of`) and the same digest at any later time; unless a participant was
        forgotten since, and then it says so.

        Parameters
        ----------
        version : int, optional
            Which version of the log; the newest when None.
        """
        version = self.log.version if version is None else version
        missing = missing_in(self._root, version)
        cited = f"S4S Lab dataset {self.dataset_id}, version {version}, {self.log.digest(version)}"
        return cited if missing is None else f"{cited}, {missing}"
