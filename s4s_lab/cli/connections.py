"""Running a verb over the connections of a dataset: each has its own outcome, the gravest is the exit code."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s4s_lab.cli.output import CONNECT_AGAIN, DONE, FAILED, USAGE, WAITING, exit_code, gravest, note, sentence_of
from s4s_lab.connection import Connection, kept_access, reopen
from s4s_lab.errors import GrantExpired, NotInDataset, S4SError
from s4s_lab.lake import ConnectionRecord, Dataset, open_dataset
from s4s_lab.net import Patience
from s4s_lab.smart import FileGrants
from s4s_lab.sync.progress import progress
from s4s_lab.values import Registration

Report = dict[str, Any]
Verb = Callable[[Connection, ConnectionRecord, float], tuple[int, Report]]
_OUTCOME = {DONE: "done", WAITING: "waiting", FAILED: "failed", CONNECT_AGAIN: "failed"}


def opened(dataset: Path) -> Dataset:
    """Open a dataset that has to be there already."""
    return open_dataset(dataset, create=False)


def chosen(data: Dataset, patient: str | None) -> list[ConnectionRecord]:
    """Return the dataset's connections, or one person's.

    Of all connections those are left out that were disconnected on purpose, while there are others.

    Parameters
    ----------
    data : Dataset
        Whose connections.
    patient : str or None
        A FHIR patient id, or the study's own pseudonym; None: all.

    Raises
    ------
    NotInDataset
        If there are none.
    """
    records = data.connections()
    if not records:
        raise NotInDataset("The dataset has no connection.", hint="Connect first: s4s connect FHIR_URL --dataset DIR.")
    if patient is not None:
        return _of(records, patient)
    there = [record for record in records if not disconnected(record)]
    if 0 < len(there) < len(records):
        note(f"note: left out: {len(records) - len(there)} disconnected (s4s status names them)")
    return there or records


def _of(records: list[ConnectionRecord], patient: str) -> list[ConnectionRecord]:
    found = [record for record in records if patient in (record.patient_id, record.participant_id)]
    if not found:
        raise NotInDataset("The dataset has no connection of this patient.", hint="s4s status names those it has.")
    return found


def disconnected(record: ConnectionRecord) -> bool:
    """Say whether a connection was given back on purpose.

    Parameters
    ----------
    record : ConnectionRecord
        Of the dataset.
    """
    try:
        return kept_access(record.grants_path).state == "disconnected"
    except S4SError:
        return False


def each(
    records: list[ConnectionRecord],
    verb: Verb,
    *,
    max_wait_s: float,
    renewed_client: Path | None = None,
    to_disconnect: bool = False,
) -> tuple[int, list[Report]]:
    """Run `verb` over connections; an error of one becomes its report and stops no other.

    Parameters
    ----------
    records : list of ConnectionRecord
        Which connections.
    verb : callable
        Takes the reopened connection, its record, and how long it may still wait [s]; gives an exit code and a report.
    max_wait_s : float
        The most to wait for each connection's server, from finding it on [s].
    renewed_client : Path, optional
        A registration with a new secret or key, for the connections of that client.
    to_disconnect : bool
        As for `connection.reopen`.

    Returns
    -------
    tuple of int and list of dict
        The gravest exit code, and one report a connection.

    Raises
    ------
    UsageError
        If `renewed_client` cannot be used.
    """
    renewed = Registration.from_file(renewed_client) if renewed_client else None
    codes, reports = [], []
    for record in records:
        try:
            link, left_s = _reopened(record, max_wait_s, renewed, to_disconnect=to_disconnect)
            code, report = verb(link, record, left_s)
        except BrokenPipeError:
            raise
        # Whatever it is, a night's pull of a hundred participants shall not end at the third one.
        except Exception as error:  # the one place that catches everything: it is told, and counts as failed
            code, text = _told(error)
            who = f"patient {record.patient_id}: " if len(records) > 1 else ""
            note(f"s4s: {who}{text}")
            report = {
                "fhir_url": record.fhir_url,
                "patient_id": record.patient_id,
                "outcome": _OUTCOME.get(code, "failed"),
                "error": text,
            }
        codes.append(code)
        reports.append(report)
    return gravest(codes), reports


def _told(error: Exception) -> tuple[int, str]:
    """Return the exit code and the sentence for what ended the work on one connection."""
    if isinstance(error, S4SError):
        # What is unusable here is this connection's: the words of the command were judged before.
        return (FAILED if exit_code(error) == USAGE else exit_code(error)), str(error)
    if isinstance(error, OSError):
        return FAILED, sentence_of(error)
    # Its own words may hold anything of the record: where it was raised says as much, and nothing of anybody.
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return FAILED, f"{type(error).__name__} ({where}) was not foreseen and ended this connection's turn: report this."


def _reopened(
    record: ConnectionRecord, max_wait_s: float, renewed: Registration | None, *, to_disconnect: bool
) -> tuple[Connection, float]:
    """Return the connection, and what is left of the time to wait [s]."""
    if not record.grants_path.exists():
        raise GrantExpired("The dataset keeps no grant for this connection.")
    kept = FileGrants(record.grants_path, to_end=to_disconnect).origin.registration if renewed else None
    with progress(total=1, unit="connection") as bar:
        link = reopen(
            record.grants_path,
            registration=renewed if renewed and kept and kept.client_id == renewed.client_id else None,
            patience=Patience(max_wait_s, bar.waiting, bar.sleep),
            to_disconnect=to_disconnect,
        )
    return link, max(max_wait_s - bar.waited_s, 0.0)


def outcome(code: int) -> str:
    """Return the word that reports use for an exit code."""
    return _OUTCOME.get(code, "failed")
