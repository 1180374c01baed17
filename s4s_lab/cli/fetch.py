"""`s4s fetch`: the images of studies into the cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pandas as pd
import typer

from s4s_lab.cli.connections import Report, chosen, each, opened, outcome
from s4s_lab.cli.options import DatasetFolder, JsonOutput, MaxWait, Patient, RenewedClient
from s4s_lab.cli.output import DONE, command, emit, note, say, show
from s4s_lab.cli.pull import CODES
from s4s_lab.connection import Connection
from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.explore import having
from s4s_lab.lake import ConnectionRecord, Dataset
from s4s_lab.sync import FetchReport, fetch
from s4s_lab.values.origins import origin_of
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
    source: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Only from the archive at this address, of several."),
    ] = None,
    registration: RenewedClient = None,
    max_wait: MaxWait = 1800.0,
    json_output: JsonOutput = False,
) -> int:
    """Fetch studies of each connection."""
    if not (study or modality or all_studies):
        raise UsageError("Nothing says which studies to fetch.", hint="Give --study UID, --modality CODE or --all.")
    if all_studies and (study or modality):
        raise UsageError("--all means every study.", hint="Leave it out, or --study and --modality.")
    data = opened(dataset)
    uids = [checked_uid(text) for text in study or ()]
    rows = data.table("imaging_study")
    records = chosen(data, patient)
    _require_known(uids, rows)
    there = rows if patient is None else _of_any(records, rows)
    if there.empty:
        note("note: no study is known yet; pull first: s4s pull --dataset DIR")
    code_of = None if modality is None else modality.strip().upper()
    found = there if code_of is None else having(there, modalities=code_of)
    if code_of is not None and found.empty:
        return _nothing(there, code_of, json_output=json_output)
    _require_chosen(uids, found)
    fetching = _Fetching(data, found, uids, everything=not uids and modality is None, source=source, silent=json_output)
    code, reports = each(records, fetching, max_wait_s=max_wait, renewed_client=registration)
    if json_output:
        _emit(code, reports, fetching.studies)
    return code


def _emit(code: int, reports: list[Report], studies: list[Report]) -> None:
    errors = [report["error"] for report in reports if "error" in report]
    emit({"outcome": outcome(code), "studies": studies} | ({"errors": errors} if errors else {}))


@dataclass
class _Fetching:
    """Fetches what was chosen of one connection after the other, and gathers what is to be told of each study."""

    data: Dataset
    rows: pd.DataFrame
    uids: list[str]
    everything: bool
    source: str | None
    silent: bool
    studies: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.source is not None:
            origin_of(self.source)

    def __call__(self, link: Connection, record: ConnectionRecord, left_s: float) -> tuple[int, Report]:
        wanted = None if self.everything else _of(record, self.rows, self.uids)
        report = fetch(link, self.data, wanted, max_wait_s=left_s, source=self.source)
        if not self.silent:
            show_fetch(report)
        self.studies.extend(report.to_json()["studies"])
        return CODES[report.outcome], report.to_json()


def _require_known(uids: list[str], rows: pd.DataFrame) -> None:
    unknown = set(uids) - set(rows["study_uid"].dropna())
    if unknown:
        raise NotInDataset(f"Study {min(unknown)} is not in the dataset.", hint="Pull first, or check the UID.")


def _require_chosen(uids: list[str], found: pd.DataFrame) -> None:
    other = set(uids) - set(found["study_uid"].dropna())
    if other:
        raise NotInDataset(
            f"Study {min(other)} is none of what the other options choose.", hint="Check --patient and --modality."
        )


def _of_any(records: list[ConnectionRecord], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of some connections."""
    places = {(record.fhir_url, record.patient_id) for record in records}
    return rows[[place in places for place in zip(rows["source"], rows["patient_id"], strict=True)]]


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
    for text in report.errors():
        say(f"  {text}")
