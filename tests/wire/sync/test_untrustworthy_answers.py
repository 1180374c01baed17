"""Answers that can be read in two ways: the run fails, nothing of it is kept, and lastCheck stays where it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.errors import NotEverything
from tests.wire.sync.conftest import TYPES, connection
from tests.wire.sync.server import FhirServer, serving, study

OLD = datetime(2020, 1, 1, tzinfo=UTC)


class Twice(dict[str, Any]):
    """An object whose names come again in JSON, with what is in `again`."""

    again: dict[str, Any]

    def items(self) -> Any:
        return [*super().items(), *self.again.items()]


class Doubling(FhirServer):
    """Gives some elements of its Bundles twice."""

    again: dict[str, Any] | None = None

    def answer(self, target: str) -> tuple[int, dict[str, str], Any]:
        status, headers, content = super().answer(target)
        if self.again is not None:
            content = Twice(content)
            content.again = self.again
        return status, headers, content


@pytest.fixture
def doubling() -> Iterator[Doubling]:
    with serving(Doubling()) as running:
        assert isinstance(running, Doubling)
        yield running


@pytest.mark.parametrize("again", [{"entry": []}, {"link": []}])
def test_a_bundle_that_names_its_entries_twice_loses_nothing(
    doubling: Doubling, data: Dataset, again: dict[str, Any]
) -> None:
    doubling.put(*(study(number, OLD) for number in range(3)))
    link = connection(doubling.url)
    pull(link, data, types=TYPES)
    before = data.log.version, data.status()["last_check"].tolist()
    doubling.again = again
    with pytest.warns(NotEverything, match="ImagingStudy"):
        pull(link, data, types=TYPES, mode="broad")
    assert (data.log.version, data.status()["last_check"].tolist()) == before
    assert sorted(data.table("imaging_study")["resource_id"]) == ["s0", "s1", "s2"]
