"""Whatever order versions come in, and however they are cut into pulls, the same ones stay (invariant I6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.lake import CurrentVersion
from s4s_lab.sync.compare import Received, compare

START = datetime(2026, 1, 5, tzinfo=UTC)
versions = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), unique=True, max_size=12)


def numbered(key: str, number: int) -> Received:
    """Give a version that only its number places: all were stamped in the same second."""
    return Received(key, str(number), START, f"{key}{number}", 0)


def stamped(key: str, number: int) -> Received:
    """Give a version that only its stamp places."""
    return Received(key, None, START + timedelta(seconds=number), f"{key}{number}", 0)


def kept(pulls: Iterable[Sequence[Received]]) -> dict[str, str]:
    """Give what stays after so many pulls."""
    current: dict[str, CurrentVersion] = {}
    for brought in pulls:
        for item in compare(current, brought, keep_newer=True).to_append:
            now = CurrentVersion(item.content_hash, item.last_updated, None, item.version_id)
            current[item.resource_id] = now
    return {key: now.content_hash for key, now in current.items()}


@pytest.mark.parametrize("make", [numbered, stamped])
@given(data=st.data(), chosen=versions)
def test_neither_order_nor_cuts_nor_repeats_change_what_stays(
    make: Callable[[str, int], Received], data: st.DataObject, chosen: list[tuple[str, int]]
) -> None:
    shuffled = [make(*each) for each in data.draw(st.permutations(chosen + chosen))]
    cut = data.draw(st.integers(0, len(shuffled)))
    newest = {key: f"{key}{max(number for k, number in chosen if k == key)}" for key, _ in chosen}
    assert kept([shuffled]) == newest
    assert kept([shuffled[:cut], shuffled[cut:]]) == newest
    assert kept([[each] for each in shuffled]) == newest
