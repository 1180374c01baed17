"""FHIR files and resources to tables: Bundles, NDJSON, single resources, of STU3 and R4 mixed."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.types import is_primitive

from s4s_lab.errors import NotFhir, UsageError
from s4s_lab.views import (
    CodedSchema,
    Document,
    Subject,
    View,
    checked_resource,
    coded_of,
    decode,
    load_view,
    repeating,
    run_coded,
    run_views,
    subjects_of,
    table_schema,
)

Source = str | Path | Mapping[str, Any] | Iterable[str | Path | Mapping[str, Any]]
AnyView = str | Path | Mapping[str, Any] | View
_GROUP_ROWS = 100_000
# Rows of wide tables are written sooner.
_GROUP_BYTES = 16 << 20
# So many values of a column are encoded at once.
_AT_ONCE_ROWS = 16_384
# Bundles are long lines.
_READ_BYTES = 1 << 20
# Read in one go, which is three times as fast as line by line.
_SMALL_BYTES = 16 << 20
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n" + _BOM


def _paths(source: str | Path) -> list[Path]:
    """Return the file that is named, or the files that a pattern matches, sorted."""
    path = Path(source)
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", hint=f"Name its files, for example {path / '**' / '*.json'}.")
    if path.exists():
        return [path]
    pattern = str(source)
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))] if glob.has_magic(pattern) else []  # noqa: PTH207  # patterns may be absolute
    files = [one for one in found if one.is_file()]
    if not files:
        raise UsageError(f"No file matches {pattern!r}.", hint="Check the path, and quote patterns in a shell.")
    return files


def _in_file(path: Path) -> Iterator[Document]:
    """Yield what a file holds: one a line when its first line is whole JSON, else the one that it is."""
    try:
        whole = path.read_bytes() if 0 < path.stat().st_size <= _SMALL_BYTES else b""
        if whole and whole.find(b"\n") in (-1, len(whole) - 1) and whole[:80].strip(_BLANK):
            # One line, as servers send Bundles: nothing has to be looked for, or copied.
            yield Document(whole.removeprefix(_BOM), str(path))
            return
        with io.BytesIO(whole) if whole else path.open("rb", buffering=_READ_BYTES) as file:
            yield from _in_lines(file, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None


def _in_lines(file: IO[bytes], path: Path) -> Iterator[Document]:
    lines = enumerate(file, start=1)
    first = next((line for _, line in lines if line[:80].strip(_BLANK) or line.strip(_BLANK)), b"")
    first = first.removeprefix(_BOM)
    if not first:
        raise NotFhir(f"{path} is empty.")
    number, second = next(((at, line) for at, line in lines if line.strip()), (0, b""))
    if not number:
        yield Document(first, str(path))
        return
    if not _is_json(first):
        yield Document(b"".join((first, second, file.read())), str(path))
        return
    yield Document(first, str(path))
    yield Document(second, f"{path}, line {number},")
    for number, line in lines:
        if line.strip():
            yield Document(line, f"{path}, line {number},")


def _is_json(line: bytes) -> bool:
    try:
        decode(line)
    except NotFhir:
        return False
    return True


def _all(source: Source) -> Iterator[Subject | Document]:
    if isinstance(source, str | Path | Mapping):
        source = [source]
    elif not isinstance(source, Iterable):
        raise UsageError(f"Resources or files are due, not {type(source).__name__}.")
    for position, one in enumerate(source):
        if isinstance(one, str | Path):
            for path in _paths(one):
                yield from _in_file(path)
        else:
            yield from subjects_of(checked_resource(one, f"Resource {position}"))


def tabulate_many(source: Source, views: Sequence[AnyView]) -> dict[str, pa.Table]:
    """Run several views over files or resources; each resource is decoded once for all of them.

    Files are read one after another, so memory holds one file and the rows so far.

    Parameters
    ----------
    source : str, Path, dict, or iterable of these
        A path, a glob pattern (`**` reaches into folders), or decoded resources. Files hold a resource, a Bundle (also
        Bundles in Bundles), or NDJSON, whatever their name ends in.
    views : sequence of str, Path, dict or View
        Packaged names, ViewDefinition files, or ViewDefinitions.

    Returns
    -------
    dict of str to pyarrow.Table
        By the views' names. `source` and `participant_id` are null in packaged tables: no server was asked.

    Raises
    ------
    NotFhir
        If a file is no FHIR JSON; the message names it, and nothing is returned.
    UsageError
        If nothing matches, a file cannot be read, or two views have one name.
    ViewError
        If a view cannot be compiled.
    """
    return run_views([load_view(view) for view in views], _all(source))


def tabulate_to(source: Source, views: Sequence[AnyView], paths: Mapping[str, Path]) -> dict[str, int]:
    """Run several views over files or resources into Parquet files; memory stays flat however much there is.

    Parameters
    ----------
    source, views
        As for `tabulate_many`.
    paths : Mapping of str to Path
        By the views' names; Parquet (zstd) of mode 0600, with what the data dictionary says as the fields' metadata.
        Folders are made when missing; files appear when they are whole.

    Returns
    -------
    dict of str to int
        Rows written, by the views' names.

    Raises
    ------
    NotFhir
        If a file is no FHIR JSON; the message names it, and nothing is left of what was written.
    UsageError
        If nothing matches, a file cannot be read, or two views have one name.
    ViewError
        If a view cannot be compiled.
    """
    loaded = [load_view(view) for view in views]
    with ExitStack() as stack:
        files = {view.name: stack.enter_context(_Rows(paths[view.name], table_schema(view))) for view in loaded}
        for tables in run_coded(loaded, _all(source)):
            for name, rows in tables.items():
                files[name].add(rows)
    return {name: file.count for name, file in files.items()}


class _Rows:
    """A Parquet file that is written in row groups of a size that readers like, beside its name and then moved."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._part = path.with_name(f".part-{path.name}")
        self._schema = schema
        self._coded = CodedSchema(schema, ())
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._ready = 0
        self._size = 0
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._write()
            if self._writer is not None:
                self._writer.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, rows: pa.Table) -> None:
        """Add rows; they are written when there are enough."""
        self._waiting.append(rows)
        self._ready += rows.num_rows
        self._size += rows.nbytes
        if self._ready >= _GROUP_ROWS or self._size >= _GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        waiting = self._waiting or [self._schema.empty_table()]
        if self._writer is None:
            repeated = repeating(waiting[0], self._schema)
            self._coded = CodedSchema(self._schema, coded_of(waiting[0]))
            self._part.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            self._writer = pq.ParquetWriter(
                self._part, self._coded.schema, compression="zstd", store_schema=False,
                use_dictionary=list({*repeated, *coded_of(waiting[0])}),
                # UIDs, codes and amounts in the order of the files let no reader skip anything.
                write_statistics=[one.name for one in self._schema if is_primitive(one.type)],
                write_batch_size=_AT_ONCE_ROWS,
            )  # fmt: skip
            self._writer.add_key_value_metadata(self._coded.metadata())
        if self._ready:
            self._writer.write_table(self._coded.table(waiting))
        self.count += self._ready
        self._waiting, self._ready, self._size = [], 0, 0


def tabulate(source: Source, view: AnyView) -> pd.DataFrame:
    """Turn FHIR files or resources into a table.

    Parameters
    ----------
    source : str, Path, dict, or iterable of these
        As for `tabulate_many`.
    view : str, Path, dict or View
        A packaged view's name, a ViewDefinition file, or a ViewDefinition (SQL on FHIR v2).

    Returns
    -------
    pandas.DataFrame
        Arrow-backed, columns in the view's order; packaged views take STU3 and R4 resources mixed.

    Raises
    ------
    NotFhir
        If a file is no FHIR JSON; the message names it, and nothing is returned.
    UsageError
        If nothing matches, or a file cannot be read.
    ViewError
        If the view cannot be compiled.

    Examples
    --------
    >>> study = {"resourceType": "ImagingStudy", "id": "a", "uid": "urn:oid:1.2.3", "numberOfSeries": 2}
    >>> tabulate([study], "imaging_study")[["resource_id", "study_uid", "number_of_series"]]
      resource_id study_uid  number_of_series
    0           a     1.2.3                 2
    """
    (table,) = tabulate_many(source, [view]).values()
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame
