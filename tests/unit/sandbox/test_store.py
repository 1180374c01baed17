"""The archive: what is held, what a participant sees, what a change does."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import msgspec
import pytest

from s4s_lab.sandbox.archive import Archive, ImageStudy, Instance, Participant, Stored, store

MOMENT = datetime(2022, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)


def made(kind: str, resource_id: str, patient_id: str | None) -> Stored:
    return store({"resourceType": kind, "id": resource_id}, patient_id, MOMENT)


@pytest.fixture
def archive() -> Archive:
    held = Archive((Participant("p", "Pat One"), Participant("q", "Pat Two")))
    held.put([made("Coverage", "1", "p"), made("Coverage", "2", "q"), made("Endpoint", "e", None)])
    return held


def test_a_stored_version_tells_its_version_and_moment_first() -> None:
    stored = store({"value": msgspec.Raw(b"1.00"), "resourceType": "X", "id": "1", "meta": {"a": 1}}, "p", MOMENT)
    assert stored.raw == (
        b'{"resourceType":"X","id":"1","meta":{"versionId":"1","lastUpdated":"2022-03-04T05:06:07.890Z"},"value":1.00}'
    )
    assert stored.reference == "X/1"


def test_a_participant_sees_its_own_and_what_belongs_to_nobody(archive: Archive) -> None:
    assert [one.resource_id for one in archive.snapshot("Coverage", "p")[1]] == ["1"]
    assert [one.resource_id for one in archive.snapshot("Endpoint", "p")[1]] == ["e"]
    assert archive.snapshot("Patient", "p")[1] == []
    assert archive.count("Coverage", "p") == 1
    assert archive.count("Endpoint", "p") == 0


def test_what_was_removed_is_known_to_have_been_there(archive: Archive) -> None:
    stored = archive.read("Coverage", "1")
    assert stored is not None
    archive.remove(stored)
    assert archive.read("Coverage", "1") is None
    assert archive.was_removed("Coverage", "1")
    assert not archive.was_removed("Coverage", "3")
    archive.put([stored])
    assert not archive.was_removed("Coverage", "1")


def test_a_change_is_later_than_any_snapshot(archive: Archive) -> None:
    for _ in range(50):
        told, _held = archive.snapshot("Coverage", "p")
        with archive.changing() as moment:
            assert moment > told
            assert moment.microsecond % 1000 == 0


def test_images_belong_to_one_participant(archive: Archive) -> None:
    instances = tuple(Instance(f"1.{n // 2}", f"2.{n}", "1.2", io.BytesIO) for n in range(4))
    study = ImageStudy("1.2.3", "p", instances)
    archive.put([], [study])
    assert archive.study("1.2.3", "p") is study
    assert archive.study("1.2.3", "q") is None
    assert [one.instance_uid for one in study.select("1.1")] == ["2.2", "2.3"]
    assert [one.instance_uid for one in study.select("1.1", "2.3")] == ["2.3"]
    assert study.select("1.0", "2.3") == []
    assert len(study.select()) == 4


def test_a_participant_is_found_by_position_id_or_name(archive: Archive) -> None:
    first, second = archive.participants
    assert archive.participant(0) == archive.participant("p") == archive.participant("Pat One") == first
    assert archive.participant(-1) == second
    assert archive.participant(2) is archive.participant(-3) is archive.participant("x") is None
