"""What a dataset offers of its tables: reading, refreshing, explaining them, and adding one's own."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import S4SWarning, TableBehind, TableWouldChange, UsageError
from s4s_lab.lake.forgetting import missing_in
from s4s_lab.lake.images import IMAGES, ImageTable
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.log import Patient, ResourceLog
from s4s_lab.lake.moments import AsOf, until, version_at
from s4s_lab.lake.reading import Reading
from s4s_lab.lake.tables import ViewTables

if TYPE_CHECKING:
    import duckdb


class DatasetTables:
    """The tables of one dataset; `Dataset` is one.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    locks : Locks
        Its locks.
    log : ResourceLog
        What the tables are derived from.
    tables : ViewTables
        Those that come from views.
    """

    def __init__(self, root: Path, locks: Locks, log: ResourceLog, tables: ViewTables) -> None:
        self._root = root
        self._locks = locks
        self.log = log
        self._tables = tables

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
            When columns get another name, since every table has some of theirs; when no pull brings resources of the
            view's type, so that the table stays empty.

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


def _warn(name: str, behind: str | None, *, stacklevel: int) -> None:
    if behind:
        warnings.warn(TableBehind(f"Table {name} does not show the newest: {behind}"), stacklevel=stacklevel)
