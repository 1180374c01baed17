"""What a pull brought against the log: the kinds, and the properties that keep repeated pulls harmless."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.fhir import Entry, content_digest
from s4s_lab.fhir.pages import entry_of
from s4s_lab.lake import CurrentVersion
from s4s_lab.sync.compare import Received, absent_from, compare, is_mass_vanishing, received

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def got(key: str, content: str = "a", updated: datetime | None = None, version: str | None = None) -> Received:
    return Received(key, version, updated, content, 0)


def known(
    content: str = "a", updated: datetime | None = None, fell_out: str | None = None, version: str | None = None
) -> CurrentVersion:
    return CurrentVersion(content, updated, fell_out, version)


def entry(resource: dict[str, Any]) -> Entry:
    return entry_of(json.dumps(resource).encode(), "The server", resource["resourceType"])


def taken(found: Entry) -> Received:
    return received(found, 0)


def test_each_resource_is_new_changed_unchanged_or_returned() -> None:
    current = {"b": known("a"), "c": known("a"), "d": known("a", fell_out="deleted")}
    result = compare(current, [got("a"), got("b"), got("c", "z"), got("d")], keep_newer=False)
    assert (result.new, result.changed, result.returned, result.unchanged) == (("a",), ("c",), ("d",), 1)
    assert [item.resource_id for item in result.to_append] == ["a", "c", "d"]


def test_an_older_version_does_not_replace_a_newer_one_in_an_update() -> None:
    current = {"a": known("new", LATE)}
    update = compare(current, [got("a", "old", EARLY)], keep_newer=True)
    assert (update.stale, update.to_append) == (("a",), ())
    assert compare(current, [got("a", "old", EARLY)], keep_newer=False).changed == ("a",)
    assert compare(current, [got("a", "old", None)], keep_newer=True).changed == ("a",)


@pytest.mark.parametrize(
    ("theirs", "ours", "kind"),
    [("10", "9", "changed"), ("9", "10", "stale"), ("9", "9", "stale"), ("b", "a", "stale"), (None, "1", "stale")],
)
def test_version_numbers_decide_where_there_are_any_since_clocks_differ(
    theirs: str | None, ours: str, kind: str
) -> None:
    result = compare({"a": known("one", LATE, version=ours)}, [got("a", "two", EARLY, theirs)], keep_newer=True)
    assert getattr(result, kind) == ("a",)
    twice = [got("a", "two", EARLY, theirs), got("a", "one", LATE, ours)]
    for pair in (twice, twice[::-1]):
        (kept,) = compare({}, pair, keep_newer=True).to_append
        assert kept.content_hash == ("two" if kind == "changed" else "one")


@pytest.mark.parametrize(("days", "kind"), [(-1, "changed"), (0, "stale"), (1, "changed")])
def test_an_older_version_is_left_aside_only_where_a_lagging_replica_explains_it(days: int, kind: str) -> None:
    lag = (LATE - timedelta(hours=1), LATE + timedelta(hours=1))
    current = {"a": known("one", LATE + timedelta(days=days))}
    assert getattr(compare(current, [got("a", "two", EARLY)], keep_newer=True, lag=lag), kind) == ("a",)


def test_of_an_id_that_came_twice_the_newer_version_counts_whichever_came_first() -> None:
    for pair in ([got("a", "old", EARLY), got("a", "new", LATE)], [got("a", "new", LATE), got("a", "old", EARLY)]):
        assert [item.content_hash for item in compare({}, pair, keep_newer=True).to_append] == ["new"]


def test_of_an_id_that_came_twice_without_stamps_the_last_version_counts() -> None:
    result = compare({}, [got("a", "1"), got("b", "1"), got("a", "2")], keep_newer=False)
    assert [(item.resource_id, item.content_hash) for item in result.to_append] == [("a", "2"), ("b", "1")]


pages = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("123")), max_size=20)


@given(pages)
def test_what_was_appended_is_unchanged_the_next_time(page: list[tuple[str, str]]) -> None:
    brought = [got(key, content) for key, content in page]
    first = compare({}, brought, keep_newer=True)
    after = {item.resource_id: known(item.content_hash) for item in first.to_append}
    again = compare(after, brought, keep_newer=True)
    assert again.to_append == ()
    assert again.unchanged == len(after)


def stamped(**changes: object) -> dict[str, Any]:
    meta = {"versionId": "1", "lastUpdated": "2016-04-01T02:52:32Z", "source": "s"}
    return {"resourceType": "Patient", "id": "a", "meta": meta, "active": True} | changes


def test_the_content_hash_ignores_stamps_and_nothing_else() -> None:
    one = stamped()
    assert (
        taken(entry(one)).content_hash == taken(entry(one | {"meta": {"source": "s", "versionId": "2"}})).content_hash
    )
    others: list[dict[str, Any]] = [
        {"gender": "female"},
        {"meta": {"source": "t"}},
        {"meta": None},
        {"id": "b"},
        {"active": "true"},
    ]
    hashes = {taken(entry(stamped(**change))).content_hash for change in others}
    assert len(hashes - {taken(entry(one)).content_hash}) == len(others)


@pytest.mark.parametrize("space", [None, 2])
def test_the_order_of_members_and_the_space_between_them_make_no_other_content(space: int | None) -> None:
    one = stamped(name=[{"family": "für", "given": ["a", "b"]}])
    other = {name: one[name] for name in reversed(one)} | {"name": [{"given": ["a", "b"], "family": "für"}]}
    written = json.dumps(other, indent=space, ensure_ascii=space is None).encode()
    assert taken(entry(one)).content_hash != received(entry_of(written, "The server", "Patient"), 0).content_hash
    assert content_digest(json.dumps(one)) == content_digest(written.decode())
    turned = one | {"name": [{"family": "für", "given": ["b", "a"]}]}
    assert content_digest(json.dumps(turned)) != content_digest(written.decode())


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.12345678901234567891", "0.12345678901234567892"), ("2.5", "2.50"), ("1e400", '"1E+400"'), ("1", '"1"'),
     ("1", "[1]"), ('{"x":1,"x":2}', '{"x":3,"x":2}'), ('{"x":1,"x":2}', '{"x":1,"x":2}'), ("null", "false")],
)  # fmt: skip
def test_what_says_something_else_has_another_digest(one: str, other: str) -> None:
    said = [content_digest(f'{{"resourceType": "Patient", "value": {value}}}') for value in (one, other)]
    assert None in said or said[0] != said[1]


@pytest.mark.parametrize("stamps", ["1e99999999999999999999", "9" * 5000])
def test_numbers_that_no_type_holds_are_kept_and_told_apart(stamps: str) -> None:
    raw = f'{{"resourceType": "Patient", "id": "a", "meta": {{"versionId": {stamps}}}, "x": {stamps}}}'
    assert taken(entry_of(raw.encode(), "The server", "Patient")).version_id == stamps
    assert content_digest(raw) == content_digest(raw.replace("versionId", "lastUpdated")) is not None


def test_names_of_any_kind_make_no_two_contents_one() -> None:
    pair = (b'{"resourceType":"P","":{},"\\u0000":1}', b'{"resourceType":"P","\\u0000":{},"":1}')
    first, second = (taken(entry_of(raw, "The server", "P")).content_hash for raw in pair)
    assert first != second


def test_a_study_without_id_is_known_by_its_uid() -> None:
    study = {"resourceType": "ImagingStudy", "uid": "urn:oid:1.2.3", "description": "für"}
    item = taken(entry(study))
    assert (item.resource_id, item.last_updated, item.version_id) == ("1.2.3", None, None)


def test_other_resources_without_id_are_known_by_their_content() -> None:
    first, same = (taken(entry({"resourceType": "Coverage", "status": "active"})) for _ in range(2))
    other = taken(entry({"resourceType": "Coverage", "status": "cancelled"}))
    assert first.resource_id == same.resource_id != other.resource_id
    assert first.resource_id.startswith("sha256-")


@pytest.mark.parametrize("stamp", [None, 5, "IGNORED_FIELD", "", "2016-04-01T02:52:32.5014569+00:00"])
def test_a_stamp_that_cannot_be_read_counts_as_none(stamp: object) -> None:
    item = taken(entry({"resourceType": "Patient", "id": "a", "meta": {"lastUpdated": stamp, "versionId": 7}}))
    assert (item.last_updated is not None) == (isinstance(stamp, str) and stamp.startswith("2016"))
    assert item.version_id == "7"


def test_absent_is_what_is_present_in_the_log_and_was_not_shown() -> None:
    current = {"a": known(), "b": known(), "c": known(fell_out="deleted")}
    assert absent_from(current, ["a"]) == ["b"]


@pytest.mark.parametrize(("absent", "active", "mass"), [(5, 5, False), (6, 6, True), (10, 100, False), (11, 100, True)])
def test_more_than_a_tenth_and_more_than_five_is_a_mass(absent: int, active: int, mass: bool) -> None:
    assert is_mass_vanishing(absent, active) is mass
