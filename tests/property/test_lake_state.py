"""Whatever is committed in whatever order of files: the log's state is that of a simple model."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.lake.log import LOG_SCHEMA
from s4s_lab.lake.state import digest, newest, standing

T0 = datetime(2026, 11, 1, tzinfo=UTC)
# (patient, resource, content); no content is a tombstone.
Event = tuple[str, str, str | None]
events = st.tuples(st.sampled_from("pq"), st.sampled_from("abc"), st.one_of(st.none(), st.sampled_from("xyz")))
commits = st.lists(st.lists(events, max_size=4), max_size=8)
shuffles = st.randoms(use_true_random=False)


def rows_of(history: list[list[Event]]) -> list[dict[str, Any]]:
    """The log's rows of successive commits."""
    return [
        {
            "resource_type": "ImagingStudy",
            "bucket": 0,
            "source": "http://127.0.0.1/fhir",
            "patient_id": patient,
            "resource_id": resource,
            "content_hash": content or "gone",
            "raw": content,
            "fhir_version": "stu3",
            "fell_out": None if content else "deleted",
            "connection_id": patient,
            "run_id": str(version),
            "received_at": T0 + timedelta(minutes=version),
            "after_version": version,
            "position": position,
        }
        for version, commit in enumerate(history)
        for position, (patient, resource, content) in enumerate(commit)
    ]


def log_of(history: list[list[Event]], shuffle: random.Random) -> pa.Table:
    """The same rows as files may give them: in any order."""
    rows = rows_of(history)
    shuffle.shuffle(rows)
    return pa.Table.from_pylist(rows, LOG_SCHEMA)


@given(commits, shuffles)
def test_the_last_event_of_a_resource_is_its_state(history: list[list[Event]], shuffle: random.Random) -> None:
    expected = {(patient, resource): content for commit in history for patient, resource, content in commit}
    rows = newest(log_of(history, shuffle)).select(["patient_id", "resource_id", "raw"]).to_pylist()
    assert {(row["patient_id"], row["resource_id"]): row["raw"] for row in rows} == expected
    assert len(rows) == len(expected)


@given(commits, shuffles)
def test_what_stands_is_the_last_content_and_when_it_fell_out(
    history: list[list[Event]], shuffle: random.Random
) -> None:
    expected: dict[tuple[str, str], tuple[str, datetime | None]] = {}
    for version, commit in enumerate(history):
        for patient, resource, content in commit:
            key = (patient, resource)
            if content:
                expected[key] = (content, None)
            elif key in expected:
                expected[key] = (expected[key][0], T0 + timedelta(minutes=version))
    rows = standing(log_of(history, shuffle)).to_pylist()
    assert {(row["patient_id"], row["resource_id"]): (row["raw"], row["fell_out_at"]) for row in rows} == expected


@given(commits, shuffles)
def test_the_digest_depends_on_the_state_alone(history: list[list[Event]], shuffle: random.Random) -> None:
    state = {(patient, resource): content for commit in history for patient, resource, content in commit}
    at_once = [[(patient, resource, content) for (patient, resource), content in state.items()]]
    assert digest(log_of(history, shuffle)) == digest(log_of(at_once, shuffle))


@given(commits, commits, shuffles)
def test_different_states_have_different_digests(
    one: list[list[Event]], other: list[list[Event]], shuffle: random.Random
) -> None:
    states = [{(patient, resource): content for commit in history for patient, resource, content in commit}
              for history in (one, other)]  # fmt: skip
    same = digest(log_of(one, shuffle)) == digest(log_of(other, shuffle))
    assert same == (states[0] == states[1])
