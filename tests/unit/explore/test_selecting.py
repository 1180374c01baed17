"""having: rows whose columns, lists included, hold a value."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from s4s_lab.errors import UsageError
from s4s_lab.explore import having


@pytest.fixture
def studies() -> pd.DataFrame:
    table = pa.table(
        {
            "study_uid": ["1.1", "1.2", "1.3", None],
            "modalities": pa.array([["CT", "SR"], ["MR"], [], ["CT"]], pa.list_(pa.string())),
            "number_of_series": pa.array([2, 1, None, 2], pa.int32()),
        }
    )
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def test_a_list_column_holds_a_value_when_one_element_is_it(studies: pd.DataFrame) -> None:
    assert having(studies, modalities="CT")["study_uid"].fillna("none").tolist() == ["1.1", "none"]
    assert having(studies, modalities="C").empty


def test_several_conditions_all_have_to_hold(studies: pd.DataFrame) -> None:
    assert having(studies, modalities="CT", number_of_series=2, study_uid="1.1")["study_uid"].tolist() == ["1.1"]
    assert having(studies, number_of_series=7).empty


def test_rows_come_with_a_fresh_index_and_all_columns(studies: pd.DataFrame) -> None:
    found = having(studies, modalities="MR")
    assert found.index.tolist() == [0]
    assert list(found.columns) == list(studies.columns)


def test_no_condition_keeps_every_row_and_an_empty_table_stays_one(studies: pd.DataFrame) -> None:
    assert len(having(studies)) == 4
    assert list(having(studies.iloc[:0], modalities="CT").columns) == list(studies.columns)


def test_an_unknown_column_is_named_with_those_there_are(studies: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"no column 'modality'.*modalities"):
        having(studies, modality="CT")
