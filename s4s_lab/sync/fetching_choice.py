"""Which studies a fetch is about: those that were asked for, as far as the record knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from s4s_lab.errors import NotInDataset, UsageError
from s4s_lab.fhir import study_uid_of
from s4s_lab.fhir.decoding import decode_checked
from s4s_lab.lake import ConnectionRecord, Dataset
from s4s_lab.values.uids import bare_uid

Wanted = pd.DataFrame | Iterable[str] | str | None
"""Rows with a column `study_uid`, Study Instance UIDs, or None for all."""


def chosen_studies(studies: Wanted, data: Dataset, record: ConnectionRecord) -> dict[str, dict[str, Any]]:
    """Return the ImagingStudies that are wanted, by study UID, in the order they were asked for.

    Parameters
    ----------
    studies : DataFrame, iterable of str, str or None
        Rows of other connections, which a table over several participants has, are left out.
    data : Dataset
        Where the record was pulled to.
    record : ConnectionRecord
        Whose record.

    Raises
    ------
    NotInDataset
        If one is not in the record.
    UsageError
        If the table has no column study_uid, or what is given is no choice of studies.
    """
    known = _studies_of(data, record)
    if studies is None:
        return known
    if isinstance(studies, str):
        studies = [studies]
    given: object = studies
    if not isinstance(given, Iterable) or isinstance(given, Mapping | bytes):
        hint = "Give rows of the table imaging_study, Study Instance UIDs, or nothing for all."
        raise UsageError(f"{type(given).__name__} is nothing to choose studies by.", hint=hint)
    if isinstance(studies, pd.DataFrame):
        studies = _uids_of(studies, record)
    wanted = list(dict.fromkeys(bare_uid(str(uid)) for uid in studies))
    unknown = [uid for uid in wanted if uid not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise NotInDataset(f"Study {unknown[0]}{more} is not in this participant's record.", hint="Pull first.")
    return {uid: known[uid] for uid in wanted}


def _studies_of(data: Dataset, record: ConnectionRecord) -> dict[str, dict[str, Any]]:
    """Return what the record shows of ImagingStudy now, by study UID; those without one by `no study UID: <id>`."""
    current = data.log.current(record, "ImagingStudy")
    present = {key for key, version in current.items() if version.fell_out is None}
    studies = {}
    for key, raw in data.log.each_raw(record, "ImagingStudy", present):
        study = decode_checked(raw.encode(), "The log")
        studies[study_uid_of(study) or f"no study UID: {key}"] = study
    return studies


def _uids_of(rows: pd.DataFrame, record: ConnectionRecord) -> Iterable[str]:
    if {"source", "patient_id"} <= set(rows.columns):
        rows = rows[(rows["source"] == record.fhir_url) & (rows["patient_id"] == record.patient_id)]
    if "study_uid" not in rows.columns:
        raise UsageError("The table has no column study_uid.", hint="Pass rows of the table imaging_study.")
    return rows["study_uid"].dropna()
