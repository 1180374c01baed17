"""The columns of the log, and its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa


def _field(name: str, kind: pa.DataType, meaning: str, *, null: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"meaning": meaning})


# fmt: off
LOG_SCHEMA = pa.schema([
    _field("resource_type", pa.string(), "FHIR resource type", null=False),
    _field("bucket", pa.int32(), "hash of source and patient_id", null=False),
    _field("source", pa.string(), "FHIR base URL of the server", null=False),
    _field("patient_id", pa.string(), "FHIR id of the patient whose record this is", null=False),
    _field("resource_id", pa.string(), "the resource's id, or what stands in for it", null=False),
    _field("version_id", pa.string(), "meta.versionId"),
    _field("last_updated", pa.timestamp("ms", "UTC"), "meta.lastUpdated, as the server says"),
    _field("content_hash", pa.string(), "hash of it without meta.versionId and meta.lastUpdated", null=False),
    _field("raw", pa.string(), "JSON as received; null in a tombstone"),
    _field("fhir_version", pa.string(), "stu3 or r4", null=False),
    _field("fell_out", pa.string(), "why the resource is no longer in the record; null in a received version"),
    _field("connection_id", pa.string(), "the connection that brought it", null=False),
    _field("run_id", pa.string(), "the run that brought it", null=False),
    _field("received_at", pa.timestamp("ms", "UTC"), "our clock when the run kept it", null=False),
    _field("after_version", pa.int64(), "the version of this log that the writer saw; orders versions", null=False),
    _field("position", pa.int64(), "place among the rows of its commit", null=False),
])
# fmt: on


def batches(parts: Iterable[Mapping[str, Any]], same: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
    """Yield rows of the log.

    Parameters
    ----------
    parts : iterable of Mapping
        Columns of some rows each.
    same : Mapping of str to object
        Values that are the same in all rows, by column.
    """
    begin = 0
    for part in parts:
        count = len(part["resource_id"])
        columns = {**part, **same, "position": pa.array(range(begin, begin + count), pa.int64())}
        yield pa.record_batch([_column(columns[field.name], field.type, count) for field in LOG_SCHEMA], LOG_SCHEMA)
        begin += count


def _column(value: object, kind: pa.DataType, count: int) -> pa.Array:
    if isinstance(value, pa.Array):
        return value
    return pa.array(value, kind) if isinstance(value, list) else pa.repeat(pa.scalar(value, kind), count)
