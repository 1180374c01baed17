"""Invented people, and what happened to them: a seed makes the same ones every time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import numpy as np

# Enough for every seed to look like a small town; no name was taken from any data set.
_FEMALE = ("Maren", "Adaeze", "Rosalind", "Yuki", "Ottilie", "Camila", "Zsófia", "Leilani", "Noor", "Harriet")
_MALE = ("Tobias", "Gideon", "Emeka", "Lorenzo", "Anders", "Kofi", "Mateus", "Hiroshi", "Cormac", "Ruben")
_FAMILY = (
    "Achterberg", "Okonjo", "Holloway", "Lindström", "Varga", "Tamura", "Quintero", "Abernathy", "Castellan", "Mbeki",
    "Fairweather", "Nakagawa", "Rosenthal", "Delacroix", "Whitlock", "Petrov",
)  # fmt: skip
_STREETS = ("Alder Lane", "Quarry Road", "Mill Street", "Harbor View", "Orchard Close", "Station Road")
_DOCTORS = ("Ferreira", "Blackwood", "Sandoval", "Iyer", "Thorne", "Kowalczyk")
EASTERN = timezone(timedelta(hours=-5))


def digest(*parts: object) -> bytes:
    """Return 32 bytes that depend on every part and on nothing else.

    Parameters
    ----------
    *parts : object
        Told apart by their text.
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()


def uid(*parts: object) -> str:
    """Return a UID that depends on every part.

    Parameters
    ----------
    *parts : object
        Told apart by their text.

    References
    ----------
    DICOM PS3.5, annex B.2 (UUID derived UIDs, root 2.25).
    """
    return f"2.25.{int.from_bytes(digest(*parts)[:16])}"


@dataclass(frozen=True)
class Person:
    """An invented participant.

    Parameters
    ----------
    patient_id, mrn : str
        Id of the FHIR Patient, and medical record number (DICOM PatientID).
    given, family : str
        The name.
    gender : str
        `female` or `male`.
    birth_date : date
        The day of birth.
    street : str
        For the address.
    seed : int
        For everything else that differs between people.
    """

    patient_id: str
    mrn: str
    given: str
    family: str
    gender: str
    birth_date: date
    street: str
    seed: int

    @property
    def name(self) -> str:
        """Given and family name."""
        return f"{self.given} {self.family}"


@dataclass(frozen=True)
class Exam:
    """One examination of one person.

    Parameters
    ----------
    person : Person
        Who was examined.
    number : int
        Which of the person's examinations.
    protocol : str
        Key into `PROTOCOLS`.
    started : datetime
        Aware, in the hospital's zone.
    reason : (str, str)
        ICD-10-CM code and text.
    lesion_mm : float
        What is to be seen, 0 for nothing [mm].
    doctor : str
        Family name of who referred.
    """

    person: Person
    number: int
    protocol: str
    started: datetime
    reason: tuple[str, str]
    lesion_mm: float
    doctor: str

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return uid(self.person.seed, self.person.patient_id, "study", self.number)

    @property
    def resource_id(self) -> str:
        """Id of the ImagingStudy."""
        return "img-" + digest(self.person.seed, self.person.patient_id, "exam", self.number).hex()[:12]

    @property
    def accession(self) -> str:
        """Accession Number."""
        return f"A{int.from_bytes(digest(self.study_uid)[:4]) % 10**8:08d}"


_BREAST, _LUMP = ("Z12.31", "Screening mammogram"), ("N63.20", "Lump in the left breast")
_COUGH, _NODULE = ("R05.9", "Cough"), ("R91.1", "Solitary nodule of the lung")
_HEAD, _BLEED = ("S09.90XA", "Injury of the head"), ("I61.9", "Bleeding into the brain")
_BELLY, _SPOT = ("R10.11", "Pain in the right upper abdomen"), ("K76.89", "Spot in the liver")
_STAGING = ("C50.912", "Breast cancer, left")

# Protocol, date, reason, size of what is to be seen [mm]. Every seed moves the days a little and keeps the years.
STORIES = (
    ("female", 1958, (
        ("MG screening", date(2021, 3, 15), _BREAST, 0), ("MG screening", date(2022, 4, 12), _BREAST, 5),
        ("US breast", date(2022, 5, 20), _LUMP, 7), ("NM bone", date(2022, 6, 14), _STAGING, 1),
        ("CT chest", date(2023, 1, 18), _STAGING, 0), ("MG screening", date(2024, 4, 16), _BREAST, 0),
    )),
    ("male", 1971, (
        ("CR chest", date(2021, 9, 14), _COUGH, 0), ("CT head", date(2022, 11, 15), _HEAD, 9),
        ("MR head", date(2022, 12, 13), _BLEED, 9), ("MR head", date(2023, 6, 20), _BLEED, 6),
        ("MR head", date(2025, 5, 13), _BLEED, 3),
    )),
    ("male", 1949, (
        ("CR chest", date(2021, 2, 16), _COUGH, 5), ("CT chest", date(2021, 3, 23), _NODULE, 5),
        ("CT chest", date(2022, 3, 15), _NODULE, 7), ("CT chest", date(2023, 4, 18), _NODULE, 10),
        ("CR chest", date(2023, 5, 16), _NODULE, 10), ("NM bone", date(2023, 6, 13), _NODULE, 0),
        ("CR chest", date(2025, 1, 21), _NODULE, 0),
    )),
    ("female", 1984, (
        ("US abdomen", date(2022, 7, 19), _BELLY, 9), ("CT abdomen", date(2022, 8, 16), _SPOT, 9),
        ("MR abdomen", date(2024, 2, 20), _SPOT, 10), ("US abdomen", date(2025, 8, 19), _SPOT, 9),
    )),
)  # fmt: skip


def invent(seed: int, number: int) -> Person:
    """Return one of the invented people.

    Parameters
    ----------
    seed : int
        Of the archive.
    number : int
        Which person, from 0; beyond the stories, names go round.
    """
    gender, year, _ = STORIES[number % len(STORIES)]
    random = np.random.default_rng([seed, number])
    names = np.random.default_rng(seed).permutation(len(_FAMILY))
    given = np.random.default_rng(seed).permutation(len(_FEMALE))
    identity = int.from_bytes(digest(seed, "person", number)[:4])
    return Person(
        patient_id=f"s4s-{identity % 9_000_000 + 1_000_000}",
        mrn=f"{identity // 7 % 10**7:07d}",
        given=(_FEMALE if gender == "female" else _MALE)[given[number % len(given)]],
        family=_FAMILY[names[number % len(names)]],
        gender=gender,
        birth_date=date(year, 1, 1) + timedelta(days=int(random.integers(365))),
        street=f"{random.integers(2, 240)} {_STREETS[random.integers(len(_STREETS))]}",
        seed=seed,
    )


def story(seed: int, number: int) -> list[Exam]:
    """Return the examinations of an invented person, oldest first.

    Parameters
    ----------
    seed : int
        Of the archive.
    number : int
        Which person.
    """
    person = invent(seed, number)
    random = np.random.default_rng([seed, number, 1])
    exams = []
    for index, (protocol, day, reason, lesion_mm) in enumerate(STORIES[number % len(STORIES)][2]):
        moved = day + timedelta(days=int(random.integers(-12, 12)))
        minute = int(random.integers(8 * 60, 17 * 60))
        started = datetime(moved.year, moved.month, moved.day, minute // 60, minute % 60, tzinfo=EASTERN)
        doctor = _DOCTORS[int(random.integers(len(_DOCTORS)))]
        exams.append(Exam(person, index, protocol, started, reason, lesion_mm, doctor))
    return exams
