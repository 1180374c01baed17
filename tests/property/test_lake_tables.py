"""However commits and refreshes follow one another: refreshed tables are those that a rebuild gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from s4s_lab.lake import Dataset, ResourceVersion, open_dataset
from tests.unit.lake.records import SOURCE, put

TABLES = ("imaging_study", "imaging_series", "patient")
# (patient, study, number of series); a negative number is a tombstone, None a refresh.
moves = st.one_of(st.none(), st.tuples(st.sampled_from("pqr"), st.sampled_from("ab"), st.integers(-1, 3)))


def version(patient: str, key: str, series: int) -> ResourceVersion:
    """A study with some series, or its tombstone."""
    study = {
        "resourceType": "ImagingStudy",
        "id": key,
        "patient": {"reference": f"Patient/{patient}"},
        "series": [{"uid": f"urn:oid:1.2.{number}"} for number in range(series)],
    }
    fell_out = "deleted" if series < 0 else None
    raw = None if fell_out else json.dumps(study)
    return ResourceVersion("ImagingStudy", key, None, None, str(series), raw, "stu3", fell_out)


def check(data: Dataset, there: dict[tuple[str, str], int]) -> None:
    """Compare the tables with the model, then with a rebuild."""
    data.refresh()
    studies, series = data.table("imaging_study"), data.table("imaging_series")
    expected = {key: count for key, count in there.items() if count >= 0}
    assert list(zip(studies["patient_id"], studies["resource_id"], strict=True)) == sorted(expected)
    assert len(series) == sum(expected.values())
    before = [data.arrow(name, fallen_out=True) for name in TABLES]
    shutil.rmtree(data.path() / "tables")
    assert [data.arrow(name, fallen_out=True).equals(table) for name, table in zip(TABLES, before, strict=True)] == [
        True
    ] * len(TABLES)


@settings(max_examples=5, deadline=None)
@given(st.lists(moves, min_size=1, max_size=6))
def test_refreshed_tables_are_those_that_a_rebuild_gives(history: list[tuple[str, str, int] | None]) -> None:
    there: dict[tuple[str, str], int] = {}
    with TemporaryDirectory() as folder:
        data = open_dataset(Path(folder) / "dataset")
        for move in history:
            if move is None:
                data.refresh()
                continue
            patient, key, series = move
            put(data, data.connection(SOURCE, patient), [version(patient, key, series)])
            there[patient, key] = series
        check(data, there)
