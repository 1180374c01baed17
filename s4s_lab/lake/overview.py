"""Overviews: how pulls stand, and what the columns of a declared table are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from s4s_lab.lake.connections import ConnectionRecord, Connections
from s4s_lab.lake.ledger import Ledger
from s4s_lab.lake.log import ResourceLog

_INSTANT = pa.timestamp("ms", "UTC")
_STATUS = pa.schema(
    [
        ("source", pa.string()),
        ("patient_id", pa.string()),
        ("participant_id", pa.string()),
        ("resource_type", pa.string()),
        ("last_check", _INSTANT),
        ("last_mode", pa.string()),
        ("last_outcome", pa.string()),
        ("last_run", _INSTANT),
        ("next_broad", _INSTANT),
        ("not_before", _INSTANT),
        ("rows", pa.int64()),
        ("fallen_out", pa.int64()),
    ]
)
Place = tuple[str, str]


def dictionary_of(schema: pa.Schema) -> pa.Table:
    """Return what each column of a declared table is: one row a column, key `column`.

    Parameters
    ----------
    schema : pa.Schema
        Fields with their metadata.
    """
    rows: list[dict[str, str]] = []
    for field in schema:
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append({"column": field.name, "type": str(field.type), **said})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in names})


def status_of(connections: Connections, log: ResourceLog, ledger: Ledger) -> pa.Table:
    """Return how pulls stand: one row per connection and resource type.

    Parameters
    ----------
    connections : Connections
        Who is connected.
    log : ResourceLog
        What is there.
    ledger : Ledger
        What was done.
    """
    records = {record.connection_id: record for record in connections.all()}
    there, gone = _counted(log)
    runs = {(row["connection_id"], row["resource_type"]): row for row in ledger.rows().to_pylist()}
    checks = _checks(connections, log, list(records.values()), runs)
    places = {place for place in {*there, *gone, *runs, *checks} if place[0] in records}
    rows = [
        _row(records[place[0]], place[1], runs.get(place, {}))
        | {"last_check": checks.get(place), "rows": there[place], "fallen_out": gone[place]}
        for place in places
    ]
    table = pa.Table.from_pylist(rows, _STATUS)
    return table.sort_by([(name, "ascending") for name in ("source", "patient_id", "resource_type")])


def _counted(log: ResourceLog) -> tuple[Counter[Place], Counter[Place]]:
    there: Counter[Place] = Counter()
    gone: Counter[Place] = Counter()
    for row in log.state().select(["connection_id", "resource_type", "fell_out"]).to_pylist():
        counts = there if row["fell_out"] is None else gone
        counts[row["connection_id"], row["resource_type"]] += 1
    return there, gone


def _checks(
    connections: Connections, log: ResourceLog, records: list[ConnectionRecord], runs: Mapping[Place, Mapping[str, Any]]
) -> dict[Place, datetime | None]:
    """Return each type's lastCheck under the scopes by which it was asked for last.

    Each set of scopes has a watermark of its own. Where no run tells which one is in use, the earliest promises nothing
    that is not there.
    """
    found: dict[Place, datetime | None] = {}
    last_check = log.last_checks()
    for record in records:
        by_type: dict[str, dict[str, datetime]] = {}
        for resource_type, asks, cursor_id in connections.cursors(record):
            if (moment := last_check(cursor_id)) is not None:
                by_type.setdefault(resource_type, {})[asks] = moment
        for resource_type, by_query in by_type.items():
            place = (record.connection_id, resource_type)
            asked = runs.get(place, {}).get("query_fingerprint")
            found[place] = by_query.get(asked) if asked else min(by_query.values())
    return found


def _row(record: ConnectionRecord, resource_type: str, run: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": record.fhir_url,
        "patient_id": record.patient_id,
        "participant_id": record.participant_id,
        "resource_type": resource_type,
        "last_mode": run.get("mode"),
        "last_outcome": run.get("outcome"),
        "last_run": run.get("ended_at"),
        "next_broad": run.get("next_broad"),
        "not_before": run.get("not_before"),
    }
