"""From the log to rows: the views run over what stands in it, bucket by bucket, so that memory stays flat."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from s4s_lab.errors import NotFhir, ParseIssues
from s4s_lab.lake import delta, durable
from s4s_lab.lake.catalogue import catalogue, layout
from s4s_lab.lake.log import LOG_SCHEMA, Patient, ResourceLog
from s4s_lab.lake.scanning import Files, files_of
from s4s_lab.lake.state import NAMED_BY, names_of, standing
from s4s_lab.views import FhirVersion, Provenance, Subject, View, decode, run_views

__all__ = ["Derivation", "catalogue", "layout", "spooled"]
# For each table; up to nine share one pass over the log.
_IN_MEMORY = 2 << 20
_TYPE = "resource_type"
_PLACES = pa.schema([LOG_SCHEMA.field(name) for name in (*NAMED_BY, "fell_out")])
_WHOLE = pa.schema([LOG_SCHEMA.field(name) for name in (*NAMED_BY, "fhir_version", "raw")])
# So much JSON at once: memory does not grow with a participant's record.
_AT_ONCE = 512


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
        """Yield stored rows of views over one resource type, by the view's name, bucket by bucket, in several parts.

        Parameters
        ----------
        views : sequence of View
            All over the same resource type: they share one decode.
        patients : frozenset of (source, patient_id), optional
            Whose rows; everybody's when None.
        """
        resource_type = views[0].resource_type
        for bucket, where in self._chunks(resource_type, patients):
            files = files_of(self.handle, f"{_TYPE} = {delta.literal(resource_type)} AND {where}")
            for moment, resources in _standing(files, resource_type, patients):
                try:
                    tables = run_views(views, self._subjects(resources))
                except NotFhir:
                    tables = run_views(views, self._subjects(_readable(resources)))
                yield {
                    view.name: layout(view).place(tables[view.name], buckets=bucket, fell_out_at=moment)
                    for view in views
                }
                # What the allocator keeps for itself else grows from part to part.
                pa.default_memory_pool().release_unused()

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

    def _subjects(self, resources: pa.RecordBatch) -> Iterator[Subject]:
        @cache
        def provenance(source: str, patient_id: str, version: FhirVersion) -> Provenance:
            return Provenance(source, self.participant(source, patient_id), patient_id, version)

        columns = (resources[name].to_pylist() for name in ("source", "patient_id", "fhir_version", "raw"))
        for source, patient_id, version, raw in zip(*columns, strict=True):
            yield Subject(raw, provenance(source, patient_id, version))


def _standing(
    files: Files, resource_type: str, patients: frozenset[Patient] | None
) -> Iterator[tuple[datetime | None, pa.RecordBatch]]:
    """Yield the versions that hold, some at a time, with the moment at which their resources fell out."""
    places = files.read(_PLACES)
    if patients is None and _all_hold(places):
        yield from ((None, rows) for rows in files.stream(_WHOLE, _AT_ONCE))
        return
    if patients is not None:
        places = _of(places, patients)
    typed = standing(places.append_column(_TYPE, pa.repeat(pa.scalar(resource_type), places.num_rows)))
    wanted = dict(zip(names_of(typed), typed["fell_out_at"].to_pylist(), strict=True))
    for batch in files.stream(_WHOLE, _AT_ONCE):
        # Each once, should two rows of the log have one name.
        holds = [(wanted.pop(name),) if name in wanted else None for name in names_of(batch)]
        for moment in dict.fromkeys(one[0] for one in holds if one is not None):
            chosen = [one is not None and one[0] == moment for one in holds]
            yield moment, batch.filter(pa.array(chosen))


def _all_hold(places: pa.Table) -> bool:
    """Say whether every row is the only one of its resource: so it is after a first pull."""
    fell_out, ids = places["fell_out"], places["resource_id"]
    return bool(fell_out.null_count == len(fell_out) and pc.count_distinct(ids).as_py() == len(ids))


def _of(places: pa.Table, patients: frozenset[Patient]) -> pa.Table:
    """Leave out other patients' rows, which may lie in the same files."""
    near = places.filter(pc.is_in(places["patient_id"], value_set=pa.array({one for _, one in patients}, pa.string())))
    whose = zip(near["source"].to_pylist(), near["patient_id"].to_pylist(), strict=True)
    return near.filter(pa.array([one in patients for one in whose], pa.bool_()))


def _readable(resources: pa.RecordBatch) -> pa.RecordBatch:
    """Leave out what cannot be decoded: one resource may not keep all others out of the tables."""
    kept = [_is_readable(raw) for raw in resources["raw"].to_pylist()]
    left_out = ParseIssues(f"{kept.count(False)} resources of the log cannot be read, and are in no table: verify.")
    warnings.warn(left_out, stacklevel=2)
    return resources.filter(pa.array(kept))


def _is_readable(raw: str) -> bool:
    try:
        decode(raw)
    except NotFhir:
        return False
    return True


class Spool:
    """Rows of several tables on their way, in memory while they are few, in unnamed files when they are many."""

    def __init__(self, schemas: Mapping[str, pa.Schema], folder: Path) -> None:
        self._folder = folder
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
        with durable.told(self._folder):
            for name, rows in tables.items():
                # One batch: each costs a dozen small writes a column.
                self._writers[name].write_table(rows.combine_chunks())

    def reader(self, name: str) -> pa.RecordBatchReader:
        """Return everything that was added to one table; nothing can be added to it after this.

        Parameters
        ----------
        name : str
            Which table.
        """
        with durable.told(self._folder):
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
