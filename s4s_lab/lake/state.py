"""What the log says now: the newest version of every resource, what fell out, a digest of it all. Pure."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

KEY = ("source", "patient_id", "resource_type", "resource_id")
# Versions of one resource are written by one pull after the other, each of which had seen the log that the one before
# made: so the version of the log that the writer saw orders them, whatever compaction does to files.
ORDER = ("after_version", "received_at", "position")


def newest(rows: pa.Table) -> pa.Table:
    """Return the newest row of every resource, sorted by source, patient, type and id.

    Parameters
    ----------
    rows : pa.Table
        Rows of the log, at least its key and order columns.
    """
    frame = rows.select([*KEY, *ORDER]).to_pandas()
    chosen = frame.sort_values([*KEY, *ORDER]).drop_duplicates(list(KEY), keep="last").index
    return rows.take(pa.array(chosen, pa.int64()))


def standing(rows: pa.Table) -> pa.Table:
    """Return the newest received version of every resource, with `fell_out_at` where a tombstone came after it.

    Parameters
    ----------
    rows : pa.Table
        Rows of the log.
    """
    received = newest(rows.filter(pc.is_valid(rows["raw"])))
    last = newest(rows)
    gone = last.filter(pc.is_valid(last["fell_out"]))
    since = pd.Series(gone["received_at"].to_pandas().array, index=_keys(gone), dtype="datetime64[ms, UTC]")
    moments = pa.array(since.reindex(_keys(received)).array, pa.timestamp("ms", "UTC"), from_pandas=True)
    return received.append_column("fell_out_at", moments)


def _keys(rows: pa.Table) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows.select(list(KEY)).to_pandas())


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
