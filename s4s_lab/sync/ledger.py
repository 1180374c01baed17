"""A type's pull as a row of the dataset's ledger, and back: what a report says can be read again later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from s4s_lab.lake import ConnectionRecord, Dataset, PullRow
from s4s_lab.sync.reports import Difference, PullReport, TypePull
from s4s_lab.values.instants import utc_now


def ledger_row(record: ConnectionRecord, run_id: str, result: TypePull) -> PullRow:
    """Return the ledger's row for what became of one type.

    Parameters
    ----------
    record : ConnectionRecord
        Whose pull it was.
    run_id : str
        Which run.
    result : TypePull
        What became of the type.
    """
    now = utc_now()
    return PullRow(
        run_id=run_id,
        connection_id=record.connection_id,
        resource_type=result.resource_type,
        mode=result.mode,
        query_fingerprint=result.fingerprint,
        started_at=result.started_at or now,
        ended_at=now,
        requests=result.requests,
        pages=result.pages,
        new=result.new,
        changed=result.changed,
        unchanged=result.unchanged,
        fallen_out=result.fallen_out,
        returned=result.returned,
        last_check=result.last_check,
        filter=result.filter,
        waits_s=result.waited_s,
        outcome=result.outcome,
        warnings=result.warnings,
        next_broad=result.next_broad,
        overlap_s=result.overlap_s,
        not_before=result.not_before,
        query=result.query,
        differences=json.dumps([asdict(difference) for difference in result.differences]),
    )


def type_pull(row: Mapping[str, Any]) -> TypePull:
    """Return what the ledger's row says became of one type: equal to what the pull itself reported.

    Parameters
    ----------
    row : mapping
        A row of the ledger.
    """
    return TypePull(
        resource_type=row["resource_type"],
        mode=row["mode"],
        outcome=row["outcome"],
        started_at=row["started_at"],
        fingerprint=row["query_fingerprint"],
        query=row["query"] or "",
        requests=row["requests"],
        pages=row["pages"],
        new=row["new"],
        changed=row["changed"],
        unchanged=row["unchanged"],
        fallen_out=row["fallen_out"],
        returned=row["returned"],
        last_check=row["last_check"],
        filter=row["filter"],
        waited_s=row["waits_s"],
        next_broad=row["next_broad"],
        not_before=row["not_before"],
        overlap_s=row["overlap_s"],
        warnings=tuple(row["warnings"]),
        differences=tuple(Difference(**found) for found in json.loads(row["differences"])),
    )


def last_pull(data: Dataset, record: ConnectionRecord) -> PullReport | None:
    """Return what the newest run of each type of a connection did, as one report; None before the first.

    Parameters
    ----------
    data : Dataset
        Whose ledger.
    record : ConnectionRecord
        Whose pulls.
    """
    rows = data.ledger.rows(record).to_pylist()
    if not rows:
        return None
    newest = {row["resource_type"]: row for row in rows}
    types = sorted(map(type_pull, newest.values()), key=lambda item: (item.started_at, item.resource_type))
    return PullReport(record.fhir_url, record.patient_id, rows[-1]["run_id"], tuple(types))
