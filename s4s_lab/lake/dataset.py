"""The dataset: one folder with a log of what was received, tables derived from it, a ledger of pulls, and images."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import DatasetError, NotInDataset, S4SWarning, TableBehind, TableWouldChange, UsageError
from s4s_lab.lake import maintenance, opening
from s4s_lab.lake.catalogue import Views
from s4s_lab.lake.connections import ConnectionRecord, Connections
from s4s_lab.lake.findings import VerifyReport
from s4s_lab.lake.forgetting import ForgetReport, Forgetting, missing_in
from s4s_lab.lake.images import IMAGES, ImageTable, in_order
from s4s_lab.lake.ledger import Ledger
from s4s_lab.lake.log import Patient, ResourceLog
from s4s_lab.lake.moments import AsOf, until, version_at
from s4s_lab.lake.overview import status_of
from s4s_lab.lake.reading import Reading
from s4s_lab.lake.tables import ViewTables
from s4s_lab.lake.verifying import Verifying, verified

if TYPE_CHECKING:
    import duckdb


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


class Dataset:
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
        self._root = root
        self.dataset_id = settings.dataset_id
        self._locks = opening.lock_folder(root)
        self._connections = Connections(root, settings.dataset_id, self._locks)
        self.log = ResourceLog(root / "resources", settings.buckets, self._locks)
        self.ledger = Ledger(root / "pulls", self._locks)
        self._tables = ViewTables(
            root / "tables", self.log, self._connections, self._locks, Views(root / "views"), migrate
        )

    def __repr__(self) -> str:
        return f"<Dataset {self.dataset_id[:8]} in {self._root}>"

    @cached_property
    def images(self) -> DicomCache:
        """The cache of DICOM files."""
        return DicomCache(self._root / "dicom")

    @property
    def _image_table(self) -> ImageTable:
        return ImageTable(self._root / "tables" / IMAGES, self.images, self.log.bucket, self._locks)

    @property
    def version(self) -> int:
        """The newest version of the log: tables read with `as_of` set to one version fit each other."""
        return self.log.version

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
            If a file is damaged that may hold their rows: verify first. Nothing has been changed then.
        """
        forgetting = Forgetting(self._root, self.log, self._connections, self.images, self._locks)
        report = forgetting.forget(patient_id, fhir_url)
        self.refresh()
        self.refresh_images()
        return report

    def refresh(self, patients: Collection[Patient] | None = None) -> None:
        """Bring the tables to the log's newest version, by work in proportion to the patients that changed.

        Parameters
        ----------
        patients : collection of (source, patient_id), optional
            Whose rows have to be current afterwards; everybody's when None. Others who changed come along, since one
            version of the log holds for a whole table.

        Raises
        ------
        DatasetBusy
            If another process refreshes for longer than ten minutes.
        """
        for name, reason in self._tables.refresh(patients).items():
            _warn(name, reason, stacklevel=3)

    def add_view(self, view: str | Path | Mapping[str, Any], *, replace: bool = False) -> str:
        """Make a table of your own: a ViewDefinition is kept in the dataset, and its table filled from the log.

        No server is asked. From then on the table is refreshed, listed and exported like the packaged ones; it starts
        with the same columns (source, participant_id, …) and ends with `parse_issues`.

        Parameters
        ----------
        view : str, Path or Mapping
            A ViewDefinition in JSON, or as a dict. Its `name` becomes the table's, else its file's name does.
        replace : bool
            Whether it may take the place of another view of your own with the same name.

        Returns
        -------
        str
            The table's name.

        Raises
        ------
        ViewError
            If it cannot be compiled, or its name cannot be a table's or is taken; the message names the element.
        DatasetBusy
            If another process refreshes for longer than ten minutes.

        Warns
        -----
        S4SWarning
            When columns get another name, since every table has some of theirs.

        References
        ----------
        SQL on FHIR v2, "ViewDefinition".

        Examples
        --------
        >>> view = {"resource": "Patient", "name": "sexes", "select": [{"column": [{"name": "sex", "path": "gender"}]}]}
        >>> data.add_view(view)  # doctest: +SKIP
        'sexes'
        """
        return self._tables.add(view, replacing=replace)

    def remove_view(self, name: str) -> None:
        """Take a view of your own out of the dataset, with its table; what was received stays in the log.

        Parameters
        ----------
        name : str
            The table's name.

        Raises
        ------
        NotInDataset
            If it is none of your own.
        DatasetBusy
            If another process refreshes for longer than ten minutes.
        """
        self._tables.remove(name)

    def refresh_images(self) -> None:
        """Bring table `dicom_instance` to what the cache of images holds.

        Raises
        ------
        DatasetBusy
            If another process refreshes for longer than ten minutes.
        """
        self._image_table.refresh()

    def table(self, name: str, *, as_of: AsOf | None = None, fallen_out: bool = False) -> pd.DataFrame:
        """Return a table as a DataFrame of Arrow-backed columns.

        Parameters
        ----------
        name : str
            A packaged view, one of your own, or `dicom_instance`.
        as_of : int, str, date or datetime, optional
            The table as it was: a version of the log, the end of a date (UTC), or an instant.
        fallen_out : bool
            Whether to show what is no longer in the record, with the column `fell_out_at`.

        Returns
        -------
        DataFrame
            Rows by source, patient and resource, then as the view gives them.

        Raises
        ------
        NotInDataset
            If there is no such table, or was no such version.
        UsageError
            If `as_of` names no version.

        Warns
        -----
        TableBehind
            When the table shows an older version of the log and cannot be refreshed now.
        """
        rows = self._read(name, as_of, fallen_out=fallen_out)
        frame: pd.DataFrame = rows.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def arrow(self, name: str, *, as_of: AsOf | None = None, fallen_out: bool = False) -> pa.Table:
        """Return a table in Arrow; each field says in its metadata what it means.

        Parameters
        ----------
        name : str
            A packaged view, one of your own, or `dicom_instance`.
        as_of : int, str, date or datetime, optional
            The table as it was: a version of the log, the end of a date (UTC), or an instant.
        fallen_out : bool
            Whether to show what is no longer in the record, with the column `fell_out_at`.

        Raises
        ------
        NotInDataset
            If there is no such table, or was no such version.
        UsageError
            If `as_of` names no version.

        Warns
        -----
        TableBehind
            When the table shows an older version of the log and cannot be refreshed now.
        """
        return self._read(name, as_of, fallen_out=fallen_out)

    def relation(self, name: str) -> duckdb.DuckDBPyRelation:
        """Return a table as a DuckDB relation, for SQL: `data.relation("eob_item").query("items", "SELECT …")`.

        Parameters
        ----------
        name : str
            A packaged view, one of your own, or `dicom_instance`.

        Raises
        ------
        UsageError
            If DuckDB is not installed.
        NotInDataset
            If there is no such table.
        """
        try:
            import duckdb
        except ImportError:
            raise UsageError("DuckDB is not installed.", hint="Install it: pip install 's4s-lab[duckdb]'.") from None
        return duckdb.from_arrow(self._read(name, None, fallen_out=False))

    def _reading(self, name: str) -> Reading:
        return self._image_table.reading() if name == IMAGES else self._tables.reading(name)

    def _read(self, name: str, as_of: AsOf | None, *, fallen_out: bool) -> pa.Table:
        reading = self._reading(name)
        if as_of is not None and (missing := missing_in(self._root, version_at(self.log, as_of))):
            warnings.warn(S4SWarning(f"This version is shown {missing}."), stacklevel=4)
        if as_of is not None and name == IMAGES:
            moment = until(self.log, as_of)
            if moment is not None:
                return self._image_table.as_of(moment, fallen_out=fallen_out)
        elif as_of is not None:
            return self._tables.as_of(name, version_at(self.log, as_of), fallen_out=fallen_out)
        rows, behind = reading.rows(fallen_out=fallen_out)
        _warn(name, behind, stacklevel=4)
        return rows

    def path(self, name: str | None = None) -> Path:
        """Return the dataset's folder, or the folder of one of its Delta tables, for any engine.

        Parameters
        ----------
        name : str, optional
            A packaged view, one of your own, or `dicom_instance`.

        Raises
        ------
        NotInDataset
            If there is no such table.
        """
        if name is None:
            return self._root
        return self._image_table.path if name == IMAGES else self._tables.path(name)

    def tables(self) -> pa.Table:
        """Return what tables there are: name, rows (without what fell out), version of the log shown, path.

        The rows of a table that was not derived anew, because it would lose columns, are null.

        Warns
        -----
        TableBehind
            When a table shows an older version of the log and cannot be refreshed now.
        """
        version = self.log.version
        rows = []
        for name in sorted([*self._tables.names, IMAGES]):
            try:
                count, behind = self._reading(name).count()
            except TableWouldChange as error:
                count, behind = None, str(error)
            _warn(name, behind, stacklevel=3)
            rows.append({"name": name, "rows": count, "version": version, "path": str(self.path(name))})
        kinds = {"name": pa.string(), "rows": pa.int64(), "version": pa.int64(), "path": pa.string()}
        return pa.Table.from_pylist(rows, pa.schema(kinds))

    def dictionary(self, name: str) -> pd.DataFrame:
        """Return what each column of a table is: type, where it comes from, meaning, unit.

        Parameters
        ----------
        name : str
            A packaged view, one of your own, or `dicom_instance`.

        Raises
        ------
        NotInDataset
            If there is no such table.
        """
        columns = self._image_table.dictionary() if name == IMAGES else self._tables.dictionary(name)
        frame: pd.DataFrame = columns.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def slices(self, series_uid: str) -> list[Path]:
        """Return the files of one series that are in the cache, in spatial order.

        Parameters
        ----------
        series_uid : str
            Series Instance UID.

        Raises
        ------
        NotInDataset
            If the cache has none.
        """
        rows = self.images.instances()
        paths = in_order(rows.filter(pc.equal(rows["series_uid"], series_uid)))
        if not paths:
            raise NotInDataset(f"There are no images of series {series_uid}.", hint="Fetch its study first.")
        return [self._root / path for path in paths]

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


def _warn(name: str, behind: str | None, *, stacklevel: int) -> None:
    if behind:
        warnings.warn(TableBehind(f"Table {name} does not show the newest: {behind}"), stacklevel=stacklevel)
