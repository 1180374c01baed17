"""From the log to rows: the views run over what stands in it, bucket by bucket, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from s4s_lab.lake import delta
from s4s_lab.lake.log import LOG_SCHEMA, Patient, ResourceLog
from s4s_lab.lake.state import standing
from s4s_lab.lake.stored import Layout
from s4s_lab.views import Provenance, Subject, View, load_view, packaged_views, run_views, table_schema

# For each table; up to seven share one pass over the log.
_IN_MEMORY = 8 << 20


@cache
def catalogue() -> Mapping[str, View]:
    """Return the packaged views by name."""
    return MappingProxyType({name: load_view(name) for name in packaged_views()})


@cache
def layout(name: str) -> Layout:
    """Return how a packaged view's table is stored.

    Parameters
    ----------
    name : str
        The view's name.
    """
    return Layout(table_schema(catalogue()[name]))


@dataclass(frozen=True)
class Derivation:
    """Runs views over the log at one version.

    Parameters
    ----------
    log : ResourceLog
        The log.
    handle : DeltaTable
        The log, opened at that version.
    participant : callable
        Gives the pseudonym of a patient (source, patient_id).
    """

    log: ResourceLog
    handle: DeltaTable
    participant: Callable[[str, str], str | None]

    def rows(self, views: Sequence[View], patients: frozenset[Patient] | None = None) -> Iterator[dict[str, pa.Table]]:
        """Yield stored rows of views over one resource type, by the view's name, bucket by bucket.

        Parameters
        ----------
        views : sequence of View
            All over the same resource type: they share one decode.
        patients : frozenset of (source, patient_id), optional
            Whose rows; everybody's when None.
        """
        resource_type = views[0].resource_type
        for bucket, where in self._chunks(resource_type, patients):
            of_type = f"resource_type = {delta.literal(resource_type)} AND {where}"
            yield self._of_bucket(views, bucket, standing(delta.read(self.handle, LOG_SCHEMA, where=of_type)))

    def _chunks(self, resource_type: str, patients: frozenset[Patient] | None) -> Iterator[tuple[int, str]]:
        if patients is None:
            for bucket in self.log.buckets_of(self.handle, resource_type):
                yield bucket, f"bucket = {bucket}"
            return
        by_bucket: dict[int, list[Patient]] = {}
        for patient in patients:
            by_bucket.setdefault(self.log.bucket(*patient), []).append(patient)
        for bucket, some in sorted(by_bucket.items()):
            yield bucket, self.log.predicate(some)

    def _of_bucket(self, views: Sequence[View], bucket: int, resources: pa.Table) -> dict[str, pa.Table]:
        parts: dict[str, list[pa.Table]] = {view.name: [layout(view.name).stored.empty_table()] for view in views}
        for moment in resources["fell_out_at"].unique().to_pylist():
            fell = resources["fell_out_at"]
            group = resources.filter(pc.is_null(fell) if moment is None else pc.equal(fell, moment))
            for name, rows in run_views(views, self._subjects(group)).items():
                parts[name].append(layout(name).place(rows, buckets=bucket, fell_out_at=moment))
        return {name: pa.concat_tables(tables) for name, tables in parts.items()}

    def _subjects(self, resources: pa.Table) -> Iterator[Subject]:
        columns = ["source", "patient_id", "fhir_version", "raw"]
        participants = cache(self.participant)
        for batch in resources.select(columns).to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                source, patient_id = row["source"], row["patient_id"]
                provenance = Provenance(source, participants(source, patient_id), patient_id, row["fhir_version"])
                yield Subject(row["raw"], provenance)


class Spool:
    """Rows of several tables on their way, in memory while they are few, in unnamed files when they are many."""

    def __init__(self, schemas: Mapping[str, pa.Schema], folder: Path) -> None:
        self._files: dict[str, IO[bytes]] = {
            name: SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115 - closed by `spooled`
            for name in schemas
        }
        self._writers = {name: pa.ipc.new_stream(self._files[name], schema) for name, schema in schemas.items()}

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """Add rows to each table.

        Parameters
        ----------
        tables : mapping of str to pa.Table
            By name.
        """
        for name, rows in tables.items():
            self._writers[name].write_table(rows)

    def reader(self, name: str) -> pa.RecordBatchReader:
        """Return everything that was added to one table; nothing can be added to it after this.

        Parameters
        ----------
        name : str
            Which table.
        """
        self._writers[name].close()
        self._files[name].seek(0)
        return pa.ipc.open_stream(self._files[name])

    def close(self) -> None:
        """Let everything go."""
        for file in self._files.values():
            file.close()


@contextmanager
def spooled(schemas: Mapping[str, pa.Schema], folder: Path) -> Iterator[Spool]:
    """Give a spool that ends with the block.

    Parameters
    ----------
    schemas : mapping of str to pa.Schema
        The tables' columns.
    folder : Path
        On the disk that large ones may use.
    """
    spool = Spool(schemas, folder)
    try:
        yield spool
    finally:
        spool.close()
