"""How a stored table and the view that it comes from stand to each other: the same, changed, or changed by others.

A table's log names every view that it was ever derived by: a transaction identifier `view-<fingerprint>` whose number
says which in a row it was, and `view`, the number of the one that holds. So a process that still runs an earlier
catalogue sees that the table has gone on, and leaves it alone.

References
----------
Delta transaction log protocol, "Transaction Identifiers".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, Schema

from s4s_lab.lake import delta
from s4s_lab.lake.catalogue import described, layout
from s4s_lab.lake.stored import Layout
from s4s_lab.views import View

# Raised when the same views give other rows than before, so that every table is derived anew.
DERIVED_AS = 1
HOLDS = "view"


class Fit(Enum):
    """How a stored table fits its view."""

    SAME = "it was derived by this view"
    NONE = "there is no table, or none that tells its view"
    GROWN = "the view has more columns"
    RETOLD = "the columns are the same, what they say is not"
    BREAKS = "the view lacks columns of the table, or has them with other types"
    OLDER = "the table has been derived by a later view since"


@dataclass(frozen=True)
class Standing:
    """What a stored table is to its view.

    Parameters
    ----------
    fit : Fit
        How they fit.
    shown : int or None
        The version of the log that the table shows; None when it is not known.
    generation : int
        How many views the table was derived by.
    change : str
        What is different, for a sentence to show in brackets.
    readable : bool
        Whether the view's columns can be read from the table.
    handle : DeltaTable or None
        The table, as it was opened to see this.
    """

    fit: Fit
    shown: int | None = None
    generation: int = 0
    change: str = ""
    readable: bool = False
    handle: DeltaTable | None = field(default=None, repr=False, compare=False)


@lru_cache(maxsize=256)
def fingerprint(view: View) -> str:
    """Return what identifies a view with all that it says: 16 hexadecimal digits.

    Parameters
    ----------
    view : View
        One of a dataset's.
    """
    said = [DERIVED_AS, view.fingerprint, described(layout(view).stored)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def marks(view: View, standing: Standing) -> dict[str, int]:
    """Return the numbers to commit with a table that is derived by a view for the first time.

    Parameters
    ----------
    view : View
        The view.
    standing : Standing
        How the table stood before.
    """
    if standing.fit is Fit.SAME:
        return {}
    generation = standing.generation + 1
    return {HOLDS: generation, f"{HOLDS}-{fingerprint(view)}": generation}


def opened(path: Path) -> DeltaTable | None:
    """Open a stored table; None when there is none.

    Parameters
    ----------
    path : Path
        The table's folder.
    """
    return delta.open_table(path) if delta.exists(path) else None


def stand(handle: DeltaTable | None, view: View, shown_by: str) -> Standing:
    """Say how a stored table stands to its view.

    Parameters
    ----------
    handle : DeltaTable or None
        The table, opened.
    view : View
        What it is to be derived by.
    shown_by : str
        The transaction identifier that says which version of the log it shows.
    """
    if handle is None:
        return Standing(Fit.NONE)
    shown, generation = handle.transaction_version(shown_by), handle.transaction_version(HOLDS) or 0
    known = handle.transaction_version(f"{HOLDS}-{fingerprint(view)}")
    readable = _holds(handle, layout(view))
    if known is not None and readable and known == generation:
        return Standing(Fit.SAME, shown, generation, readable=True, handle=handle)
    if known is not None and known < generation:
        return Standing(Fit.OLDER, shown, generation, readable=readable, handle=handle)
    fit, change = _compared(handle, layout(view))
    if fit is Fit.RETOLD and not generation:
        fit, change = Fit.NONE, ""
    return Standing(fit, shown, generation, change, readable, handle)


def _kinds(schema: Schema) -> dict[str, str]:
    """Return a schema's columns by name, each with its type as Delta writes it and nothing else."""
    plain = pa.schema([pa.field(one.name, one.type) for one in pa.schema(schema.to_arrow())])
    return {one["name"]: json.dumps(one["type"]) for one in json.loads(Schema.from_arrow(plain).to_json())["fields"]}


@lru_cache(maxsize=256)
def _kinds_of(view: Layout) -> dict[str, str]:
    return _kinds(Schema.from_arrow(view.stored))


def _holds(handle: DeltaTable, view: Layout) -> bool:
    # Compared as text first: most tables have the same columns.
    return handle.schema().to_json() == _text_of(view) or _kinds_of(view).items() <= _kinds(handle.schema()).items()


@lru_cache(maxsize=256)
def _text_of(view: Layout) -> str:
    return str(Schema.from_arrow(view.stored).to_json())


def _compared(handle: DeltaTable, view: Layout) -> tuple[Fit, str]:
    before, after = _kinds(handle.schema()), _kinds_of(view)
    lost = [name for name in before if name not in after]
    retyped = [name for name in before if name in after and before[name] != after[name]]
    gained = [name for name in after if name not in before]
    said = [
        f"{what}: {', '.join(names)}"
        for what, names in (("lost columns", lost), ("other types", retyped), ("new columns", gained))
        if names
    ]
    if lost or retyped:
        return Fit.BREAKS, "; ".join(said)
    return (Fit.GROWN, said[0]) if gained else (Fit.RETOLD, "the same columns, made or told in another way")
