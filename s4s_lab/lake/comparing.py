"""Stored tables against what their views make of the log, bucket by bucket, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from s4s_lab.errors import ViewError
from s4s_lab.lake import delta
from s4s_lab.lake.catalogue import catalogue, layout
from s4s_lab.lake.connections import Connections
from s4s_lab.lake.derive import Derivation
from s4s_lab.lake.log import ResourceLog
from s4s_lab.lake.migration import Fit, stand
from s4s_lab.lake.tables import SHOWN
from s4s_lab.views import View


@dataclass(frozen=True)
class _Stored:
    view: View
    handle: DeltaTable


def differing(
    folder: Path, views: Mapping[str, View], log: ResourceLog, connections: Connections
) -> Iterator[tuple[str, str]]:
    """Yield the tables that do not hold what the log gives at the version they show, and in what way.

    Parameters
    ----------
    folder : Path
        Where the tables lie.
    views : mapping of str to View
        Tables to compare, by name.
    log : ResourceLog
        The log.
    connections : Connections
        Where pseudonyms come from.
    """
    groups: dict[tuple[str, int, str], list[_Stored]] = {}
    for name, view in views.items():
        handle = delta.open_table(folder / name)
        shown = handle.transaction_version(SHOWN)
        if shown is None or shown > log.version:
            yield name, "It does not show any version of the log."
        elif stand(handle, view, SHOWN).fit is Fit.SAME:
            # What a user's view makes of a resource may be an error, which stops no other table.
            own = "" if name in catalogue() else name
            groups.setdefault((view.resource_type, shown, own), []).append(_Stored(view, handle))
    for (_, shown, _), tables in groups.items():
        try:
            yield from _of_type(tables, Derivation(log, log.at(shown), connections.participant))
        except ViewError as error:
            yield tables[0].view.name, f"Its view cannot be run: {error}"


def _of_type(tables: Sequence[_Stored], derivation: Derivation) -> Iterator[tuple[str, str]]:
    wrong: dict[str, int] = {}
    done: set[int] = set()
    for bucket, parts in groupby(_with_bucket(derivation.rows([one.view for one in tables])), lambda part: part[0]):
        done.add(bucket)
        derived = [rows for _, rows in parts]
        for one in tables:
            if not _same(one, bucket, [rows[one.view.name] for rows in derived]):
                wrong[one.view.name] = wrong.get(one.view.name, 0) + 1
    for one in tables:
        others = {int(part["bucket"]) for part in one.handle.partitions()} - done
        extra = sum(not _same(one, bucket, []) for bucket in sorted(others))
        if count := wrong.get(one.view.name, 0) + extra:
            yield one.view.name, f"Its rows are not what the log gives, in {count} of its buckets."


def _with_bucket(parts: Iterable[dict[str, pa.Table]]) -> Iterator[tuple[int, dict[str, pa.Table]]]:
    for rows in parts:
        filled = next((table for table in rows.values() if table.num_rows), None)
        if filled is not None:
            yield int(filled["bucket"][0].as_py()), rows


def _same(one: _Stored, bucket: int, derived: Sequence[pa.Table]) -> bool:
    placed = layout(one.view)
    stored = delta.read(one.handle, placed.stored, where=f"bucket = {bucket}")
    expected = pa.concat_tables([placed.stored.empty_table(), *derived])
    return bool(placed.show(stored, fallen_out=True).equals(placed.show(expected, fallen_out=True)))
