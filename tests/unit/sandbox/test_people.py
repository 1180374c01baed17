"""Invented people: the same for a seed, different for another, believable together."""

from __future__ import annotations

from collections import Counter

import pytest

from s4s_lab.sandbox.archive.people import STORIES, Exam, digest, invent, story, uid
from s4s_lab.sandbox.archive.protocols import PROTOCOLS
from s4s_lab.values.uids import is_uid

SEEDS = (0, 1, 20, 12345)


def exams(seed: int) -> list[Exam]:
    return [exam for number in range(len(STORIES)) for exam in story(seed, number)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_people_and_examinations(seed: int) -> None:
    assert [invent(seed, number) for number in range(4)] == [invent(seed, number) for number in range(4)]
    assert exams(seed) == exams(seed)
    assert not {one.study_uid for one in exams(seed)} & {one.study_uid for one in exams(seed + 1)}
    assert invent(seed, 0) != invent(seed + 1, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_there_are_enough_people_modalities_and_years(seed: int) -> None:
    people = {one.person for one in exams(seed)}
    assert len(people) >= 3
    assert (
        len({one.patient_id for one in people}) == len({one.mrn for one in people}) == len({one.name for one in people})
    )
    held = exams(seed)
    assert len(held) >= 12
    assert {PROTOCOLS[one.protocol].modality for one in held} >= {"CT", "MR", "CR", "US", "MG", "NM"}
    assert {one.started.year for one in held} == {2021, 2022, 2023, 2024, 2025}
    series = Counter(len(PROTOCOLS[one.protocol].series) for one in held)
    assert sum(count for number, count in series.items() if number > 1) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_examinations_come_in_order_and_in_working_hours(seed: int) -> None:
    for number in range(len(STORIES)):
        own = story(seed, number)
        assert [one.started for one in own] == sorted(one.started for one in own)
        assert all(8 <= one.started.hour < 17 for one in own)
        assert all(one.person.birth_date < one.started.date() for one in own)


def test_everything_has_an_identity_of_its_own() -> None:
    held = exams(20)
    for found in ([one.study_uid for one in held], [one.resource_id for one in held], [one.accession for one in held]):
        assert len(set(found)) == len(held)
    assert all(is_uid(one.study_uid) for one in held)


def test_uids_and_digests_depend_on_every_part() -> None:
    assert uid(1, 2) != uid(12) != uid(1, 3)
    assert digest("a", "bc") != digest("ab", "c")
    assert uid("x").startswith("2.25.")
