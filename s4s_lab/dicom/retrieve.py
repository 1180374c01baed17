"""Retrieve one study by WADO-RS into the cache: one try, streamed, in constant memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Literal

from s4s_lab.dicom.address import ACCEPT, archive_key, below, study_url
from s4s_lab.dicom.cache import DicomCache
from s4s_lab.dicom.content_type import ContentType, parse_content_type
from s4s_lab.dicom.deposit import Deposit, deposit
from s4s_lab.dicom.index import CachedStudy, StudyKey
from s4s_lab.dicom.listing import listed_series
from s4s_lab.dicom.multipart import MultipartParser
from s4s_lab.dicom.resume import DeclaredSeries, Missing, missing
from s4s_lab.errors import (
    AccessRefused,
    DatasetError,
    NotReachable,
    NotRetrievable,
    S4SError,
    TruncatedAnswer,
    UnexpectedAnswer,
    Waiting,
)
from s4s_lab.net import HttpClient, Stream, retry_after, shown
from s4s_lab.values.instants import utc_now
from s4s_lab.values.uids import checked_uid

_NOT_READY_S: Final = 30.0
_SNIFFED_BYTES: Final = 1024
_REFUSED_ACCEPT: Final = frozenset({400, 406})
_ABSENT: Final = frozenset({404, 410})
_REFUSES_GRANT: Final = frozenset({401, 403})
_PARTIAL_CONTENT: Final = 206


@dataclass(frozen=True)
class StudyRequest:
    """A study to retrieve.

    Parameters
    ----------
    wado_base : str
        The address of the Endpoint, in any form that `study_url` takes.
    study_uid : str
        Study Instance UID, with or without `urn:oid:`.
    expected : int or None
        How many instances it should have (`ImagingStudy.numberOfInstances`).
    source : str
        FHIR base URL of the server that named the study.
    patient_id : str
        FHIR id of the patient.
    participant_id : str or None
        The research study's own pseudonym.
    series : tuple of DeclaredSeries
        The record's series: a study that is here in part is completed by what is missing of them.
    """

    wado_base: str
    study_uid: str
    expected: int | None
    source: str
    patient_id: str
    participant_id: str | None = None
    series: tuple[DeclaredSeries, ...] = ()


@dataclass(frozen=True)
class Retrieval:
    """What one retrieval brought.

    Parameters
    ----------
    study_uid : str
        Bare.
    state : "complete" or "partial"
        Complete: the closing boundary was seen, and the count agrees with what was expected.
    instances : int
        Files of the study that are in the cache now.
    new : int
        How many of them this retrieval brought.
    expected : int or None
        As in the request.
    bytes : int
        Size of all files of the study in the cache [bytes].
    seconds : float
        How long it took [s].
    issues : tuple of str
        What was odd, one sentence each.
    archive : str
        What `archive_key` gives: where in the cache the study is.
    """

    study_uid: str
    state: Literal["complete", "partial"]
    instances: int
    new: int
    expected: int | None
    bytes: int
    seconds: float
    issues: tuple[str, ...]
    archive: str


_Judged = tuple[Literal["complete", "partial"], tuple[str, ...], int]


@dataclass(frozen=True)
class _Job:
    """What one retrieval needs from begin to end; `url` is the study's."""

    client: HttpClient
    cache: DicomCache
    study: StudyKey
    url: str
    request: StudyRequest
    on_bytes: Callable[[int], None]


def _received_whole(job: _Job) -> _Judged:
    """Ask for the whole study; what is here already is passed over as it comes."""
    with (
        _asked(job.client, job.url) as stream,
        deposit(job.cache.root, job.cache.index, job.study) as incoming,
    ):
        _require_success(stream, job.url)
        _receive(stream, incoming, job.url, job.on_bytes)
    return *_judged(incoming, len(incoming.seen), job.request.expected, {stream.status}), incoming.new


@dataclass(frozen=True)
class _Left:
    """What is left to ask for of a study, and how many instances the archive lists; None where it was not asked."""

    wanted: tuple[Missing, ...]
    listed: int | None = None


def _left(job: _Job) -> _Left | None:
    """Return what is left to ask for, by the record or, where that is not exact, by the archive's own list."""
    held = job.cache.held(job.study.archive, job.study.study_uid)
    left = missing(held, job.request.series)
    if not any(held.values()) or (left and all(one.instance_uid or not held.get(one.series_uid) for one in left)):
        return None if left is None else _Left(left)
    listed = listed_series(job.client, job.url, job.study.study_uid)
    if listed is None:
        # Also when all that is declared is here: the archive may have more, and its end was not seen.
        return _Left(left) if left else None
    left = missing(held, listed)
    # A list may be made while the archive still fills: that nothing is left counts only if the record says so too.
    if left or sum(map(len, held.values())) == job.request.expected:
        return _Left(left or (), sum(one.count or 0 for one in listed))
    return None


def _completed(job: _Job) -> _Judged | None:
    """Ask for what is missing of a study that is here in part; None when the whole study has to be asked for."""
    left = _left(job)
    if left is None:
        return None
    statuses = set()
    with deposit(job.cache.root, job.cache.index, job.study) as incoming:
        for one in left.wanted:
            url = below(job.url, one.path)
            with _asked(job.client, url) as stream:
                if stream.status not in _REFUSES_GRANT and not _is_success(stream):
                    # A service for whole studies is all that S4S asks of an archive.
                    return None
                _require_success(stream, url)
                _receive(stream, incoming, url, job.on_bytes)
                statuses.add(stream.status)
    found = job.cache.study(job.study.archive, job.study.study_uid).instances
    state, issues = _judged(incoming, found, job.request.expected, statuses)
    if left.listed is not None and found < left.listed:
        issues = (*issues, f"the archive lists {left.listed} instances, {found} came")
        state = "partial"
    return state, issues, incoming.new


def _ignore(_count: int) -> None:
    """Take the number of bytes that came, and do nothing."""


def retrieve_study(
    client: HttpClient, cache: DicomCache, request: StudyRequest, *, on_bytes: Callable[[int], None] = _ignore
) -> Retrieval:
    """Retrieve a study into the cache, part by part; what is there already is not written again.

    Of a study that is here in part only what is missing is asked for, by series or by instance, where the record or the
    archive's own metadata tells what that is and the archive knows such addresses; else the whole study. Each address
    is asked with `transfer-syntax=*` first, which brings the archive's own bytes; a server that refuses that form (400,
    406) is asked in the S4S page's. Each part is written beside its place, hashed and its header read while it streams,
    moved under its checked UIDs when it is whole, and indexed when it is on disk for good. However the retrieval ends,
    whole parts are kept and the open one is removed.

    Parameters
    ----------
    client : HttpClient
        Signs and sends the request.
    cache : DicomCache
        Where the files go.
    request : StudyRequest
        What to retrieve.
    on_bytes : callable
        Called with the size of each piece of the body [bytes], and with 0 while another process retrieves the study;
        what it raises ends the retrieval.

    Returns
    -------
    Retrieval
        Also when the count disagrees: then it is `partial`, and the issues say so.

    Raises
    ------
    Waiting
        If the archive is not ready: 503 or 429, or success without a multipart body.
    TruncatedAnswer
        If the closing boundary never came.
    NotRetrievable
        If the archive does not have the study (404, 410).
    AccessRefused
        If the grant does not cover it (401, 403).
    UnexpectedAnswer
        If the answer is a web page, or no multipart that could be read.
    BadUid
        If the request's UID is none.
    DatasetBusy
        If another process retrieves the study for more than an hour.
    DatasetError
        If the files cannot be written.

    References
    ----------
    S4S imaging page, retrieval steps 1 to 3, and "Note on 503 response status and Retry-After hints". DICOM PS3.18,
    sections 8.7 and 10.4.
    """
    began = time.monotonic()
    url = study_url(request.wado_base, request.study_uid)
    archive = archive_key(request.wado_base, request.patient_id)
    study_uid = checked_uid(request.study_uid)
    study = StudyKey(archive, study_uid, request.source, request.patient_id, request.participant_id)
    try:
        with cache.receiving(archive, study_uid, partial(on_bytes, 0)) as waited:
            if waited and _is_whole(cached := cache.study(archive, study_uid), request.expected):
                return _retrieval(cached, "complete", request, began, new=0, issues=())
            job = _Job(client, cache, study, url, request, on_bytes)
            state, issues, new = _completed(job) or _received_whole(job)
            cache.index.settle(study, state, request.expected)
            cached = cache.study(archive, study_uid)
            return _retrieval(cached, state, request, began, new=new, issues=issues)
    except S4SError:
        raise
    except OSError as error:
        raise DatasetError(f"The images cannot be written: {error.strerror or 'input/output error'}.") from None


def _is_whole(cached: CachedStudy, expected: int | None) -> bool:
    return cached.state == "complete" and expected in (None, cached.instances)


def _retrieval(
    cached: CachedStudy,
    state: Literal["complete", "partial"],
    request: StudyRequest,
    began: float,
    *,
    new: int,
    issues: tuple[str, ...],
) -> Retrieval:
    seconds = time.monotonic() - began
    return Retrieval(
        cached.study_uid, state, cached.instances, new, request.expected, cached.bytes, seconds, issues, cached.archive
    )


@contextmanager
def _asked(client: HttpClient, url: str) -> Iterator[Stream]:
    """Ask for the study in one form of `Accept` after the other, until the server does not object to the form."""
    for accept in ACCEPT:
        with client.stream(url, accept=accept) as stream:
            if stream.status not in _REFUSED_ACCEPT or accept == ACCEPT[-1]:
                yield stream
                return


def _is_success(stream: Stream) -> bool:
    return 200 <= stream.status < 300


def _require_success(stream: Stream, url: str) -> None:
    where = f"{shown(url)} answered HTTP {stream.status}"
    if stream.status in _ABSENT:
        raise NotRetrievable(f"{where}: the archive does not have this study.", hint="Pull again, then fetch.")
    if stream.status in _REFUSES_GRANT:
        raise AccessRefused(f"{where}: these images may not be had with this grant.")
    if not _is_success(stream):
        raise UnexpectedAnswer(f"{where} instead of images.", hint="Fetch again later.")


def _receive(stream: Stream, incoming: Deposit, url: str, on_bytes: Callable[[int], None]) -> None:
    content_type = parse_content_type(stream.headers.get("content-type", ""))
    if content_type.is_multipart:
        before = incoming.parts
        _receive_parts(stream, incoming, content_type, on_bytes)
        if incoming.parts == before:
            raise _not_ready(stream, url)
    elif content_type.media_type == "application/dicom":
        _receive_single(stream, incoming, on_bytes)
    else:
        _refuse_page(stream, content_type, url)
        raise _not_ready(stream, url)


def _receive_parts(
    stream: Stream, incoming: Deposit, content_type: ContentType, on_bytes: Callable[[int], None]
) -> None:
    parser = MultipartParser(content_type.boundary, incoming)
    came, broken = 0, False
    try:
        for chunk in stream.chunks():
            came += len(chunk)
            on_bytes(len(chunk))
            parser.feed(chunk)
            incoming.pass_on()
            if parser.closed:
                return
    except NotReachable:
        broken = True
    # An empty body that was meant to be empty is no broken one: the archive is not ready.
    if came or broken:
        parser.close()


def _receive_single(stream: Stream, incoming: Deposit, on_bytes: Callable[[int], None]) -> None:
    """Take a body that is one file: some services answer so for a study of one instance."""
    headers = stream.headers
    if "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "").lower():
        raise TruncatedAnswer("The answer is a single file without a length, so nothing shows whether it is whole.")
    incoming.begin_part({})
    try:
        for chunk in stream.chunks():
            on_bytes(len(chunk))
            incoming.part_data(memoryview(chunk))
            incoming.pass_on()
    except NotReachable:
        raise TruncatedAnswer("The answer broke off within its single file.") from None
    incoming.end_part()


def _refuse_page(stream: Stream, content_type: ContentType, url: str) -> None:
    start = next(stream.chunks(), b"")[:_SNIFFED_BYTES].lstrip().lower()
    if "html" in content_type.media_type or start.startswith((b"<!doctype html", b"<html")):
        hint = "A login page or a proxy stands in between: check the address and the grant."
        raise UnexpectedAnswer(f"{shown(url)} answered with a web page instead of images.", hint=hint)


def _not_ready(stream: Stream, url: str) -> Waiting:
    """Return the wait for a success without images: brokers answer so while the archive is still being asked."""
    now = utc_now()
    asked = retry_after(stream.headers.get("retry-after"), date=stream.headers.get("date"), now=now)
    not_before = now + timedelta(seconds=max(1.0, _NOT_READY_S if asked is None else asked))
    return Waiting(f"{shown(url)} answered HTTP {stream.status} without images yet.", not_before=not_before)


def _judged(
    incoming: Deposit, found: int, expected: int | None, statuses: Collection[int]
) -> tuple[Literal["complete", "partial"], tuple[str, ...]]:
    issues = list(incoming.issues)
    if _PARTIAL_CONTENT in statuses:
        issues.append("the archive said that this is only a part of the study (HTTP 206)")
    if expected is not None and found != expected:
        issues.append(f"{expected} instances were expected, {found} came")
    # Where nobody declares a count, a part that could not be filed may be the one that is missing.
    counted = found == expected if expected is not None else not incoming.aside
    whole = _PARTIAL_CONTENT not in statuses and found > 0 and counted
    return "complete" if whole else "partial", tuple(issues)
