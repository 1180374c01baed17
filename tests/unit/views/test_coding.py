"""Texts that repeat: dictionaries on the way to Parquet, plain texts for whoever reads."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from s4s_lab.views import CodedSchema, Subject, coded_of, decoded, load_view, repeating, run_coded, run_views

SCHEMA = pa.schema([pa.field("text", pa.string(), metadata={"meaning": "a word"}), ("number", pa.int32())])


def rows(texts: list[str | None], *, coded: bool) -> pa.Table:
    array = pa.array(texts, pa.string())
    return pa.table({"text": array.dictionary_encode() if coded else array, "number": pa.nulls(len(texts), pa.int32())})


def test_tables_of_both_kinds_become_one_with_one_dictionary() -> None:
    schema = CodedSchema(SCHEMA, ["text"])
    table = schema.table([rows(["a", "b", None], coded=True), rows(["b", "c"], coded=False), rows([], coded=True)])
    assert coded_of(table) == ["text"]
    assert {tuple(chunk.dictionary.to_pylist()) for chunk in table["text"].chunks} == {("a", "b", "c")}
    assert decoded(table, SCHEMA).schema.equals(SCHEMA, check_metadata=True)
    assert decoded(table, SCHEMA)["text"].to_pylist() == ["a", "b", None, "b", "c"]


def test_columns_that_are_stored_plain_are_written_out() -> None:
    table = CodedSchema(SCHEMA, []).table([rows(["a", "a"], coded=True), rows(["b"], coded=False)])
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table["text"].to_pylist() == ["a", "a", "b"]


def test_a_file_of_dictionaries_is_read_as_plain_text_with_what_the_schema_says(tmp_path: Path) -> None:
    schema = CodedSchema(SCHEMA, ["text"])
    with pq.ParquetWriter(tmp_path / "t.parquet", schema.schema, store_schema=False) as file:
        file.add_key_value_metadata(schema.metadata())
        file.write_table(schema.table([rows(["a", None, "a"], coded=True)]))
    read = pq.read_table(tmp_path / "t.parquet")
    assert read.schema.equals(SCHEMA, check_metadata=True)
    assert read["text"].to_pylist() == ["a", None, "a"]
    assert "RLE_DICTIONARY" in pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(0).encodings


def test_what_repeats_is_told_from_what_does_not() -> None:
    table = pa.table({"text": pa.array(list("abab")).dictionary_encode(), "number": pa.array([1, 2, 3, 4], pa.int32())})
    assert repeating(table, SCHEMA) == ["text"]


def test_what_a_resource_says_once_is_not_written_out_for_each_of_its_rows() -> None:
    series = [{"uid": f"1.{number}", "modality": {"code": "CT"}} for number in range(4)]
    study = {"resourceType": "ImagingStudy", "id": "s", "series": series}
    view = load_view("imaging_series")
    text = (
        b'{"resourceType": "ImagingStudy", "id": "s", "uid": "urn:oid:1", "series": [{"uid": "1.1"}, {"uid": "1.2"}]}'
    )
    (found,) = [tables[view.name] for tables in run_coded([view], [Subject(text)])]
    assert "resource_id" in coded_of(found)
    assert found["resource_id"].to_pylist() == ["s", "s"]
    assert coded_of(run_views([view], [Subject(text), Subject(study)])[view.name]) == []
