"""Elements of many structs read together, and UIDs checked in pieces."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from s4s_lab.views import uids
from s4s_lab.views.projected.reading import reader


class Node(msgspec.Struct):
    e0: object = None
    e7: object = None


@pytest.mark.parametrize("numbers", [(0,), (7,), (7, 0)])
def test_each_element_gets_a_list_of_its_own(numbers: tuple[int, ...]) -> None:
    nodes = [Node(1, "a"), Node(), Node(2, "b")]
    expected: dict[int, list[object]] = {0: [1, None, 2], 7: ["a", None, "b"]}
    assert reader(numbers, sparse=False)(nodes) == tuple(expected[number] for number in numbers)
    assert reader(numbers, sparse=True)([nodes[0], None]) == tuple([expected[number][0], None] for number in numbers)


def test_nothing_but_numbers_becomes_code() -> None:
    with pytest.raises(ValueError, match="format"):
        reader(("0; import os",), sparse=False)


@pytest.mark.parametrize("odd", ["1..2", ".1.2", "1.2.", "1/2", "1.2a", "1:2", "é.1"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 15])
def test_uids_are_checked_wherever_pieces_end(monkeypatch: pytest.MonkeyPatch, odd: str, piece: int) -> None:
    monkeypatch.setattr(uids, "_PIECE", piece)
    fine = ["urn:oid:1.2.840", None, "urn:oid:2.25.1", "urn:oid:3"]
    assert uids._are_uids(uids._without_prefix(pa.array(fine)))
    assert uids.bare_uids(pa.array(fine))[0].to_pylist() == ["1.2.840", None, "2.25.1", "3"]
    assert uids.bare_uids(pa.array([*fine, f"urn:oid:{odd}", *fine]))[1] == [4]
