"""Received versions on their way to the log: their JSON on the disk, not in memory, until all of a listing is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from s4s_lab.errors import DatasetError

_IN_MEMORY = 4 << 20
_ROWS, _BYTES = 256, 2 << 20

_STAGED = pa.schema(
    [
        pa.field("resource_id", pa.string(), nullable=False),
        pa.field("version_id", pa.string()),
        pa.field("last_updated", pa.timestamp("ms", "UTC")),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ResourceVersion:
    """One version of a resource, or a tombstone.

    Parameters
    ----------
    resource_type : str
        FHIR resource type.
    resource_id : str
        The server's id, or what stands in for it.
    version_id : str or None
        `meta.versionId`.
    last_updated : datetime or None
        `meta.lastUpdated`.
    content_hash : str
        Of the content without version and time of update.
    raw : str or None
        JSON exactly as received; None in a tombstone.
    fhir_version : str
        `stu3` or `r4`.
    fell_out : str or None
        Why the resource is no longer in the record: makes this a tombstone.
    """

    resource_type: str
    resource_id: str
    version_id: str | None
    last_updated: datetime | None
    content_hash: str
    raw: str | None
    fhir_version: str
    fell_out: str | None = None


class Stage:
    """Received versions, numbered from 0 as they come; a context manager.

    Few lie in memory, many in a file of the dataset's folder that has no name: when this process ends, in whatever way,
    the kernel frees it.

    Parameters
    ----------
    folder : Path
        The dataset's folder: where the log has room, this has.
    """

    def __init__(self, folder: Path) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115 - closed by `close`
        self._writer = pa.ipc.new_stream(self._file, _STAGED)
        self._pending: list[tuple[str, str | None, datetime | None, str, bytes]] = []
        self._bytes = 0
        self._count = 0
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let everything go."""
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def add(
        self, resource_id: str, version_id: str | None, last_updated: datetime | None, content_hash: str, raw: bytes
    ) -> None:
        """Add a received version: its place is the number of those before it.

        Parameters
        ----------
        resource_id, version_id, last_updated, content_hash
            As in `ResourceVersion`.
        raw : bytes
            JSON exactly as received, decoded before: it is not looked at whether it is UTF-8.

        Raises
        ------
        DatasetError
            If the disk takes no more.
        """
        self._pending.append((resource_id, version_id, last_updated, content_hash, raw))
        self._bytes += len(raw)
        self._count += 1
        if len(self._pending) >= _ROWS or self._bytes >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        *columns, raws = zip(*self._pending, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _STAGED, strict=False)]
        self._pending, self._bytes = [], 0
        with _written():
            self._writer.write_batch(pa.record_batch([*arrays, _texts(raws)], schema=_STAGED))

    def rows(self, places: Collection[int]) -> Iterator[pa.RecordBatch]:
        """Yield the versions at some places, in the order of arrival; nothing can be added after this.

        Parameters
        ----------
        places : collection of int
            Which ones.
        """
        if not self._ended:
            self._flush()
            with _written():
                self._writer.close()
            self._ended = True
        chosen = np.zeros(self._count, dtype=np.bool_)
        chosen[np.fromiter(places, dtype=np.int64, count=len(places))] = True
        begin = 0
        with _written():
            self._file.seek(0)
            for batch in pa.ipc.open_stream(self._file):
                mask = chosen[begin : begin + batch.num_rows]
                begin += batch.num_rows
                if mask.any():
                    yield batch if mask.all() else batch.filter(pa.array(mask))

    def versions(
        self, places: Collection[int], resource_type: str, fhir_version: str, then: Sequence[ResourceVersion] = ()
    ) -> StagedVersions:
        """Return what the log takes: the versions at some places, in the order of arrival.

        Parameters
        ----------
        places : collection of int
            Which ones.
        resource_type, fhir_version : str
            Of all of them.
        then : sequence of ResourceVersion
            What comes after them, such as tombstones.
        """
        return StagedVersions(self, places, resource_type, fhir_version, then)


@dataclass(frozen=True)
class StagedVersions:
    """Versions that the log takes from a stage, batch by batch."""

    stage: Stage
    places: Collection[int]
    resource_type: str
    fhir_version: str
    then: Sequence[ResourceVersion] = ()

    def __len__(self) -> int:
        return len(self.places) + len(self.then)

    def columns(self) -> Iterator[dict[str, Any]]:
        """Yield the columns of one batch after the other, by name: arrays, or one value for all rows."""
        same = {"resource_type": self.resource_type, "fhir_version": self.fhir_version, "fell_out": None}
        for batch in self.stage.rows(self.places):
            yield dict(zip(batch.schema.names, batch.columns, strict=True)) | same
        yield from columns_of(self.then)


def columns_of(versions: Sequence[ResourceVersion]) -> Iterator[dict[str, Any]]:
    """Yield the columns of versions that are in memory, as one batch; none when there are none.

    Parameters
    ----------
    versions : sequence of ResourceVersion
        In order.
    """
    if versions:
        yield {name: [getattr(version, name) for version in versions] for name in vars(versions[0])}


def _texts(raws: Sequence[bytes]) -> pa.StringArray:
    """Return bytes that were decoded before as texts: Arrow would look a second time whether they are UTF-8."""
    ends = np.zeros(len(raws) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, raws), np.int32, len(raws)), out=ends[1:])
    return pa.StringArray.from_buffers(len(raws), pa.py_buffer(ends), pa.py_buffer(b"".join(raws)))


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or "the disk takes no more"
        raise DatasetError(
            f"What the server sends could not be kept: {reason}.", hint="Make room, pull again."
        ) from None
