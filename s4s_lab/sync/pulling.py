"""pull: one participant's record at one server, into the dataset. Nothing is kept of a listing that is not whole."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal
from uuid import uuid4

from s4s_lab.connection import Connection
from s4s_lab.errors import (
    AccessRefused,
    DatasetBusy,
    NotEverything,
    NotReachable,
    S4SError,
    ServerError,
    TableBehind,
    UsageError,
    Waiting,
)
from s4s_lab.lake import Dataset, Stage
from s4s_lab.net import Patience, Trace
from s4s_lab.sync.advice import Advice, advice_from
from s4s_lab.sync.asking import Run
from s4s_lab.sync.ledger import ledger_row
from s4s_lab.sync.listing import Source, Tally
from s4s_lab.sync.onetype import fingerprint, pull_type
from s4s_lab.sync.plan import PlanItem, planned
from s4s_lab.sync.progress import Progress, progress
from s4s_lab.sync.reports import PullReport, TypePull
from s4s_lab.sync.waits import KeptWaits
from s4s_lab.values.instants import from_millis, to_millis, utc_now

PullMode = Literal["auto", "first", "update", "broad"]
_MODES = ("auto", "first", "update", "broad")
_EARLIER = "the server asked for time in an earlier run"


def pull(
    link: Connection,
    data: Dataset,
    *,
    mode: PullMode = "auto",
    types: Sequence[str] | None = None,
    max_wait_s: float = 1800.0,
    trace: bool | Trace = False,
) -> PullReport:
    """Bring a participant's record into the dataset: first pull, periodic update, or broad pull when one is due.

    For each resource type in turn the server is asked, page by page, and when every page has arrived the new versions
    are appended to the log in one commit that holds lastCheck too. Then the tables of this participant are refreshed.
    A type that fails changes nothing and does not stop the others; the report says so, and a `NotEverything` warning.

    Parameters
    ----------
    link : Connection
        What a launch gave.
    data : Dataset
        Where to keep it.
    mode : {"auto", "first", "update", "broad"}
        `first` and `broad` ask for the whole record, `update` for what changed since lastCheck. `auto` chooses: first
        when nothing was pulled yet, broad when one is due, else update.
    types : sequence of str, optional
        Resource types to pull; by default all of the plan.
    max_wait_s : float
        The most that the whole run waits for a server that asks for time [s]. Beyond it a type's outcome is `waiting`.
        A type that is put off stops no other; two in a row do: then the server is left alone until it said.
    trace : bool or Trace
        True: the report's `trace` holds the HTTP exchanges, without ids, tokens and bodies, for talking to the people
        who run the server. A `Trace` of your own is there as well when the pull ends in an error.

    Returns
    -------
    PullReport
        What was asked and what came, type by type.

    Raises
    ------
    UsageError
        If mode or types are unknown.
    AuthorizationError
        If the grant has ended, or is from before somebody was forgotten here: connect again.
    NotReachable
        If the server does not answer at all.
    DatasetBusy
        If another process is pulling the same connection.

    References
    ----------
    S4S imaging page, "On first-connection", "On periodic-update", and the note on repeating the broad queries.
    """
    items = checked_plan(mode, types)
    began = time.monotonic()
    data.require_consent(link.fhir_url, link.patient_id, link.granted_at)
    record = data.connection(link.fhir_url, link.patient_id, link.participant_id)
    results: list[TypePull] = []
    recorder = trace if isinstance(trace, Trace) else Trace() if trace else None
    with ExitStack() as open_:
        open_.enter_context(data.pulling(record))
        bar = open_.enter_context(progress(total=len(items), unit="type"))
        client = open_.enter_context(link.client(Patience(max_wait_s, bar.waiting, bar.sleep), trace=recorder))
        run = Run(link, data, record, client, uuid4().hex, mode, tuple(data.ledger.rows(record).to_pylist()))
        open_.enter_context(_kept(run, results))
        for item in items:
            bar.step(item.resource_type)
            results.append(_guarded(run, item, bar, put_off=origin_waits(results)))
    seconds = time.monotonic() - began
    report = PullReport(record.fhir_url, record.patient_id, run.run_id, tuple(results), seconds, recorder)
    if report.outcome != "done":
        warnings.warn(NotEverything(_what_is_missing(report)), stacklevel=2)
    return report


def checked_plan(mode: str, types: Sequence[str] | None) -> tuple[PlanItem, ...]:
    """Return the plan of a pull.

    Parameters
    ----------
    mode : str
        As for `pull`.
    types : sequence of str, optional
        As for `pull`.

    Raises
    ------
    UsageError
        If mode or types are unknown.
    """
    if mode not in _MODES:
        raise UsageError(f"{mode!r} is no mode of a pull.", hint=f"Choose from: {', '.join(_MODES)}.")
    return planned(None if types is None else tuple(types))


@contextmanager
def _kept(run: Run, results: list[TypePull]) -> Iterator[None]:
    """Record what became of the types and refresh the tables, also when an error ends the pull: that one is raised."""
    try:
        yield
    except BaseException as ending:
        try:
            _keep(run, results)
        except (S4SError, OSError) as error:
            ending.add_note(f"After that, the tables could not be refreshed: {error}")
        raise
    try:
        _keep(run, results)
    except DatasetBusy as busy:
        text = f"Everything is in the dataset; its tables follow when they are read: {busy}"
        warnings.warn(TableBehind(text), stacklevel=5)


def _keep(run: Run, results: list[TypePull]) -> None:
    run.data.ledger.record([ledger_row(run.record, run.run_id, result) for result in results])
    run.data.refresh([(run.record.fhir_url, run.record.patient_id)])


def origin_waits(results: Sequence[TypePull]) -> datetime | None:
    """Return until when a server is to be left alone altogether, None while it is not known to ask that.

    A search that is put off says something of its own type: the others go on meanwhile. When the next type that is
    asked for is put off too, it is the server that is busy.

    Parameters
    ----------
    results : sequence of TypePull
        What became of the types so far, in order.
    """
    asked = [result for result in results if result.query][-2:]
    moments = [result.not_before for result in asked if result.outcome == "waiting" and result.not_before]
    return max(moments) if len(moments) == 2 else None


def _what_is_missing(report: PullReport) -> str:
    parts = [f"{item.resource_type} ({item.outcome})" for item in report.types if item.outcome in ("waiting", "failed")]
    return f"The pull ended without everything: {', '.join(parts)}. Its report says why."


def _guarded(run: Run, item: PlanItem, bar: Progress, *, put_off: datetime | None) -> TypePull:
    """Pull one type; what the server does to this type alone becomes its outcome and stops no other."""
    started = utc_now()
    waits = KeptWaits(run.data.path(), run.record.connection_id)
    advice = _advised(run, item, waits, started)
    blank = _blank(run, item, advice, started)
    base = run.link.base_of(item.resource_type)
    if base is None:
        return replace(blank, outcome="skipped", warnings=("the server does not offer this type",))
    if put_off is not None:
        text = "not asked for: the server asked for time with two types before it"
        return replace(blank, outcome="waiting", not_before=put_off, warnings=(text,))
    tally = Tally()
    with bar.counting(tally, partial(waits.keep, item.resource_type)), ExitStack() as stages:
        try:
            if advice.not_before is not None:
                run.client.wait_until(advice.not_before, reason=_EARLIER, url=run.link.fhir_url)
            new_stage = partial(_stage_in, run.data.path(), stages)
            source = Source(run.client, base, run.link.patient_id, item, tally, new_stage)
            result = pull_type(run, source, advice)
        except NotReachable:
            raise
        except Waiting as wait:
            told = (*tally.warnings, str(wait))
            result = replace(
                blank, outcome="waiting", not_before=from_millis(to_millis(wait.not_before)), warnings=told
            )
        except (AccessRefused, ServerError, UsageError) as error:
            result = replace(blank, outcome="failed", warnings=(*tally.warnings, str(error)))
    waits.keep(item.resource_type, result.not_before)
    if result.outcome in ("waiting", "failed"):
        result = replace(result, mode=tally.mode or result.mode, last_check=tally.last_check)
    return replace(
        result,
        started_at=started,
        query=tally.query,
        requests=tally.requests,
        pages=tally.pages,
        waited_s=tally.waited_s,
    )


def _advised(run: Run, item: PlanItem, waits: KeptWaits, started: datetime) -> Advice:
    """Return what earlier runs know of a type, the wait included in which one of them was stopped."""
    advice = advice_from(run.ledger, item.resource_type, started, fingerprint(run.link, item))
    moments = [moment for moment in (advice.not_before, waits.not_before(item.resource_type)) if moment is not None]
    return replace(advice, not_before=max(moments, default=None))


def _stage_in(folder: Path, stages: ExitStack) -> Stage:
    return stages.enter_context(Stage(folder))


def _blank(run: Run, item: PlanItem, advice: Advice, started: datetime) -> TypePull:
    """Return the result of a type before anything was asked: what is known of it from earlier runs."""
    return TypePull(
        item.resource_type,
        "update" if advice.last_mode else "first",
        started_at=started,
        filter=advice.filter,
        next_broad=advice.next_broad,
        overlap_s=int(advice.overlap.total_seconds()),
        fingerprint=fingerprint(run.link, item),
    )
