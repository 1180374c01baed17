"""export: plain files for analysts, with a data dictionary and checksums."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from s4s_lab.errors import S4SWarning, UsageError
from s4s_lab.explore.deidentifying import copy_images
from s4s_lab.explore.writing import write_beside
from s4s_lab.values.instants import format_instant

if TYPE_CHECKING:
    from s4s_lab.lake import Dataset

Format = Literal["parquet", "csv", "ndjson"]
# What names a person outright: columns of `dicom_instance`, out of the headers of image files.
_NAMING = {"dicom_instance": ["patient_id_dicom", "patient_name", "patient_birth_date"]}
_COPIES = pa.schema(
    [(name, pa.string()) for name in ("participant_id", "study_uid", "series_uid", "instance_uid", "modality", "path")]
    + [("sha256", pa.string())]
)
# Spreadsheets run text that begins so as a formula.
_FORMULA = ("=", "+", "-", "@")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?", re.ASCII)


def export(
    data: Dataset,
    out: str | Path,
    *,
    tables: Sequence[str] | None = None,
    format: Format = "parquet",  # noqa: A002 - the word users know
    identifiers: bool = False,
    images: bool = False,
) -> pd.DataFrame:
    """Write tables as plain files into a folder, with `data_dictionary.csv`, `citation.json` and `SHA256SUMS`.

    All tables are read at one version of the dataset. Each file is written beside its name and moved, so that an
    interrupted export leaves no half file. Parquet keeps every type and each column's description; CSV and NDJSON write
    instants in UTC, decimals digit by digit, lists as JSON; CSV guards text that a spreadsheet would run as a formula.

    Parameters
    ----------
    data : Dataset
        What to export.
    out : path
        The folder; made when missing. Files of earlier exports with the same names are replaced.
    tables : sequence of str, optional
        Which tables; all when None.
    format : {"parquet", "csv", "ndjson"}
        The files' format.
    identifiers : bool
        Whether `dicom_instance` keeps the patient's name, birth date and hospital number that image files carry. An
        export without them is not de-identified: the record's ids, dates and free text stay.
    images : bool
        Whether de-identified copies of the image files are written below `images/`, listed by their new UIDs in
        `images.csv`; the files in the cache stay as they are. Needs the extra [deid].

    Returns
    -------
    DataFrame
        One row a file: table, rows, path, sha256.

    Raises
    ------
    UsageError
        If the format is unknown, or images are wanted and the folder's `images/` holds files already.
    NotInDataset
        If there is no such table.

    Warns
    -----
    S4SWarning
        When an image file has no copy, with the reason.

    Notes
    -----
    In copies of images, private elements and tags unknown to the standard are removed, dates and times are the same in
    all, UIDs are made anew at random (alike within one export, no key is kept), name and Patient ID are the
    participant's pseudonym. Pixels are as they are: files that declare text burnt into them have no copy, others are
    not looked at, and faces stay. Manufacturer, model, technique, geometry, series and instance numbers stay, as do
    some free texts: labels of overlays and contents, values in structured reports, titles of documents. No UID leads
    from a copy to `dicom_instance`; numbers and geometry do, so hand on the one without the other.

    References
    ----------
    DICOM PS3.15, annex E: Basic Application Level Confidentiality Profile.
    """
    _writer(format)
    folder = Path(out)
    if images and (folder / "images").is_dir() and any((folder / "images").iterdir()):
        # UIDs are made anew: beside older copies of the same images, nobody could tell which are which.
        raise UsageError(f"{folder / 'images'} holds files already.", hint="Remove it, or export into another folder.")
    names = list(tables) if tables is not None else data.tables().column("name").to_pylist()
    version = data.log.version
    contents = {
        name: _shared(name, data.arrow(name, as_of=None if version < 0 else version), identifiers=identifiers)
        for name in names
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for name, table in contents.items():
        target = folder / f"{name}.{format}"
        save_table(table, target, format)
        written.append((name, table.num_rows, str(target), _sha256(target)))
    dictionary = [
        row for name in names for row in _dictionary(name, data) if row["column"] in contents[name].column_names
    ]
    write_beside(folder / "data_dictionary.csv", lambda handle: _write_csv(pa.Table.from_pylist(dictionary), handle))
    write_beside(folder / "citation.json", lambda handle: handle.write(_citation(data, version)))
    if images:
        written += _copied(data, folder)
    sums = [*(Path(path) for _, _, path, _ in written), folder / "data_dictionary.csv", folder / "citation.json"]
    lines = "".join(f"{_sha256(path)}  {path.name}\n" for path in sums)
    write_beside(folder / "SHA256SUMS", lambda handle: handle.write(lines.encode()))
    return pd.DataFrame(written, columns=["table", "rows", "path", "sha256"])


def _copied(data: Dataset, folder: Path) -> list[tuple[str, int, str, str]]:
    """Write copies of the images and the list of them; the list's row of the export's report."""
    made, left_out = copy_images(data.arrow("dicom_instance").to_pylist(), data.images, folder / "images")
    for reason, count in left_out.items():
        files = "1 image file has" if count == 1 else f"{count} image files have"
        warnings.warn(S4SWarning(f"{files} no copy. {reason}"), stacklevel=3)
    target = folder / "images.csv"
    listed = [
        row | {"path": f"images/{row['path']}", "sha256": _sha256(folder / "images" / row["path"])} for row in made
    ]
    save_table(pa.Table.from_pylist(listed, _COPIES), target, "csv")
    return [("images", len(made), str(target), _sha256(target))]


def _shared(name: str, table: pa.Table, *, identifiers: bool) -> pa.Table:
    """Leave out what names a person outright."""
    return table if identifiers else table.drop_columns(_NAMING.get(name, []))


def save_table(table: pa.Table, target: Path, kind: str) -> None:
    """Write one table to a file of mode 0600: beside it first, then moved into place.

    Parameters
    ----------
    table : Table
        What to write.
    target : Path
        Where to.
    kind : str
        `parquet`, `csv` or `ndjson`.

    Raises
    ------
    UsageError
        If the kind is unknown.
    """
    write = _writer(kind)
    write_beside(target, lambda handle: write(table, handle))


def write_table(table: pa.Table, handle: IO[bytes], kind: str) -> None:
    """Write one table into an open binary file.

    Parameters
    ----------
    table : Table
        What to write.
    handle : binary file
        Open for writing.
    kind : str
        `parquet`, `csv` or `ndjson`.

    Raises
    ------
    UsageError
        If the kind is none of `parquet`, `csv`, `ndjson`.
    """
    _writer(kind)(table, handle)


def _writer(kind: str) -> Callable[[pa.Table, IO[bytes]], None]:
    if kind not in _WRITERS:
        raise UsageError(f"{kind!r} is no format to write.", hint=f"Choose from: {', '.join(_WRITERS)}.")
    return _WRITERS[kind]


def _citation(data: Dataset, version: int) -> bytes:
    return (json.dumps({"citation": data.citation(version)}, indent=2) + "\n").encode()


def _dictionary(name: str, data: Dataset) -> list[dict[str, Any]]:
    rows = data.dictionary(name).astype(object).to_dict("records")
    return [{"table": name} | {str(key): value for key, value in row.items()} for row in rows]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _write_parquet(table: pa.Table, handle: IO[bytes]) -> None:
    pq.write_table(table, handle, compression="zstd")


def _write_csv(table: pa.Table, handle: IO[bytes]) -> None:
    lines = _Lines(handle)
    # A lone carriage return in a text is quoted only when it is part of the line's end.
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(table.column_names)
    for row in _rows(table):
        writer.writerow([_cell(value) for value in row.values()])


def _write_ndjson(table: pa.Table, handle: IO[bytes]) -> None:
    for row in _rows(table):
        text = json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False)
        handle.write(text.encode() + b"\n")


def _rows(table: pa.Table) -> Iterable[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


class _Lines:
    """Text lines into a binary file, for csv.writer."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def write(self, text: str) -> int:
        return self._handle.write(text.encode())


def _plain(value: object) -> object:
    """Return a value as JSON can hold it without losing a digit."""
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value


def _cell(value: object) -> str:
    if value is None:
        return ""
    plain = _plain(value)
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    text = str(plain)
    return f"'{text}" if isinstance(value, str) and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Say whether a spreadsheet might run `text`; numbers, such as ids with a minus, are left as they are."""
    if text.startswith(("\t", "\r")):
        return True
    return text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text)


_WRITERS: dict[str, Callable[[pa.Table, IO[bytes]], None]] = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "ndjson": _write_ndjson,
}
