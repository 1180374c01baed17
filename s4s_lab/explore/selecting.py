"""Choosing rows of tables, list columns included."""

from __future__ import annotations

import pandas as pd

from s4s_lab.errors import UsageError


def having(rows: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Return the rows whose columns hold the wanted values; a list column holds a value when one element is it.

    Parameters
    ----------
    rows : DataFrame
        For example the table `imaging_study`.
    **wanted : object
        Column name and value; every one has to hold.

    Returns
    -------
    DataFrame
        The matching rows, in their order, with a fresh index.

    Raises
    ------
    UsageError
        If there is no such column.

    Examples
    --------
    >>> studies = pd.DataFrame({"study_uid": ["1.2", "1.3"], "modalities": [["CT", "SR"], ["MR"]]})
    >>> having(studies, modalities="CT").study_uid.tolist()
    ['1.2']
    """
    keep = pd.Series(True, index=rows.index)
    for name, value in wanted.items():
        if name not in rows.columns:
            raise UsageError(f"There is no column {name!r}.", hint=f"Choose from: {', '.join(map(str, rows.columns))}.")
        keep &= pd.Series([_holds(cell, value) for cell in rows[name]], index=rows.index, dtype=bool)
    return rows[keep].reset_index(drop=True)


def _holds(cell: object, value: object) -> bool:
    if hasattr(cell, "__iter__") and not isinstance(cell, str | bytes):
        return value in list(cell)
    return not pd.isna(cell) and bool(cell == value)  # type: ignore[call-overload]  # any scalar a table holds
