"""The log: every version of every resource that was received, lastCheck in the commit that holds the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.lake import delta
from s4s_lab.lake.connections import ConnectionRecord
from s4s_lab.lake.entries import entry_path, read_entry
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.log_rows import LOG_SCHEMA, batches
from s4s_lab.lake.scanning import files_of
from s4s_lab.lake.staging import ResourceVersion, StagedVersions, columns_of
from s4s_lab.lake.state import NAMED_BY, digest, names_of, newest
from s4s_lab.values.instants import from_millis, to_millis

__all__ = ["LOG_SCHEMA", "CurrentVersion", "Patient", "ResourceLog", "create_log"]

Patient = tuple[str, str]


_WITHOUT_RAW = pa.schema([field for field in LOG_SCHEMA if field.name != "raw"])
_NAMES = pa.schema([LOG_SCHEMA.field(name) for name in (*NAMED_BY, "fell_out")])
_JSON = pa.schema([LOG_SCHEMA.field(name) for name in (*NAMED_BY, "raw")])
_ID = NAMED_BY.index("resource_id")
# So many rows with their JSON are in memory at a time.
_AT_ONCE = 512
_SETTINGS = {
    "delta.appendOnly": "true",
    # No statistics over raw JSON: they would repeat parts of records in the log entries.
    "delta.dataSkippingStatsColumns": "source,patient_id,resource_id",
}


@dataclass(frozen=True)
class CurrentVersion:
    """What the log last said of a resource.

    Parameters
    ----------
    content_hash : str
        Of its newest version.
    last_updated : datetime or None
        Of its newest version.
    fell_out : str or None
        Why it is no longer in the record.
    version_id : str or None
        Of its newest version.
    """

    content_hash: str
    last_updated: datetime | None
    fell_out: str | None
    version_id: str | None = None


@dataclass(frozen=True)
class ResourceLog:
    """The append-only log in resources/, partitioned by resource type and by a hash of source and patient.

    Any number of processes may append at once. The current state of a resource is its newest version.

    Parameters
    ----------
    path : Path
        The Delta table's folder.
    buckets : int
        Into how many parts patients are spread.
    locks : Locks
        The dataset's locks.
    """

    path: Path
    buckets: int
    locks: Locks

    @property
    def version(self) -> int:
        """The newest version: what all tables are derived from, and what is cited."""
        return int(delta.open_table(self.path).version())

    def bucket(self, source: str, patient_id: str) -> int:
        """Return the bucket of a patient.

        Parameters
        ----------
        source : str
            FHIR base URL of the server.
        patient_id : str
            The patient's id there.
        """
        text = f"{source}\n{patient_id}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8]) % self.buckets

    def commit(
        self,
        record: ConnectionRecord,
        versions: Sequence[ResourceVersion] | StagedVersions,
        *,
        run_id: str,
        received_at: datetime,
        cursor_id: str | None = None,
        last_check: datetime | None = None,
    ) -> int:
        """Append versions, and set a watermark, in one commit.

        Parameters
        ----------
        record : ConnectionRecord
            Whose resources.
        versions : sequence of ResourceVersion, or StagedVersions
            In order of arrival; the later of two of one resource counts. May be empty when a watermark is set.
        run_id : str
            The run that brought them.
        received_at : datetime
            Our clock, aware.
        cursor_id : str, optional
            The watermark's id, as `Dataset.cursor` gives it.
        last_check : datetime, optional
            The server's instant that the watermark is set to, aware.

        Returns
        -------
        int
            The version of the log that holds them.

        Raises
        ------
        UsageError
            If there is nothing to commit, or one of cursor_id and last_check is missing.
        DatasetBusy
            If another process sets the same watermark at this moment, or maintenance goes on.

        References
        ----------
        Delta protocol, "Transaction Identifiers": lastCheck is one, in milliseconds since 1970.
        """
        if (cursor_id is None) != (last_check is None):
            raise UsageError("A watermark needs both a cursor id and an instant.")
        if not versions and last_check is None:
            raise UsageError("There is nothing to commit.")
        marks = {} if cursor_id is None or last_check is None else {cursor_id: to_millis(last_check)}
        with self.locks.writing():
            rows = self._rows(record, versions, run_id, received_at)
            commit = delta.append(self.path, rows, transactions=marks)
            delta.make_durable([commit])
        return commit.version

    def _rows(
        self,
        record: ConnectionRecord,
        versions: Sequence[ResourceVersion] | StagedVersions,
        run_id: str,
        received_at: datetime,
    ) -> pa.Table | pa.RecordBatchReader:
        if not versions:
            return LOG_SCHEMA.empty_table()
        same = {
            "bucket": self.bucket(record.fhir_url, record.patient_id),
            "source": record.fhir_url,
            "patient_id": record.patient_id,
            "connection_id": record.connection_id,
            "run_id": run_id,
            "received_at": received_at,
            "after_version": self.version,
        }
        parts = versions.columns() if isinstance(versions, StagedVersions) else columns_of(versions)
        return pa.RecordBatchReader.from_batches(LOG_SCHEMA, batches(parts, same))

    def current(self, record: ConnectionRecord, resource_type: str) -> dict[str, CurrentVersion]:
        """Return what the log last said of every resource of one type of one connection, by id.

        Parameters
        ----------
        record : ConnectionRecord
            Whose resources.
        resource_type : str
            Of which type.
        """
        rows = newest(self._of(record, resource_type, _WITHOUT_RAW))
        names = ("resource_id", "content_hash", "last_updated", "fell_out", "version_id")
        columns = (rows[name].to_pylist() for name in names)
        return {key: CurrentVersion(*facts) for key, *facts in zip(*columns, strict=True)}

    def raw(
        self, record: ConnectionRecord, resource_type: str, resource_ids: Collection[str] | None = None
    ) -> dict[str, str]:
        """Return the newest JSON that was received, by id; also of resources that have fallen out since.

        Parameters
        ----------
        record : ConnectionRecord
            Whose resources.
        resource_type : str
            Of which type.
        resource_ids : collection of str, optional
            Which ones; all when None.
        """
        return dict(self.each_raw(record, resource_type, resource_ids))

    def each_raw(
        self, record: ConnectionRecord, resource_type: str, resource_ids: Collection[str] | None = None
    ) -> Iterator[tuple[str, str]]:
        """Yield the same one after the other, in no order: memory holds a few of them, and no earlier version.

        Parameters
        ----------
        record, resource_type, resource_ids
            As for `raw`.

        Yields
        ------
        (str, str)
            Id and JSON.
        """
        if resource_ids is not None and not resource_ids:
            return
        files = files_of(delta.open_table(self.path), self._where(record, resource_type))
        rows = files.read(_NAMES)
        whose = pc.and_(pc.equal(rows["source"], record.fhir_url), pc.equal(rows["patient_id"], record.patient_id))
        rows = rows.filter(pc.and_(whose, pc.is_null(rows["fell_out"])))
        rows = newest(rows.append_column("resource_type", pa.repeat(pa.scalar(resource_type), rows.num_rows)))
        if resource_ids is not None:
            rows = rows.filter(pc.is_in(rows["resource_id"], value_set=pa.array(resource_ids, pa.string())))
        wanted = set(names_of(rows))
        for batch in files.stream(_JSON, _AT_ONCE) if wanted else ():
            for name, raw in zip(names_of(batch), batch["raw"], strict=True):
                if name in wanted:
                    # Each once, should two rows of the log have one name.
                    wanted.discard(name)
                    yield name[_ID], raw.as_py()

    def _of(self, record: ConnectionRecord, resource_type: str, schema: pa.Schema) -> pa.Table:
        return delta.read(delta.open_table(self.path), schema, where=self._where(record, resource_type))

    def _where(self, record: ConnectionRecord, resource_type: str) -> str:
        patient = (record.fhir_url, record.patient_id)
        return f"resource_type = {delta.literal(resource_type)} AND {self.predicate([patient])}"

    def predicate(self, patients: Collection[Patient]) -> str:
        """Return the SQL predicate that selects patients, bucket by bucket, here and in derived tables.

        Parameters
        ----------
        patients : collection of (source, patient_id)
            At least one.
        """
        by_place: dict[tuple[int, str], list[str]] = {}
        for source, patient_id in sorted(patients):
            by_place.setdefault((self.bucket(source, patient_id), source), []).append(patient_id)
        parts = [
            f"(bucket = {bucket} AND source = {delta.literal(source)} AND {_one_of('patient_id', ids)})"
            for (bucket, source), ids in sorted(by_place.items())
        ]
        return "(" + " OR ".join(parts) + ")"

    def last_check(self, cursor_id: str) -> datetime | None:
        """Return the instant of a watermark, None when it was never set.

        Parameters
        ----------
        cursor_id : str
            As `Dataset.cursor` gives it.
        """
        return self.last_checks()(cursor_id)

    def last_checks(self) -> Callable[[str], datetime | None]:
        """Return what gives the instants of many watermarks, all at the newest version."""
        handle = delta.open_table(self.path)

        def last_check(cursor_id: str) -> datetime | None:
            millis = handle.transaction_version(cursor_id)
            return None if millis is None else from_millis(millis)

        return last_check

    def at(self, version: int) -> DeltaTable:
        """Open the log as it was at a version.

        Parameters
        ----------
        version : int
            Which one.

        Raises
        ------
        NotInDataset
            If it has no such version.
        """
        try:
            if version >= 0:
                return delta.open_table(self.path, version)
        except NotInDataset:
            pass
        raise NotInDataset(f"The dataset has no version {version}.", hint=f"Its newest is {self.version}.")

    def buckets_of(self, handle: DeltaTable, resource_type: str) -> list[int]:
        """Return the buckets that hold resources of one type.

        Parameters
        ----------
        handle : DeltaTable
            The log, opened.
        resource_type : str
            Which type.
        """
        where = f"resource_type = {delta.literal(resource_type)}"
        return sorted({int(part["bucket"]) for part in handle.partitions(file_pruning_predicate=where)})

    def digest(self, version: int | None = None) -> str:
        """Return the digest of the state at a version, by default the newest.

        Parameters
        ----------
        version : int, optional
            Which version of the log.
        """
        handle = delta.open_table(self.path) if version is None else self.at(version)
        return digest(delta.read(handle, _WITHOUT_RAW))

    def state(self) -> pa.Table:
        """Return the newest row of every resource, without its JSON."""
        return newest(delta.read(delta.open_table(self.path), _WITHOUT_RAW))

    def committed_at(self, version: int) -> datetime:
        """Return when a version was committed, by its writer's clock.

        Parameters
        ----------
        version : int
            Which one.

        Raises
        ------
        NotInDataset
            If its log entry is gone or names no time.
        """
        moment = read_entry(self.path, version).committed_at if entry_path(self.path, version).is_file() else None
        if moment is None:
            raise NotInDataset(f"It is not known when version {version} of the dataset was made.")
        return moment

    def changed(self, after: int, until: int) -> dict[str, set[Patient]]:
        """Return whose resources of which type the versions after `after` and up to `until` brought.

        The work is in proportion to those versions: their log entries name the files, which hold one patient each.

        Returns
        -------
        dict of str to set of (source, patient_id)
            By resource type.

        Raises
        ------
        FileNotFoundError
            If it cannot be told any more, since those files were compacted away.
        """
        found: dict[str, set[Patient]] = {}
        for version in range(after + 1, until + 1):
            for file in read_entry(self.path, version).added:
                if file.data_change:
                    found.setdefault(file.partition["resource_type"], set()).update(_patients(self.path / file.path))
        return found

    def make_durable(self, after: int, until: int) -> None:
        """Sync what others committed, before anything is derived from it.

        Parameters
        ----------
        after, until : int
            The versions after `after` and up to `until`.
        """
        delta.make_durable([delta.Commit(self.path, after + 1, until)])


def create_log(path: Path) -> None:
    """Create the empty log: version 0.

    Parameters
    ----------
    path : Path
        The Delta table's folder.
    """
    delta.create(path, LOG_SCHEMA, partition_by=("resource_type", "bucket"), settings=_SETTINGS)


def _patients(file: Path) -> Iterator[Patient]:
    columns = pq.ParquetFile(file).read(["source", "patient_id"])
    distinct = columns.group_by(["source", "patient_id"]).aggregate([])
    return zip(distinct["source"].to_pylist(), distinct["patient_id"].to_pylist(), strict=True)


def _one_of(column: str, values: Collection[str]) -> str:
    return f"{column} IN ({', '.join(delta.literal(value) for value in sorted(values))})" if values else "FALSE"
