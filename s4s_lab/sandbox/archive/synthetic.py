"""The synthetic archive: invented people with their studies and claims, and a change that happens on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import numpy as np

from s4s_lab.sandbox.archive import claims, records
from s4s_lab.sandbox.archive.people import EASTERN, STORIES, Exam, Person, digest, invent, story
from s4s_lab.sandbox.archive.pictures import exam_images
from s4s_lab.sandbox.archive.protocols import PROTOCOLS
from s4s_lab.sandbox.archive.store import Archive, Participant, Stored, store
from s4s_lab.values.instants import parse_date
from s4s_lab.values.uids import bare_uid

NOTICE = "These people and their records are invented."
_REPORTED = ("CT", "MR", "MG")


def synthetic_archive(seed: int, wado_url: str) -> Archive:
    """Return an archive of invented people.

    Parameters
    ----------
    seed : int
        The same seed gives the same people, records and image bytes.
    wado_url : str
        Base address of the WADO-RS service, for the Endpoints.
    """
    people = [invent(seed, number) for number in range(len(STORIES))]
    participants = tuple(Participant(one.patient_id, one.name, one.birth_date.isoformat()) for one in people)
    archive = Archive(participants, NOTICE)
    archive.put([store(records.endpoint(wado_url), None, datetime(2020, 11, 3, 14, 20, 7, 412000, tzinfo=UTC))])
    for number, person in enumerate(people):
        exams = story(seed, number)
        archive.put(_record(person, exams, wado_url), map(exam_images, exams))
    return archive


def _after(moment: datetime, resource: dict[str, Any]) -> datetime:
    """Return when a record reached the server: hours to days later, differently for each, to the millisecond."""
    spread = np.random.default_rng(list(digest(resource["id"])[:8]))
    late = moment.astimezone(UTC) + timedelta(milliseconds=int(spread.integers(40 * 60_000, 5 * 86_400_000)))
    return late.replace(microsecond=late.microsecond // 1000 * 1000)


def _record(person: Person, exams: list[Exam], wado_url: str) -> Iterator[Stored]:
    def stored(resource: dict[str, Any], moment: datetime) -> Stored:
        return store(resource, person.patient_id, _after(moment, resource))

    enrolled = datetime(2020, 12, 1, 9, tzinfo=EASTERN)
    yield stored(records.patient(person), enrolled)
    for plan in records.PLANS:
        yield stored(records.coverage(person, plan), enrolled)
    for exam in exams:
        study = stored(records.imaging_study(exam, wado_url), exam.started)
        yield study
        if PROTOCOLS[exam.protocol].modality in _REPORTED:
            yield stored(records.report(exam, exam.started + timedelta(hours=19)), study.last_updated)
        for claim in claims.exam_claims(exam):
            yield stored(claim, exam.started + timedelta(days=10))
    for number in range(6):
        day = date(2021, 4, 6) + timedelta(days=int(digest(person.patient_id)[0]) + 280 * number)
        yield stored(claims.pharmacy_claim(person, day, number), datetime.combine(day, time(15), EASTERN))
    dentist = date(2022, 9, 8)
    yield stored(claims.oral_claim(person, dentist), datetime.combine(dentist, time(11), EASTERN))


@dataclass(frozen=True)
class Change:
    """What a change on the server did, as relative references.

    Parameters
    ----------
    added, changed, removed : list of str
        Such as `ImagingStudy/img-0b51c5ab20d7`.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]


def change(archive: Archive, patient_id: str, number: int, wado_url: str) -> Change:
    """Change a participant's record: a new study with its claim, one study changed, one removed.

    Parameters
    ----------
    archive : Archive
        Any archive; what it holds of the participant is changed.
    patient_id : str
        Whose record.
    number : int
        How many changes there were before; it decides what the new study is.
    wado_url : str
        Base address of the WADO-RS service.

    Returns
    -------
    Change
        Every resource of it has now as `meta.lastUpdated`; nothing tells of the removed one but its absence.
    """
    exam = _new_exam(_person(archive, patient_id), number)
    with archive.changing() as now:
        return _changed(archive, exam, now, wado_url)


def _changed(archive: Archive, exam: Exam, now: datetime, wado_url: str) -> Change:
    patient_id = exam.person.patient_id
    before = sorted(archive.snapshot("ImagingStudy", patient_id)[1], key=_started)
    added = [records.imaging_study(exam, wado_url), claims.exam_claims(exam)[0] | _insurance(archive, patient_id)]
    versions = [store(one, patient_id, now) for one in added]
    archive.put(versions, [exam_images(exam)])
    # A study with a report is left alone where there is another: its report would refer to nothing.
    removed = ([one for one in before if not _has_report(archive, one)] or before)[:1]
    changed = [_amended(one, now) for one in before if one not in removed][:1]
    archive.put(changed)
    for one in removed:
        archive.remove(one, bare_uid(str(one.resource.get("uid", ""))))
    return Change(*([one.reference for one in group] for group in (versions, changed, removed)))


def _person(archive: Archive, patient_id: str) -> Person:
    """Return who is examined anew, from the Patient that an archive holds, whatever archive it is."""
    held = archive.read("Patient", patient_id)
    resource = held.resource if held is not None else {}
    name = next(iter(resource.get("name") or [{}]))
    identifier = next(iter(resource.get("identifier") or [{}]))
    return Person(
        patient_id=patient_id,
        mrn=str(identifier.get("value") or patient_id)[:64],
        given=" ".join(map(str, name.get("given") or ())),
        family=str(name.get("family") or patient_id),
        gender=str(resource.get("gender") or "unknown"),
        birth_date=_birth_date(resource),
        street="",
        seed=0,
    )


def _birth_date(resource: dict[str, Any]) -> date:
    try:
        return parse_date(str(resource.get("birthDate")))
    except ValueError:
        return date(1900, 1, 1)


def _insurance(archive: Archive, patient_id: str) -> dict[str, Any]:
    """Return whose plan pays: one that the participant has, so that the reference leads somewhere."""
    held = [one for one in archive.snapshot("Coverage", patient_id)[1] if one.patient_id == patient_id]
    coverage = {"reference": held[0].reference} if held else {"display": "No plan on file"}
    return {"insurance": {"coverage": coverage}}


def _started(one: Stored) -> str:
    return str(one.resource.get("started", ""))


def _has_report(archive: Archive, study: Stored) -> bool:
    _, held = archive.snapshot("DiagnosticReport", study.patient_id)
    return any({"reference": study.reference} in one.resource.get("imagingStudy", ()) for one in held)


def _amended(study: Stored, now: datetime) -> Stored:
    """Return the next version of a study, with an amended description."""
    resource = msgspec.json.decode(study.raw, type=dict[str, msgspec.Raw])
    described = str(study.resource.get("description", "Study"))
    fields: dict[str, Any] = {name: value for name, value in resource.items() if name != "meta"}
    fields |= {
        "resourceType": study.resource_type,
        "id": study.resource_id,
        "description": f"{described.removesuffix(' (amended)')} (amended)",
    }
    version = int(study.version_id) + 1 if study.version_id.isdigit() else 2
    return store(fields, study.patient_id, now, version_id=str(version))


def _new_exam(person: Person, number: int) -> Exam:
    kinds = ("CT chest", "MR head", "CT abdomen", "US abdomen", "MR abdomen")
    started = datetime(2025, 10, 7, 10, 15, tzinfo=EASTERN) + timedelta(days=7 * number)
    reason = ("Z09", "Follow-up")
    return Exam(person, 1000 + number, kinds[number % len(kinds)], started, reason, 6, "Thorne")
