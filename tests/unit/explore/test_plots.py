"""timeline: bars that add up to the studies there are."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from s4s_lab.errors import UsageError
from s4s_lab.explore import timeline


def table(rows: list[tuple[int | None, list[str]]]) -> pd.DataFrame:
    started = [None if year is None else datetime(year, 6, 1, tzinfo=UTC) for year, _ in rows]
    columns = {
        "started": pa.array(started, pa.timestamp("ms", "UTC")),
        "modalities": pa.array([kinds for _, kinds in rows], pa.list_(pa.string())),
    }
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def bars(rows: list[tuple[int | None, list[str]]]) -> tuple[dict[str, dict[int, int]], str]:
    axes = timeline(table(rows), ax=Figure().subplots())
    drawn: dict[str, dict[int, int]] = {}
    for container in axes.containers:
        assert isinstance(container, BarContainer)
        heights = {round(bar.get_x() + bar.get_width() / 2): round(bar.get_height()) for bar in container}
        drawn[str(container.get_label())] = {year: height for year, height in heights.items() if height}
    return drawn, axes.get_title()


def test_bars_count_each_study_once_by_year_and_modality() -> None:
    drawn, title = bars([(2020, ["CT"]), (2020, ["CT"]), (2022, ["MR"]), (2022, ["SR", "CT"]), (2022, [])])
    assert drawn == {"CT": {2020: 2}, "MR": {2022: 1}, "CT + SR": {2022: 1}, "not said": {2022: 1}}
    assert title == "5 studies by year and modality"


def test_years_without_studies_are_on_the_axis_too() -> None:
    axes = timeline(table([(2019, ["CT"]), (2022, ["CT"])]), ax=Figure().subplots())
    assert [round(tick) for tick in axes.get_xticks()] == [2019, 2020, 2021, 2022]


def test_studies_without_a_date_are_named_in_the_title() -> None:
    assert bars([(2020, ["CT"]), (None, ["MR"])])[1] == "1 studies by year and modality (1 without a date)"


def test_no_studies_give_empty_axes() -> None:
    drawn, title = bars([])
    assert (drawn, title) == ({}, "0 studies by year and modality")


def test_another_table_is_refused_with_the_missing_column() -> None:
    with pytest.raises(UsageError, match="no column modalities"):
        timeline(pd.DataFrame({"started": []}))
