"""Elements of many structs read together, and UIDs checked in pieces."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from s4s_lab.views import uids
from s4s_lab.views.projected.batches import Batch, Found, Level, children, descendants
from s4s_lab.views.projected.elements import Element, resource_decoder
from s4s_lab.views.projected.reading import guarded_reader, reader


class Node(msgspec.Struct):
    e0: object = None
    e7: object = None


@pytest.mark.parametrize(("number", "expected"), [(0, [1, None, 2]), (7, ["a", None, "b"])])
def test_an_element_is_read_of_every_struct(number: int, expected: list[object]) -> None:
    assert reader(number)([Node(1, "a"), Node(), Node(2, "b")]) == expected


@pytest.mark.parametrize(("number", "expected"), [(0, [None, 1, None, 2]), (7, [None, "a", None, "b"])])
def test_where_there_is_no_struct_there_is_no_element(number: int, expected: list[object]) -> None:
    found = Found([None, Node(1, "a"), None, Node(2, "b")])
    assert found.column(number) == expected
    assert found.values == [None, Node(1, "a"), None, Node(2, "b")]


def test_several_steps_are_gone_at_once_and_end_where_one_is_missing() -> None:
    nodes = [Node(Node(None, "a")), Node(), None, Node(Node(Node(2)))]
    assert Found([*nodes]).column(0, 7) == ["a", None, None, None]
    assert Found([*nodes]).column(0, 0, 0) == [None, None, None, 2]
    assert reader(0, 7)([nodes[0], nodes[3]]) == ["a", None]
    assert guarded_reader(0, 0, 0)([nodes[1], nodes[2], nodes[3]]) == [None, None, 2]


@pytest.mark.parametrize("numbers", [("0; import os",), (0, "0; import os"), ("0; import os", 0)])
def test_nothing_but_a_number_becomes_code(numbers: Any) -> None:
    for made in (reader, guarded_reader):
        with pytest.raises(ValueError, match="format"):
            made(*numbers)


STUDIES = (
    (b'{"a": [{"b": {"c": "x"}}]}', ["x"], None),
    (b'{"a": [{"b": {"c": "x"}}, {"b": {"c": "y"}}, {}]}', ["x", "y"], [0, 0]),
    (b'{"a": {"b": [{"c": "x"}, {"c": "y"}]}}', ["x", "y"], [0, 0]),
    (b'{"a": {"b": {"c": "x"}}}', ["x"], None),
    (b'{"a": []}', [None], None),
    (b'{"a": null}', [None], None),
    (b"{}", [None], None),
)


@pytest.mark.parametrize(("text", "values", "owners"), STUDIES)
def test_lists_and_objects_are_followed_alike(text: bytes, values: list[str], owners: list[int] | None) -> None:
    root = Element()
    way = [root.child("a"), root.child("a").child("b"), root.child("a").child("b").child("c")]
    way[-1].due.add(str)
    found = start = Found([resource_decoder(root)(text)])
    for step in way:
        found = children(found, step)
    assert (found.values or [None], found.owners or None) == (values, owners)
    straight = descendants(start, way)
    assert (straight is None) == (b"[{" in text or b"[]" in text)
    assert straight is None or straight.values == values


@pytest.mark.parametrize(
    ("values", "is_nothing"), [([], True), ([None], True), ([None, None], True), ([None, 0], False), ([""], False)]
)
def test_what_no_node_has_is_nothing(values: list[object], is_nothing: bool) -> None:
    assert Found(values).is_nothing is is_nothing


def test_the_types_of_values_are_told_anew_when_some_were_made_absent() -> None:
    found = Found(["a", 1, "b"])
    assert found.kinds == {str, int}
    found.without([1])
    assert (found.values, found.kinds) == (["a", None, "b"], {str, type(None)})
    assert (found.several().values, found.several().owner_array.tolist()) == (["a", "b"], [0, 2])


def test_a_node_knows_its_place_among_those_of_its_owner() -> None:
    batch = Batch(["k"], [{}])
    assert Level(list("abcdef"), batch, np.array([0, 0, 2, 5, 5, 5])).positions() == [0, 1, 0, 0, 1, 2]
    assert Level([], batch, np.array([], np.int64)).positions() == []


@pytest.mark.parametrize("odd", ["1..2", ".1.2", "1.2.", "1/2", "1.2a", "1:2", "é.1"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 15])
def test_uids_are_checked_wherever_pieces_end(monkeypatch: pytest.MonkeyPatch, odd: str, piece: int) -> None:
    monkeypatch.setattr(uids, "_PIECE", piece)
    fine = ["urn:oid:1.2.840", None, "urn:oid:2.25.1", "urn:oid:3"]
    assert uids._are_uids(uids._without_prefix(pa.array(fine)))
    assert uids.bare_uids(pa.array(fine))[0].to_pylist() == ["1.2.840", None, "2.25.1", "3"]
    assert uids.bare_uids(pa.array([*fine, f"urn:oid:{odd}", *fine]))[1] == [4]
