"""A commit of the log that was set aside comes again with the next pull, what fell out of the record included."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s4s_lab import Dataset, open_dataset, pull
from s4s_lab.connection import Connection
from s4s_lab.errors import S4SWarning
from s4s_lab.lake.entries import entry_path
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def without_last_commit(data: Dataset) -> Dataset:
    """Cut the newest entry of the log as a power cut does, and open again."""
    entry = entry_path(data.log.path, data.version)
    entry.write_bytes(entry.read_bytes()[:100])
    with pytest.warns(S4SWarning, match="set aside"):
        return open_dataset(data.path())


def test_what_had_fallen_out_falls_out_again_with_the_next_pull(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(study(1, LONG_AGO), study(2, LONG_AGO))
    pull(link, data, types=TYPES)
    del server.resources["s2"]
    pull(link, data, mode="broad", types=TYPES)
    again = without_last_commit(data)
    assert list(again.table("imaging_study")["resource_id"]) == ["s1", "s2"]
    modes = [pull(link, again, types=TYPES).types[0].mode for _ in range(2)]
    assert list(again.table("imaging_study")["resource_id"]) == ["s1"]
    # Once is enough.
    assert modes == ["broad", "update"]
