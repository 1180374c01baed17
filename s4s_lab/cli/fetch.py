"""`s4s fetch`: the images of studies into the cache."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import typer

from s4s_lab.cli.connections import Report, chosen, each, opened, outcome
from s4s_lab.cli.options import DatasetFolder, JsonOutput, MaxWait, Patient
from s4s_lab.cli.output import DONE, command, emit, note, say, show
from s4s_lab.cli.pull import CODES
from s4s_lab.connection import Connection
from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.explore import having
from s4s_lab.lake import ConnectionRecord
from s4s_lab.sync import FetchReport, fetch
from s4s_lab.values.uids import checked_uid


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "fetch",
        help="Fetch the DICOM files of studies into the dataset's cache; goes on where it stopped.",
        epilog="Example: s4s fetch --dataset study --modality CT",
    )(command(run))


def run(
    dataset: DatasetFolder,
    study: Annotated[list[str] | None, typer.Option(metavar="UID", help="This study; may be given again.")] = None,
    modality: Annotated[str | None, typer.Option(metavar="CODE", help="Studies with this modality.")] = None,
    all_studies: Annotated[bool, typer.Option("--all", help="Every study of the record.")] = False,
    patient: Patient = None,
    max_wait: MaxWait = 1800.0,
    json_output: JsonOutput = False,
) -> int:
    """Fetch studies of each connection."""
    if not (study or modality or all_studies):
        raise UsageError("Nothing says which studies to fetch.", hint="Give --study UID, --modality CODE or --all.")
    data = opened(dataset)
    uids = [checked_uid(text) for text in study or ()]
    rows = data.table("imaging_study")
    records = chosen(data, patient)
    if modality is not None:
        there = rows if patient is None else having(rows, patient_id=patient)
        rows = having(there, modalities=modality)
        if rows.empty:
            return _nothing(there, modality, json_output=json_output)
    unknown = set(uids) - set(rows["study_uid"].dropna())
    if unknown:
        raise NotInDataset(f"Study {min(unknown)} is not in the dataset.", hint="Pull first, or check the UID.")
    studies: list[Report] = []

    def verb(link: Connection, record: ConnectionRecord, left_s: float) -> tuple[int, Report]:
        chosen_studies = None if not uids and modality is None else _of(record, rows, uids)
        report = fetch(link, data, chosen_studies, max_wait_s=left_s)
        if not json_output:
            show_fetch(report)
        studies.extend(report.to_json()["studies"])
        return CODES[report.outcome], report.to_json()

    code, reports = each(records, verb, max_wait_s=max_wait)
    if json_output:
        errors = [report["error"] for report in reports if "error" in report]
        emit({"outcome": outcome(code), "studies": studies} | ({"errors": errors} if errors else {}))
    return code


def _nothing(studies: pd.DataFrame, modality: str, *, json_output: bool) -> int:
    """Say that no study has the modality, and which there are; nothing is wrong, so the exit code is 0."""
    known = sorted({str(code) for codes in studies["modalities"].dropna() for code in codes})
    there = f"there are {', '.join(known)}" if known else "the record names none"
    note(f"note: No study has modality {modality}; {there}.")
    if json_output:
        emit({"outcome": outcome(DONE), "studies": []})
    return DONE


def _of(record: ConnectionRecord, rows: pd.DataFrame, uids: list[str]) -> list[str]:
    """Return the study UIDs of one connection's record among `rows`, all of them or those asked for."""
    mine = rows[(rows["source"] == record.fhir_url) & (rows["patient_id"] == record.patient_id)]
    known = [str(uid) for uid in mine["study_uid"].dropna()]
    return [uid for uid in known if uid in uids] if uids else known


def show_fetch(report: FetchReport, title: str | None = None) -> None:
    """Write a fetch's report as a table, what went wrong below it.

    Parameters
    ----------
    report : FetchReport
        What to tell.
    title : str, optional
        Above the table; the outcome when None.
    """
    rows = [
        [study.study_uid, study.state, study.instances, study.expected, f"{study.bytes / 1e6:.2f}"]
        for study in report.studies
    ]
    show(title or f"Fetch: {report.outcome}", ["study_uid", "state", "files", "expected", "MB"], rows)
    for study in report.studies:
        if study.error:
            say(f"  {study.study_uid}: {study.error}")
