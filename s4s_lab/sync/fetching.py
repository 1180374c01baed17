"""fetch: the DICOM files of studies, from the archives their Endpoints name, into the dataset's cache."""

from __future__ import annotations

import heapq
import itertools
import json
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import pandas as pd

from s4s_lab.connection import Connection
from s4s_lab.dicom import CachedStudy, Retrieval, StudyRequest, retrieve_study
from s4s_lab.errors import (
    AccessRefused,
    ImageError,
    NotEverything,
    NotInDataset,
    NotReachable,
    NotRetrievable,
    S4SError,
    ServerError,
    TruncatedAnswer,
    UsageError,
    Waiting,
)
from s4s_lab.fhir import endpoint_references, image_addresses, study_uid_of
from s4s_lab.lake import ConnectionRecord, Dataset
from s4s_lab.net import HttpClient, Patience, Wait
from s4s_lab.sync.declared import declared_instances, declared_series
from s4s_lab.sync.endpoints import EndpointLookup
from s4s_lab.sync.fetching_outlook import is_here, outlook
from s4s_lab.sync.progress import Progress, progress
from s4s_lab.sync.reports import FetchReport, SeriesFetch, StudyFetch
from s4s_lab.sync.waits import KeptWaits
from s4s_lab.values.instants import utc_now
from s4s_lab.values.uids import bare_uid

# A stream that breaks is asked for again: what arrived whole is kept, so each try begins where the last one ended.
TRIES = 3


@dataclass(order=True)
class _Turn:
    """One study's place in the queue: the earliest moment first, then the order of the request."""

    not_before: datetime
    number: int
    study: Mapping[str, Any] = field(compare=False)
    broken: int = field(default=0, compare=False)
    waited_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class _Fetch:
    link: Connection
    data: Dataset
    client: HttpClient
    lookup: EndpointLookup
    waits: KeptWaits
    bar: Progress
    deadline: float


def fetch(
    link: Connection,
    data: Dataset,
    studies: pd.DataFrame | Iterable[str] | str | None = None,
    *,
    max_wait_s: float = 1800.0,
) -> FetchReport:
    """Retrieve studies by WADO-RS into the cache; resumes where an earlier fetch stopped.

    Before it starts it shows how many studies are wanted, how many of them are here, and how much is to come, as far as
    the record tells. Studies that are complete in the cache are not asked for. The others are asked for in turn; an
    archive that answers "not yet" (503 with Retry-After, or no images) is left alone until the moment it named, and the
    other studies go on meanwhile. Afterwards the table `dicom_instance` shows every file.

    Parameters
    ----------
    link : Connection
        The connection whose record names the studies.
    data : Dataset
        Where the record was pulled to, and where the images go.
    studies : DataFrame with a column `study_uid`, iterable of str, or str, optional
        Study Instance UIDs; all studies of the record when None. Rows of a table that has the columns `source` and
        `patient_id` count where they are this connection's.
    max_wait_s : float
        How long to go on while no study is ready [s]. What is still not ready then has the state `waiting`, and is not
        asked for before its time by a later fetch either.

    Returns
    -------
    FetchReport
        One row a study: state, files, bytes, time, waits, what went wrong; `outlook` is what was shown before.

    Raises
    ------
    NotInDataset
        If a study is not in this participant's record: pull first.
    AuthorizationError
        If the grant has ended: connect again.
    DatasetBusy
        If the participant is being forgotten.

    References
    ----------
    S4S imaging page, retrieval steps 1 to 3, and "Note on 503 response status and Retry-After hints".
    """
    began = time.monotonic()
    data.require_consent(link.fhir_url, link.patient_id, link.granted_at)
    record = data.connection(link.fhir_url, link.patient_id, link.participant_id)
    chosen = _chosen(_rows_of(studies, record), _studies_of(data, record))
    before = outlook(chosen, _cached(data, link))
    with (
        data.fetching(record),
        progress(total=len(chosen), unit="study") as bar,
        link.client(Patience(max_wait_s, bar.waiting, bar.sleep)) as client,
    ):
        lookup = EndpointLookup(data, record, client, link.base_of("ImagingStudy") or link.fhir_url)
        waits = KeptWaits(data.path(), record.connection_id)
        job = _Fetch(link, data, client, lookup, waits, bar, time.monotonic() + max_wait_s)
        bar.say(str(before))
        try:
            results = _work_off(job, chosen)
        finally:
            data.refresh_images()
    report = FetchReport(tuple(results), time.monotonic() - began, before)
    left = [study.study_uid for study in report.studies if study.state != "complete"]
    if left:
        warnings.warn(NotEverything(f"{len(left)} of {len(report.studies)} studies are not complete."), stacklevel=2)
    return report


def _studies_of(data: Dataset, record: ConnectionRecord) -> dict[str, dict[str, Any]]:
    """Return what the record shows of ImagingStudy now, by study UID; those without one by `no study UID: <id>`."""
    current = data.log.current(record, "ImagingStudy")
    present = [key for key, version in current.items() if version.fell_out is None]
    studies = {}
    for key, raw in data.log.raw(record, "ImagingStudy", present).items():
        study = json.loads(raw)
        studies[study_uid_of(study) or f"no study UID: {key}"] = study
    return studies


def _cached(data: Dataset, link: Connection, study_uid: str | None = None) -> dict[str, CachedStudy]:
    """Return what is here of the patient's studies, of each the fullest copy; archives' addresses may have changed."""
    found: dict[str, CachedStudy] = {}
    for study in data.images.studies(link.fhir_url, link.patient_id, study_uid):
        best = found.setdefault(study.study_uid, study)
        if best.state != "complete" and study.state == "complete":
            found[study.study_uid] = study
    return found


def _rows_of(
    studies: pd.DataFrame | Iterable[str] | str | None, record: ConnectionRecord
) -> pd.DataFrame | Iterable[str] | str | None:
    """Leave out rows of other connections, which a table over several participants has."""
    if not isinstance(studies, pd.DataFrame) or not {"source", "patient_id"} <= set(studies.columns):
        return studies
    return studies[(studies["source"] == record.fhir_url) & (studies["patient_id"] == record.patient_id)]


def _chosen(
    studies: pd.DataFrame | Iterable[str] | str | None, known: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    if studies is None:
        return known
    if isinstance(studies, str):
        studies = [studies]
    if isinstance(studies, pd.DataFrame):
        if "study_uid" not in studies.columns:
            raise UsageError("The table has no column study_uid.", hint="Pass rows of the table imaging_study.")
        studies = studies["study_uid"].dropna()
    wanted = list(dict.fromkeys(bare_uid(str(uid)) for uid in studies))
    unknown = [uid for uid in wanted if uid not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise NotInDataset(f"Study {unknown[0]}{more} is not in this participant's record.", hint="Pull first.")
    return {uid: known[uid] for uid in wanted}


def _work_off(job: _Fetch, studies: Mapping[str, dict[str, Any]]) -> list[StudyFetch]:
    """Ask for each study in turn, the soonest first, until all are settled; results in the order of the request."""
    start = utc_now()
    names = list(studies)
    turns = enumerate(studies.items())
    queue = [_Turn(job.waits.not_before(uid) or start, number, study) for number, (uid, study) in turns]
    heapq.heapify(queue)
    done: dict[int, StudyFetch] = {}
    while queue:
        turn = heapq.heappop(queue)
        if not _wait_for(job, turn, queue):
            for late in itertools.chain([turn], queue):
                text = f"The archive asked to come back after {late.not_before.isoformat(timespec='seconds')}."
                unfinished = _unfinished(job, names[late.number], late.study, "waiting", text)
                done[late.number] = replace(unfinished, waited_s=late.waited_s)
            break
        job.bar.step(names[turn.number])
        result = _try(job, names[turn.number], turn)
        told = result.not_before if isinstance(result, _Turn) and result.broken == turn.broken else None
        job.waits.keep(names[turn.number], told)
        if isinstance(result, _Turn):
            heapq.heappush(queue, result)
        else:
            done[turn.number] = replace(result, waited_s=turn.waited_s)
            job.bar.step(names[turn.number], done=True)
    return [done[number] for number in sorted(done)]


def _wait_for(job: _Fetch, turn: _Turn, others: list[_Turn]) -> bool:
    """Sleep until the turn may begin; False when that is later than allowed. `others` all come later still."""
    left = (turn.not_before - utc_now()).total_seconds()
    if left <= 0:
        return True
    if time.monotonic() + left > job.deadline:
        return False
    reason = f"{1 + len(others)} studies are being prepared"
    job.bar.waiting(Wait(left, reason, job.link.fhir_url))
    job.bar.sleep(left)
    for waiting in (turn, *others):
        waiting.waited_s += left
    return True


def _try(job: _Fetch, study_uid: str, turn: _Turn) -> StudyFetch | _Turn:
    """Ask once for one study: a result, or its next turn."""
    try:
        retrieval = _retrieve(job, study_uid, turn.study)
        return _retrieved(retrieval, turn.study, _by_series(job, retrieval, turn.study))
    except Waiting as wait:
        return replace(turn, not_before=wait.not_before)
    except (TruncatedAnswer, NotReachable) as error:
        if turn.broken + 1 < TRIES:
            return replace(turn, broken=turn.broken + 1)
        return _unfinished(job, study_uid, turn.study, "failed", str(error))
    except (AccessRefused, ImageError, ServerError, UsageError) as error:
        return _unfinished(job, study_uid, turn.study, "failed", str(error))


def _unfinished(
    job: _Fetch, study_uid: str, study: Mapping[str, Any], state: Literal["waiting", "failed"], error: str
) -> StudyFetch:
    """Report a study that is not to be had now, with what is here of it already."""
    cached = _cached(job.data, job.link, study_uid).get(study_uid)
    instances, size = (cached.instances, cached.bytes) if cached else (0, 0)
    return StudyFetch(study_uid, state, instances, declared_instances(study), bytes=size, error=error)


def _retrieve(job: _Fetch, study_uid: str, study: Mapping[str, Any]) -> Retrieval:
    """Try the study's addresses in order until one has it; a complete study in the cache needs none."""
    cached = _cached(job.data, job.link, study_uid).get(study_uid)
    if cached is not None and is_here(cached, study):
        return Retrieval(
            study_uid, "complete", cached.instances, 0, cached.expected, cached.bytes, 0.0, (), cached.archive
        )
    addresses = image_addresses(dict(study), job.lookup)
    if not addresses:
        for reference in endpoint_references(dict(study)):
            if reference in job.lookup.refusals:
                raise job.lookup.refusals[reference]
        raise NotRetrievable("The record names no endpoint for this study.", hint="Its metadata is all there is.")
    failures: list[S4SError] = []
    for address in addresses:
        request = StudyRequest(
            wado_base=address.wado_base,
            study_uid=address.study_uid,
            expected=declared_instances(study),
            source=job.link.fhir_url,
            patient_id=job.link.patient_id,
            participant_id=job.link.participant_id,
            series=declared_series(study),
        )
        try:
            return retrieve_study(job.client, job.data.images, request)
        except (AccessRefused, NotRetrievable, ServerError) as error:
            failures.append(error)
    raise failures[0]


def _by_series(job: _Fetch, retrieval: Retrieval, study: Mapping[str, Any]) -> tuple[SeriesFetch, ...]:
    """Compare what is in the cache, series by series, with what the record declares."""
    here = job.data.images.series(retrieval.archive, retrieval.study_uid)
    declared = {series.series_uid: series.count for series in declared_series(study)}
    return tuple(
        SeriesFetch(uid, *here.get(uid, (0, 0)), expected=declared.get(uid))
        for uid in dict.fromkeys([*declared, *here])
    )


def _retrieved(retrieval: Retrieval, study: Mapping[str, Any], series: tuple[SeriesFetch, ...]) -> StudyFetch:
    issues = list(retrieval.issues)
    declared = declared_instances(study)
    if retrieval.state == "partial" and not issues and declared is not None:
        issues.append(f"the record declares {declared} instances and the archive gave {retrieval.instances}")
    issues += [
        f"series {one.series_uid}: {one.expected} instances are declared, {one.instances} are here"
        for one in series
        if one.state != "complete"
    ]
    return StudyFetch(
        study_uid=retrieval.study_uid,
        state=retrieval.state,
        instances=retrieval.instances,
        expected=declared,
        new=retrieval.new,
        bytes=retrieval.bytes,
        seconds=retrieval.seconds,
        error="; ".join(issues) or None,
        series=series,
    )
