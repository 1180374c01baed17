"""What the log says now: the newest version of every resource, what fell out, a digest of it all. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

KEY = ("source", "patient_id", "resource_type", "resource_id")
# Versions of one resource are written by one pull after the other, each of which had seen the log that the one before
# made: so the version of the log that the writer saw orders them, whatever compaction does to files.
ORDER = ("after_version", "received_at", "position")


# What names a row of the log among those of its type, and decides which version of a resource holds.
NAMED_BY = tuple(name for name in (*KEY, *ORDER) if name != "resource_type")


def names_of(rows: pa.Table | pa.RecordBatch) -> list[tuple[Any, ...]]:
    """Return what names each row among those of its type.

    Parameters
    ----------
    rows : pa.Table or pa.RecordBatch
        With the columns of `NAMED_BY`.
    """
    return list(zip(*(rows.column(name).to_pylist() for name in NAMED_BY), strict=True))


def newest(rows: pa.Table) -> pa.Table:
    """Return the newest row of every resource, sorted by source, patient, type and id.

    Parameters
    ----------
    rows : pa.Table
        Rows of the log, at least its key and order columns.
    """
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in (*KEY, *ORDER)])
    first = first_of_run(rows.select(list(KEY)).take(order), KEY)
    last = np.append(first[1:], True)[: len(first)]
    return rows.take(order.filter(pa.array(last)))


def first_of_run(rows: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Say of every row whether it differs from the one before in any of some columns; a null equals a null.

    Parameters
    ----------
    rows : pa.Table
        Any rows.
    columns : sequence of str
        Which columns to compare.

    Returns
    -------
    ndarray of bool, shape (rows,)
        True in the first row.
    """
    first = np.zeros(rows.num_rows, dtype=np.bool_)
    first[:1] = True
    for name in columns:
        if not rows[name].null_count:
            values = rows[name].combine_chunks()
            first[1:] |= pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
            continue
        codes = rows[name].combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
        first[1:] |= codes[1:] != codes[:-1]
    return first


def standing(rows: pa.Table) -> pa.Table:
    """Return the newest received version of every resource, with `fell_out_at` where a tombstone came after it.

    Parameters
    ----------
    rows : pa.Table
        Rows of the log; `raw` is not needed.
    """
    received = newest(rows.filter(pc.is_null(rows["fell_out"])))
    last = newest(rows)
    gone = last.filter(pc.is_valid(last["fell_out"]))
    since = dict(zip(_keys(gone), gone["received_at"].to_pylist(), strict=True))
    moments = [since.get(key) for key in _keys(received)] if since else [None] * received.num_rows
    return received.append_column("fell_out_at", pa.array(moments, pa.timestamp("ms", "UTC")))


def _keys(rows: pa.Table) -> list[tuple[str, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))


def digest(rows: pa.Table) -> str:
    """Return the SHA-256 of the current state: one JSON line a resource, in order of its key.

    A line holds source, patient, type, id, content hash and, where it fell out, the reason: no instant and no run, so
    that two logs that came to the same state by different ways have the same digest.

    Parameters
    ----------
    rows : pa.Table
        Rows of the log; `raw` is not needed.

    Returns
    -------
    str
        `sha256:` and 64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for row in newest(rows).select([*KEY, "content_hash", "fell_out"]).to_pylist():
        total.update(json.dumps(list(row.values()), ensure_ascii=True).encode() + b"\n")
    return f"sha256:{total.hexdigest()}"
