"""Delta tables: one commit at a time, with its numbers."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4s_lab.errors import DatasetBusy, DatasetError, NotInDataset
from s4s_lab.lake import delta, durable
from s4s_lab.lake.entries import read_entry

SCHEMA = pa.schema(
    [
        pa.field("bucket", pa.int32(), nullable=False),
        pa.field("patient_id", pa.string(), metadata={"meaning": "whose"}),
        pa.field("codes", pa.list_(pa.string())),
        pa.field("amount", pa.decimal128(38, 18)),
        pa.field("at", pa.timestamp("ms", "UTC")),
    ]
)


def rows(*patients: str, bucket: int = 1) -> pa.Table:
    """One row a patient."""
    return pa.Table.from_pylist([{"bucket": bucket, "patient_id": one, "codes": ["x"]} for one in patients], SCHEMA)


def patients(table: Path, version: int | None = None) -> list[str]:
    """Whose rows a table holds."""
    return sorted(delta.read(delta.open_table(table, version), SCHEMA)["patient_id"].to_pylist())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An empty table."""
    delta.create(tmp_path / "table", SCHEMA, partition_by=("bucket",))
    return tmp_path / "table"


def test_rows_and_numbers_are_in_one_entry(table: Path) -> None:
    commit = delta.append(table, rows("p"), transactions={"cursor": 1_795_507_543_814})
    entry = read_entry(table, commit.version)
    assert (len(entry.added), entry.transactions) == (1, {"cursor": 1_795_507_543_814})
    assert delta.open_table(table).transaction_version("cursor") == 1_795_507_543_814


def test_types_and_meanings_come_back_as_declared(table: Path) -> None:
    delta.append(table, rows("p"), transactions={})
    assert delta.read(delta.open_table(table), SCHEMA).schema.equals(SCHEMA, check_metadata=True)


def test_no_rows_make_a_commit_of_numbers_alone(table: Path) -> None:
    assert delta.append(table, rows(), transactions={"cursor": 3}).version == 1
    assert read_entry(table, 1).added == ()
    assert delta.open_table(table).transaction_version("cursor") == 3


def test_creating_a_table_that_is_there_changes_nothing(table: Path) -> None:
    delta.append(table, rows("p"), transactions={})
    delta.create(table, SCHEMA, partition_by=("bucket",))
    assert patients(table) == ["p"]


def test_replacing_one_patient_rewrites_one_file_in_one_commit(table: Path) -> None:
    delta.append(table, pa.concat_tables([rows("p", "q"), rows("r", bucket=2)]), transactions={})
    commit = delta.replace(table, rows("p", "p"), where="bucket = 1 AND patient_id = 'p'", transactions={})
    entry = read_entry(table, commit.version)
    assert (len(entry.added), entry.removed, entry.version) == (1, 1, 2)
    assert patients(table) == ["p", "p", "q", "r"]


def test_every_version_stays_readable(table: Path) -> None:
    for name in ("a", "b", "c"):
        delta.replace(table, rows(name), where=None, transactions={})
    assert [patients(table, version) for version in range(4)] == [[], ["a"], ["b"], ["c"]]


def test_a_table_with_other_columns_is_replaced_in_one_commit(table: Path) -> None:
    delta.append(table, rows("p"), transactions={})
    schema = SCHEMA.append(pa.field("extra", pa.int64()))
    more = rows("q").append_column("extra", pa.array([7], pa.int64()))
    assert delta.replace(table, more, where=None, transactions={"shown": 4}).version == 2
    assert delta.read(delta.open_table(table), schema)["extra"].to_pylist() == [7]
    assert delta.open_table(table).metadata().partition_columns == ["bucket"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_table_can_be_made_with_its_first_rows_or_none(tmp_path: Path, number: int) -> None:
    path = tmp_path / "filled"
    commit = delta.fill(path, rows(*"p" * number), partition_by=("bucket",), transactions={"shown": 7})
    handle = delta.open_table(path)
    assert (commit.version, handle.version(), handle.transaction_version("shown")) == (0, 0, 7)
    assert handle.metadata().partition_columns == ["bucket"]
    assert delta.read(handle, SCHEMA).num_rows == number


def test_durable_files_entries_and_folders_are_closed_to_others(table: Path) -> None:
    delta.make_durable([delta.append(table, rows("p"), transactions={})])
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in table.rglob("*")}
    assert modes == {True: 0o700, False: 0o600}


def test_everything_that_a_power_cut_could_take_is_synced(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync", synced.append)
    first = delta.append(table, rows("p"), transactions={})
    delta.append(table, rows("q", bucket=2), transactions={})
    second = delta.note(table, transactions={"cursor": 1})
    delta.open_table(table).create_checkpoint()
    delta.make_durable([first, delta.Commit(table, 2, second.version)])
    on_disk = {path for path in table.rglob("*") if not path.name.endswith(f"{0:020}.json")}
    # The mark that says so is only made afterwards, and may be lost.
    assert set(synced) == {table, *on_disk} - {table / "_synced"}


def test_no_row_shows_in_an_error(table: Path) -> None:
    delta.append(table, rows("secret-patient"), transactions={})
    with pytest.raises(DatasetError, match="could not be written") as caught:
        delta.replace(table, rows("secret-patient"), where="patient_id = 'somebody else'", transactions={})
    assert "secret-patient" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert patients(table) == ["secret-patient"]


def test_tables_and_versions_that_are_not_there_are_named(table: Path, tmp_path: Path) -> None:
    with pytest.raises(NotInDataset, match=r"no table in .*nothing"):
        delta.open_table(tmp_path / "nothing")
    with pytest.raises(NotInDataset, match="has no version 9"):
        delta.open_table(table, 9)


def test_a_damaged_table_says_what_to_do(table: Path) -> None:
    commit = delta.append(table, rows("p"), transactions={})
    handle = delta.open_table(table)
    (table / read_entry(table, commit.version).added[0].path).unlink()
    with pytest.raises(DatasetError, match=r"cannot be read: .*backup"):
        delta.read(handle, SCHEMA)


def test_of_two_that_write_one_number_at_once_none_is_lost_silently(table: Path) -> None:
    def write(name: str) -> str | None:
        try:
            delta.append(table, rows(name), transactions={"cursor": 1})
        except DatasetBusy:
            return None
        return name

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, [f"p{number}" for number in range(24)]))
    assert patients(table) == sorted(filter(None, written))


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_text_is_one_sql_literal(text: str) -> None:
    literal = delta.literal(text)
    assert literal.startswith("'")
    assert literal.endswith("'")
    assert literal[1:-1].replace("''", "").count("'") == 0
    assert literal[1:-1].replace("''", "'") == text


@pytest.mark.parametrize(
    "odd", ["o'brien", "a''b", "\\", "x' OR '1'='1", "100%_", "Ä-ü 漢", "--", "line\nbreak", '"q"']
)
def test_odd_ids_select_their_own_rows_only(table: Path, odd: str) -> None:
    delta.append(table, rows(odd, "p", "o"), transactions={})
    delta.replace(table, rows(odd, odd), where=f"patient_id = {delta.literal(odd)}", transactions={})
    assert patients(table) == sorted([odd, odd, "p", "o"])
    found = delta.read(delta.open_table(table), SCHEMA, where=f"patient_id = {delta.literal(odd)}")
    assert found["patient_id"].to_pylist() == [odd, odd]
