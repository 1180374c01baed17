"""What a pull and a fetch did: small tables that print themselves the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from s4s_lab.net import Trace
from s4s_lab.sync.fetching_outlook import FetchOutlook
from s4s_lab.values.instants import format_instant

Mode = Literal["first", "update", "broad"]
Filter = Literal["honoured", "started-like", "ignored", "empty", "broken", "unknown"]
Outcome = Literal["done", "waiting", "failed", "skipped"]
_PRINTED = ("mode", "outcome", "pages", "new", "changed", "unchanged", "fallen_out", "returned")
_BESIDE = ("query", "requests", "waited_s", "filter", "overlap_s", "last_check", "next_broad", "not_before")
# Of a report in a notebook.
_ROWS = 20
_INSTANT = pd.ArrowDtype(pa.timestamp("ms", "UTC"))


@dataclass(frozen=True)
class Difference:
    """One record in which a broad pull and the updates before it disagree.

    Parameters
    ----------
    resource_type, resource_id : str
        Which record.
    kind : str
        `late` (updates should have brought it), `fallen out`, `returned`, or `held` (vanished with too many others).
    reason : str
        What the server said of it.
    """

    resource_type: str
    resource_id: str
    kind: Literal["late", "fallen out", "returned", "held"]
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the machine-readable form that `s4s pull --json` promises for one record."""
        return {"type": self.resource_type, "id": self.resource_id, "kind": self.kind, "reason": self.reason}


@dataclass(frozen=True)
class TypePull:
    """What became of one resource type in one pull; counts are numbers of resources, times are UTC."""

    resource_type: str
    mode: Mode
    outcome: Outcome = "done"
    started_at: datetime | None = None
    fingerprint: str = ""
    query: str = ""
    requests: int = 0
    pages: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    fallen_out: int = 0
    returned: int = 0
    last_check: datetime | None = None
    filter: Filter = "unknown"
    waited_s: float = 0.0
    next_broad: datetime | None = None
    not_before: datetime | None = None
    overlap_s: int = 300
    warnings: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form that `s4s pull --json` promises for one type."""
        return {
            "mode": self.mode,
            "outcome": self.outcome,
            "query": self.query,
            "requests": self.requests,
            "pages": self.pages,
            "new": self.new,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "fallen_out": self.fallen_out,
            "returned": self.returned,
            "last_check": None if self.last_check is None else format_instant(self.last_check),
            "filter": self.filter,
            "waited_s": round(self.waited_s, 3),
            "next_broad": None if self.next_broad is None else format_instant(self.next_broad),
            "not_before": None if self.not_before is None else format_instant(self.not_before),
            "overlap_s": self.overlap_s,
            "warnings": list(self.warnings),
            "differences": [difference.to_json() for difference in self.differences],
        }


def gravest(outcomes: Sequence[Outcome]) -> Literal["done", "waiting", "failed"]:
    """Return the gravest of several outcomes; skipped counts as done.

    Parameters
    ----------
    outcomes : sequence of str
        In any order; none at all is done.
    """
    if "failed" in outcomes:
        return "failed"
    return "waiting" if "waiting" in outcomes else "done"


@dataclass(frozen=True)
class PullReport:
    """What one pull of one connection did, type by type.

    Parameters
    ----------
    fhir_url, patient_id : str
        Which connection.
    run_id : str
        The run's row key in the dataset's ledger.
    types : tuple of TypePull
        In the order of the pull.
    seconds : float
        How long the whole took [s].
    trace : Trace or None
        The HTTP exchanges, where the pull was asked to record them.
    """

    fhir_url: str
    patient_id: str
    run_id: str
    types: tuple[TypePull, ...]
    seconds: float = field(default=0.0, compare=False)
    trace: Trace | None = field(default=None, compare=False)

    @property
    def outcome(self) -> Literal["done", "waiting", "failed"]:
        """`done`, `waiting` (the server asked for more time than allowed) or `failed`: the gravest of the types."""
        return gravest([item.outcome for item in self.types])

    @property
    def warnings(self) -> list[str]:
        """Everything worth knowing that was no error, as `type: sentence`."""
        return [f"{item.resource_type}: {text}" for item in self.types for text in item.warnings]

    @property
    def differences(self) -> pd.DataFrame:
        """Where broad pull and updates disagree: one row a record, columns resource_type, resource_id, kind, reason."""
        rows = [(d.resource_type, d.resource_id, d.kind, d.reason) for item in self.types for d in item.differences]
        return pd.DataFrame(rows, columns=["resource_type", "resource_id", "kind", "reason"], dtype="string[pyarrow]")

    def table(self) -> pd.DataFrame:
        """Return one row a resource type: what was asked, what came, how the server behaves, what is due when."""
        columns = {name: [getattr(item, name) for item in self.types] for name in (*_PRINTED, *_BESIDE)}
        index = pd.Index([item.resource_type for item in self.types], name="type")
        frame = pd.DataFrame(columns, index=index)
        return frame.astype(dict.fromkeys(("last_check", "next_broad", "not_before"), _INSTANT))

    def printed(self) -> pd.DataFrame:
        """Return the columns of `table` that a report prints: mode, outcome, and what came."""
        return self.table()[list(_PRINTED)]

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form that `s4s pull --json` promises for one connection."""
        return {
            "fhir_url": self.fhir_url,
            "patient_id": self.patient_id,
            "outcome": self.outcome,
            "types": {item.resource_type: item.to_json() for item in self.types},
        }

    def __repr__(self) -> str:
        lines = [f"PullReport: {self.outcome}", self.printed().to_string()]
        lines += [f"note: {text}" for text in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<li>{escape(text)}</li>" for text in self.warnings)
        table = self.printed().to_html()
        return f"<p>Pull: <b>{self.outcome}</b></p>{table}" + (f"<ul>{notes}</ul>" if notes else "")


@dataclass(frozen=True)
class SeriesFetch:
    """What is in the cache of one series after a fetch.

    Parameters
    ----------
    series_uid : str
        Series Instance UID.
    instances : int
        Files of it.
    bytes : int
        Their size [bytes].
    expected : int or None
        How many the record declares.
    """

    series_uid: str
    instances: int
    bytes: int
    expected: int | None = None

    @property
    def state(self) -> Literal["complete", "partial", "missing"]:
        """Whether as many files are here as the record declares; without its word, whether there are any."""
        if not self.instances:
            return "missing"
        return "complete" if self.expected in (None, self.instances) else "partial"


@dataclass(frozen=True)
class StudyFetch:
    """What became of one study in one fetch.

    Parameters
    ----------
    study_uid : str
        The Study Instance UID.
    state : str
        `complete`, `partial` (fewer instances than the record declares, or not all could be used), `waiting` (the
        archive asked for more time than allowed) or `failed`.
    instances, expected : int
        DICOM files in the cache, and how many the record declares, None when it does not say.
    new : int
        Files that this fetch added.
    bytes : int
        Size of the study's files in the cache [bytes].
    seconds, waited_s : float
        Time of the retrieval, and time spent waiting for the archive [s].
    error : str or None
        What went wrong, and what to do.
    series : tuple of SeriesFetch
        Series by series; empty when nothing came.
    """

    study_uid: str
    state: Literal["complete", "partial", "waiting", "failed"]
    instances: int = 0
    expected: int | None = None
    new: int = 0
    bytes: int = 0
    seconds: float = field(default=0.0, compare=False)
    waited_s: float = field(default=0.0, compare=False)
    error: str | None = None
    series: tuple[SeriesFetch, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form that `s4s fetch --json` promises for one study."""
        return {
            "study_uid": self.study_uid,
            "state": self.state,
            "instances": self.instances,
            "expected": self.expected,
            "bytes": self.bytes,
            "error": self.error,
        }


@dataclass(frozen=True)
class FetchReport:
    """What one fetch did, study by study.

    Parameters
    ----------
    studies : tuple of StudyFetch
        In the order of the request.
    seconds : float
        How long it took [s].
    outlook : FetchOutlook or None
        What was wanted and what was here, as it stood before.
    """

    studies: tuple[StudyFetch, ...]
    seconds: float = field(default=0.0, compare=False)
    outlook: FetchOutlook | None = field(default=None, compare=False)

    @property
    def outcome(self) -> Literal["done", "waiting", "failed"]:
        """`done`, `waiting` or `failed`: the gravest of the studies; a partial study counts as done and says so."""
        known: dict[str, Outcome] = {"waiting": "waiting", "failed": "failed"}
        return gravest([known.get(study.state, "done") for study in self.studies])

    def table(self) -> pd.DataFrame:
        """Return one row a study: state, instances, expected, new, bytes, times, error; by study_uid."""
        names = ["state", "instances", "expected", "new", "bytes", "seconds", "waited_s", "error"]
        columns = {name: [getattr(study, name) for study in self.studies] for name in names}
        index = pd.Index([study.study_uid for study in self.studies], name="study_uid", dtype="string[pyarrow]")
        frame = pd.DataFrame(columns, index=index)
        return frame.astype({"expected": "int64[pyarrow]", "error": "string[pyarrow]"})

    def series(self) -> pd.DataFrame:
        """Return one row a series: state, instances, expected, bytes; the index is study_uid and series_uid."""
        names = ["state", "instances", "expected", "bytes"]
        pairs = [(study.study_uid, series) for study in self.studies for series in study.series]
        columns = {name: [getattr(series, name) for _, series in pairs] for name in names}
        index = pd.MultiIndex.from_arrays(
            [[uid for uid, _ in pairs], [series.series_uid for _, series in pairs]], names=["study_uid", "series_uid"]
        )
        return pd.DataFrame(columns, index=index).astype({"expected": "int64[pyarrow]"})

    def errors(self) -> list[str]:
        """Return what went wrong as lines; what is the same for several studies once."""
        by_error: dict[str, list[str]] = {}
        for study in self.studies:
            if study.error:
                by_error.setdefault(study.error, []).append(study.study_uid)
        return [f"{uids[0] if len(uids) == 1 else f'{len(uids)} studies'}: {text}" for text, uids in by_error.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form that `s4s fetch --json` promises."""
        return {"outcome": self.outcome, "studies": [study.to_json() for study in self.studies]}

    def _summary(self) -> str:
        states = [study.state for study in self.studies]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no studies"
        files = sum(study.instances for study in self.studies)
        size = sum(study.bytes for study in self.studies)
        return f"{counts}; {files} {'file' if files == 1 else 'files'}, {size / 1e6:.1f} MB"

    def __repr__(self) -> str:
        return "\n".join([f"FetchReport: {self.outcome}; {self._summary()}", *self.errors()])

    def _repr_html_(self) -> str:
        from html import escape

        table = self.table()[["state", "instances", "expected", "new", "bytes"]]
        notes = "".join(f"<li>{escape(text)}</li>" for text in self.errors())
        head = f"<p>Fetch: <b>{self.outcome}</b>; {self._summary()}</p>"
        return head + table.to_html(na_rep="", max_rows=_ROWS) + (f"<ul>{notes}</ul>" if notes else "")
