"""The ledger in pulls/: what each run did, one row a resource type. It is advice: nothing that it says is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Schema

from s4s_lab.lake import delta, durable
from s4s_lab.lake.connections import ConnectionRecord
from s4s_lab.lake.locks import Locks
from s4s_lab.values.instants import format_instant, parse_date_time, utc_now

# When a commit of the log was last set aside, beside the ledger.
_LOST = "lost.json"
PullMode = Literal["first", "update", "broad"]
FilterBehaviour = Literal["honoured", "started-like", "ignored", "empty", "broken", "unknown"]
PullOutcome = Literal["done", "waiting", "failed", "skipped"]


@dataclass(frozen=True)
class PullRow:
    """What one run did for one resource type of one connection.

    Parameters
    ----------
    run_id : str
        The run; rows of the log carry it too.
    connection_id : str
        Whose record.
    resource_type : str
        FHIR resource type.
    mode : str
        `first`, `update` or `broad`.
    query_fingerprint : str
        Identifies the query without `_lastUpdated`.
    started_at, ended_at : datetime
        Our clock, aware.
    requests, pages : int
        What it took.
    new, changed, unchanged, fallen_out, returned : int
        What it brought, in resources.
    last_check : datetime or None
        The watermark after the run.
    filter : str
        How the server treats `_lastUpdated`: `honoured`, `started-like` (it means the study's own date), `ignored`,
        `empty`, `broken` or `unknown`.
    waits_s : float
        Time that the server asked for and got [s].
    outcome : str
        `done`, `waiting`, `failed`, or `skipped` where the server does not offer the type.
    warnings : tuple of str
        Sentences for the user.
    next_broad : datetime or None
        When the next broad pull is due.
    overlap_s : int
        How far before last_check the next update asks [s].
    not_before : datetime or None
        The earliest moment to ask again, when the server named one.
    differences : str
        JSON: what the broad pull found and updates had missed.
    query : str
        What was asked, without the patient; empty when nothing was.
    """

    run_id: str
    connection_id: str
    resource_type: str
    mode: PullMode
    query_fingerprint: str
    started_at: datetime
    ended_at: datetime
    requests: int = 0
    pages: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    fallen_out: int = 0
    returned: int = 0
    last_check: datetime | None = None
    filter: FilterBehaviour = "unknown"
    waits_s: float = 0.0
    outcome: PullOutcome = "done"
    warnings: tuple[str, ...] = ()
    next_broad: datetime | None = None
    overlap_s: int = 300
    not_before: datetime | None = None
    differences: str = "[]"
    query: str = ""


def _field(name: str, kind: pa.DataType, meaning: str, *, unit: str = "", null: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"meaning": meaning, "unit": unit})


_INSTANT = pa.timestamp("ms", "UTC")
# fmt: off
LEDGER_SCHEMA = pa.schema([
    _field("run_id", pa.string(), "the run; rows of the log carry it too"),
    _field("connection_id", pa.string(), "whose record"),
    _field("resource_type", pa.string(), "FHIR resource type"),
    _field("mode", pa.string(), "first, update or broad"),
    _field("query_fingerprint", pa.string(), "identifies the query without _lastUpdated"),
    _field("started_at", _INSTANT, "begin of the run, our clock"),
    _field("ended_at", _INSTANT, "end of the run, our clock"),
    _field("requests", pa.int64(), "HTTP requests"),
    _field("pages", pa.int64(), "pages received"),
    _field("new", pa.int64(), "resources seen for the first time"),
    _field("changed", pa.int64(), "resources with another content"),
    _field("unchanged", pa.int64(), "resources with the same content"),
    _field("fallen_out", pa.int64(), "resources no longer in the record"),
    _field("returned", pa.int64(), "resources back in the record"),
    _field("last_check", _INSTANT, "the watermark after the run, the server's clock", null=True),
    _field("filter", pa.string(), "how the server treats _lastUpdated"),
    _field("waits_s", pa.float64(), "time that the server asked for and got", unit="s"),
    _field("outcome", pa.string(), "done, waiting, failed or skipped"),
    _field("warnings", pa.list_(pa.string()), "sentences for the user"),
    _field("next_broad", _INSTANT, "when the next broad pull is due", null=True),
    _field("overlap_s", pa.int64(), "how far before last_check the next update asks", unit="s"),
    _field("not_before", _INSTANT, "the earliest moment to ask again, when the server named one", null=True),
    _field("differences", pa.string(), "JSON: what the broad pull found and updates had missed"),
    _field("query", pa.string(), "what was asked, without the patient; ledgers of before have none", null=True),
])
# fmt: on


@dataclass(frozen=True)
class Ledger:
    """The Delta table pulls/: one commit a run.

    Parameters
    ----------
    path : Path
        The table's folder.
    locks : Locks
        The dataset's locks.
    """

    path: Path
    locks: Locks

    def record(self, rows: Sequence[PullRow]) -> int:
        """Append the rows of one run in one commit.

        Parameters
        ----------
        rows : sequence of PullRow
            None: nothing is committed.

        Returns
        -------
        int
            The ledger's version.

        Raises
        ------
        DatasetBusy
            If maintenance goes on.
        """
        if not rows:
            return int(delta.open_table(self.path).version())
        table = pa.Table.from_pylist([vars(row) for row in rows], LEDGER_SCHEMA)
        with self.locks.writing():
            _add_new_columns(delta.open_table(self.path))
            commit = delta.append(self.path, table, transactions={})
            delta.make_durable([commit])
        return commit.version

    def rows(self, record: ConnectionRecord | None = None) -> pa.Table:
        """Return the ledger, oldest run first.

        Where a commit of the log was set aside, no run before that says when the next broad pull is due: updates do
        not bring again what was in it, so everything is asked for at once.

        Parameters
        ----------
        record : ConnectionRecord, optional
            Only the runs of this connection.
        """
        where = None if record is None else f"connection_id = {delta.literal(record.connection_id)}"
        handle = delta.open_table(self.path)
        missing = _missing(handle)
        found = delta.read(handle, pa.schema([f for f in LEDGER_SCHEMA if f not in missing]), where=where)
        for field in missing:
            found = found.append_column(field, pa.nulls(found.num_rows, field.type))
        if (lost_at := _lost_at(self.path.parent)) is not None:
            before = pc.less_equal(found["started_at"], pa.scalar(lost_at, _INSTANT))
            due = pc.if_else(before, pa.scalar(None, _INSTANT), found["next_broad"])
            place = found.schema.get_field_index("next_broad")
            found = found.set_column(place, found.schema.field(place), due)
        return found.sort_by([(name, "ascending") for name in ("started_at", "run_id", "resource_type")])


def _missing(handle: DeltaTable) -> list[pa.Field]:
    """Return the columns that a ledger of an earlier version of S4S Lab does not have."""
    there = {field.name for field in handle.schema().fields}
    return [field for field in LEDGER_SCHEMA if field.name not in there]


def _add_new_columns(handle: DeltaTable) -> None:
    if missing := _missing(handle):
        handle.alter.add_columns(list(Schema.from_arrow(pa.schema(missing)).fields))


def create_ledger(path: Path) -> None:
    """Create the empty ledger: version 0.

    Parameters
    ----------
    path : Path
        The Delta table's folder.
    """
    delta.create(path, LEDGER_SCHEMA)


def note_loss(root: Path) -> None:
    """Remember that a commit of the log is being set aside, so that the next pulls are broad.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """
    durable.write_durably(root / _LOST, json.dumps({"at": format_instant(utc_now())}).encode())


def _lost_at(root: Path) -> datetime | None:
    try:
        return parse_date_time(json.loads((root / _LOST).read_bytes())["at"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        # Damaged: it still says that there was a loss, and one broad pull more is no harm.
        return utc_now()
