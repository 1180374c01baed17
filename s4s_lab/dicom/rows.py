"""The rows of the cache's index: their columns in SQLite, and table `dicom_instance` made of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa

from s4s_lab.dicom.columns import instance_schema

FORMAT: Final = 1
_OF_STUDY: Final = ("source", "participant_id", "patient_id")
OF_FILE: Final = tuple(name for name in instance_schema().names if name not in _OF_STUDY)
_SQL_TYPE: Final = {pa.int32(): "INTEGER", pa.int64(): "INTEGER", pa.float64(): "REAL"}


def _columns() -> str:
    fields = [instance_schema().field(name) for name in OF_FILE]
    return ", ".join(f'"{field.name}" {_SQL_TYPE.get(field.type, "TEXT")}' for field in fields)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# The names in these statements are this module's own, from the declared columns; every value is bound.
SCHEMA: Final = f"""
BEGIN;
CREATE TABLE cache (generation INTEGER NOT NULL);
INSERT INTO cache VALUES (0);
CREATE TABLE studies (
    archive TEXT NOT NULL, study_uid TEXT NOT NULL, source TEXT NOT NULL, participant_id TEXT, patient_id TEXT NOT NULL,
    state TEXT NOT NULL, expected INTEGER, PRIMARY KEY (archive, study_uid)
);
CREATE TABLE instances (archive TEXT NOT NULL, {_columns()}, PRIMARY KEY (archive, study_uid, instance_uid));
CREATE TABLE quarantine (
    archive TEXT NOT NULL, study_uid TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, reason TEXT NOT NULL,
    path TEXT NOT NULL, PRIMARY KEY (archive, study_uid, sha256)
);
PRAGMA user_version = {FORMAT};
COMMIT;
PRAGMA journal_mode = WAL;
"""  # noqa: S608  no value of a caller is in it
INSERT: Final = f"INSERT OR REPLACE INTO instances (archive, {_quoted(OF_FILE)}) VALUES (?{', ?' * len(OF_FILE)})"  # noqa: S608  as above
SELECT: Final = (
    f"SELECT {_quoted((*_OF_STUDY, *OF_FILE))} FROM instances JOIN studies USING (archive, study_uid) "  # noqa: S608  as above
    "WHERE ?1 IS NULL OR study_uid = ?1 "
    "ORDER BY source, patient_id, archive, study_uid, series_uid, instance_number, instance_uid"
)


def stored(cell: Any) -> Any:
    """Return a cell as SQLite keeps it: lists as JSON, dates as ISO text.

    Parameters
    ----------
    cell : object
        Of a column in `OF_FILE`.
    """
    if isinstance(cell, (list, tuple)):
        return json.dumps(cell)
    return cell.isoformat() if isinstance(cell, date) else cell


def table_of(rows: Sequence[tuple[Any, ...]], folder: str) -> pa.Table:
    """Return table `dicom_instance` of the rows that `Index.rows` gave.

    Parameters
    ----------
    rows : sequence of tuple
        Cells in the order of the schema.
    folder : str
        The cache's own name, put before each path.
    """
    schema = instance_schema()
    cells = dict(zip(schema.names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    arrays = []
    for field in schema:
        column = cells.get(field.name, [])
        if pa.types.is_list(field.type):
            column = [json.loads(cell) for cell in column]
        elif pa.types.is_date(field.type):
            column = [cell and date.fromisoformat(cell) for cell in column]
        elif field.name == "path":
            column = [f"{folder}/{cell}" for cell in column]
        arrays.append(pa.array(column, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
