"""A type's pull as a row of the dataset's ledger."""

from __future__ import annotations

import json
from dataclasses import asdict

from s4s_lab.lake import ConnectionRecord, PullRow
from s4s_lab.sync.reports import TypePull
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
