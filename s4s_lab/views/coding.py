"""Texts that repeat as dictionaries: from views to Parquet nobody writes them out, hashes or compares them again."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

CODED = pa.dictionary(pa.int32(), pa.string())
_SAMPLE_ROWS = 10_000


def decoded(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns of a schema: repeated texts written out.

    Parameters
    ----------
    rows : pyarrow.Table
        Texts may be dictionaries.
    schema : pyarrow.Schema
        Of the same names.
    """
    columns = [_plain(one, field.type) for one, field in zip(rows.columns, schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def _plain(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column.cast(kind) if pa.types.is_dictionary(column.type) else column


def repeating(rows: pa.Table, schema: pa.Schema) -> list[str]:
    """Return the columns whose values repeat: a dictionary costs time and saves nothing where they do not.

    Parameters
    ----------
    rows : pyarrow.Table
        Some rows, as views give them.
    schema : pyarrow.Schema
        Of the table.

    Returns
    -------
    list of str
        Paths as Parquet has them: those of lists' items are longer than the columns' names.
    """
    sample = decoded(rows.slice(0, _SAMPLE_ROWS), schema)
    return [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field, column in zip(schema, sample.columns, strict=True)
        if pa.types.is_list(field.type) or 2 * pc.count_distinct(column, mode="all").as_py() <= sample.num_rows
    ]


class CodedSchema:
    """How the columns of a table are handed to Parquet: texts that came as dictionaries, it stores as dictionaries.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the table, texts plain.
    coded : collection of str
        Columns of texts to be handed on as dictionaries.
    """

    def __init__(self, schema: pa.Schema, coded: Collection[str]) -> None:
        self.plain = schema
        self.schema = pa.schema([field.with_type(CODED) if field.name in coded else field for field in schema])

    def table(self, tables: Sequence[pa.Table]) -> pa.Table:
        """Put tables of the same columns together.

        Parameters
        ----------
        tables : sequence of pyarrow.Table
            Texts plain or dictionaries, in any mixture.
        """
        columns = [
            _together([one.column(number) for one in tables], field.type) for number, field in enumerate(self.schema)
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    def metadata(self) -> dict[str, bytes]:
        """Return what tells readers of a Parquet file that its texts are plain texts, as `store_schema` would.

        References
        ----------
        Apache Arrow: `ARROW:schema` in the key-value metadata of a Parquet file.
        """
        return {"ARROW:schema": base64.b64encode(self.plain.serialize())}


def coded_of(rows: pa.Table) -> list[str]:
    """Return the columns that are dictionaries.

    Parameters
    ----------
    rows : pyarrow.Table
        As views give them.
    """
    return [field.name for field in rows.schema if pa.types.is_dictionary(field.type)]


def _together(columns: Sequence[pa.ChunkedArray], kind: pa.DataType) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(kind):
        return pa.chunked_array([chunk for one in columns for chunk in _plain(one, kind).chunks], kind)
    coded = [one if pa.types.is_dictionary(one.type) else one.dictionary_encode() for one in columns]
    return pa.chunked_array([chunk for one in coded for chunk in one.chunks], kind).unify_dictionaries()
