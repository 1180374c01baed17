"""forget: one participant out of the dataset without residue, in every version of everything.

A journal says what is to be removed before anything is, and each step can be repeated: after a kill at any point the
next opening finishes what was begun, and until then nobody writes. What remains is that somebody was forgotten, and
when.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import AuthorizationError, DatasetError, NotInDataset, UnexpectedAnswer, UsageError
from s4s_lab.fhir import study_uid_of
from s4s_lab.fhir.decoding import decode_checked
from s4s_lab.lake import delta, durable
from s4s_lab.lake.connections import Connections
from s4s_lab.lake.entries import newest_version
from s4s_lab.lake.locks import JOURNAL, Locks
from s4s_lab.lake.log import LOG_SCHEMA, ResourceLog
from s4s_lab.lake.rewriting import Rows, leave_out, require_readable
from s4s_lab.smart import FileGrants
from s4s_lab.values.instants import format_instant, parse_date_time, utc_now
from s4s_lab.values.origins import base_url

_FORGOTTEN = "forgotten.json"
_PATIENCE_S = 10.0
_OUTSIDE = (
    "Exports, backups and other copies outside of the dataset are not touched.",
    "An access that was not disconnected before (s4s disconnect) stands at the server until it ends or is ended there.",
)


@dataclass(frozen=True)
class ForgetReport:
    """What was removed of one participant. It does not name them.

    Parameters
    ----------
    removed : mapping of str to int
        What, and how much of it.
    version : int
        The dataset's version from which on nothing is missing.
    """

    removed: Mapping[str, int]
    version: int

    @property
    def notes(self) -> list[str]:
        """What else there is to know."""
        return list(_OUTSIDE)

    def table(self) -> pd.DataFrame:
        """Return one row a kind of thing: how much was removed."""
        index = pd.Index(list(self.removed), name="what", dtype="string[pyarrow]")
        return pd.DataFrame({"removed": list(self.removed.values())}, index=index)

    def to_json(self) -> dict[str, Any]:
        """Return the machine-readable form that `s4s forget --json` promises."""
        return {"outcome": "done", "removed": dict(self.removed), "version": self.version, "notes": self.notes}

    def __repr__(self) -> str:
        lines = ["ForgetReport: done", self.table().to_string(), *(f"note: {text}" for text in self.notes)]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Journal:
    """What is being removed: all that a process needs which finds it half done."""

    token: str
    source: str
    patient_id: str
    connection_id: str
    bucket: int
    version: int
    cursors: list[str] = field(default_factory=list)
    study_uids: list[str] = field(default_factory=list)

    def rows(self, table: str) -> Rows:
        """Return the participant's rows in one table."""
        words = frozenset([delta.literal(self.patient_id), self.connection_id])
        if table == "pulls":
            # It is advice: what is damaged in it is no loss.
            return Rows({"connection_id": self.connection_id}, None, words=words, losable=True)
        who = {"source": self.source, "patient_id": self.patient_id}
        return Rows(who, self.bucket, frozenset(self.cursors), words)

    def is_meant_in(self, text: str) -> bool:
        """Say whether a text names the participant in any way that the dataset knows."""
        names = (self.patient_id, self.connection_id, *self.cursors, *self.study_uids)
        return any(name in text for name in names)


@dataclass(frozen=True)
class Forgetting:
    """Removes participants from one dataset.

    Parameters
    ----------
    root : Path
        Its folder.
    log : ResourceLog
        Its log.
    connections : Connections
        Its connections.
    images : DicomCache
        Its images.
    locks : Locks
        Its locks.
    """

    root: Path
    log: ResourceLog
    connections: Connections
    images: DicomCache
    locks: Locks

    def forget(self, patient_id: str, fhir_url: str | None) -> ForgetReport:
        """Remove one participant; the tables are not refreshed yet.

        Parameters
        ----------
        patient_id : str
            The FHIR id of the patient.
        fhir_url : str, optional
            At which server; may be left out when only one knows the id.

        Raises
        ------
        NotInDataset
            If the dataset has nothing of such a patient.
        UsageError
            If several servers know the id and none was named.
        DatasetBusy
            If the participant's record is being pulled, their images fetched, or somebody writes for a minute.
        DatasetError
            If a file is damaged that may hold their rows, or their images lie behind a symbolic link. Nothing has been
            changed then.
        """
        source = self._source(patient_id, fhir_url)
        key = self.connections.id_of(source, patient_id)
        with ExitStack() as held:
            for name, what in ((f"pull-{key}", "pulling"), (f"fetch-{key}", "fetching images of")):
                busy = f"Another process is {what} this participant."
                held.enter_context(self.locks.alone(name, timeout_s=_PATIENCE_S, busy=busy))
            held.enter_context(self.locks.maintaining())
            journal = self._begun(source, patient_id, key)
            removed = _carry_out(self.root, journal)
        return ForgetReport(removed, self.log.version)

    def _source(self, patient_id: str, fhir_url: str | None) -> str:
        known = self._sources(patient_id)
        if fhir_url is not None:
            known &= {base_url(fhir_url)}
        if not known:
            count = len(self.connections.all())
            where = "" if fhir_url is None else " of that server"
            raise NotInDataset(
                f"The dataset has no patient with this id{where}.",
                hint=f"It has {count} connection{'' if count == 1 else 's'}: s4s status lists them.",
            )
        if len(known) > 1:
            raise UsageError(
                f"{len(known)} servers of the dataset know this patient id.",
                hint=f"Name the server: {', '.join(sorted(known))}.",
            )
        return known.pop()

    def _sources(self, patient_id: str) -> set[str]:
        """Return the servers that know a patient id, also those whose connection's file is lost."""
        known = {record.fhir_url for record in self.connections.all() if record.patient_id == patient_id}
        if known:
            return known
        columns = LOG_SCHEMA.empty_table().select(["source"]).schema
        where = f"patient_id = {delta.literal(patient_id)}"
        known |= set(delta.read(delta.open_table(self.log.path), columns, where=where)["source"].to_pylist())
        return known | {study.source for study in self.images.index.studies() if study.patient_id == patient_id}

    def _begun(self, source: str, patient_id: str, key: str) -> _Journal:
        cursors = [cursor for record in self.connections.all() if record.connection_id == key
                   for *_, cursor in self.connections.cursors(record)]  # fmt: skip
        journal = _Journal(
            token=secrets.token_hex(8),
            source=source,
            patient_id=patient_id,
            connection_id=key,
            bucket=self.log.bucket(source, patient_id),
            version=self.log.version,
            cursors=cursors,
            study_uids=sorted(self._studies(source, patient_id)),
        )
        for table in ("resources", "pulls"):
            require_readable(self.root / table, journal.rows(table))
        self.images.require_removable(source, patient_id, journal.study_uids)
        durable.write_durably(self.root / JOURNAL, json.dumps(asdict(journal)).encode())
        return journal

    def _studies(self, source: str, patient_id: str) -> Iterator[str]:
        columns = LOG_SCHEMA.empty_table().select(["raw"]).schema
        where = f"resource_type = 'ImagingStudy' AND raw IS NOT NULL AND {self.log.predicate([(source, patient_id)])}"
        try:
            found = delta.read(delta.open_table(self.log.path), columns, where=where)["raw"].to_pylist()
        except DatasetError:
            # A damaged file goes with the participant when it holds nobody else; the index names most studies.
            return
        for raw in found:
            try:
                uid = study_uid_of(decode_checked(raw.encode(), "The log"))
            except UnexpectedAnswer:  # not even JSON any more: it names nothing
                continue
            # A name of a file is made of it.
            if uid is not None and set(uid) <= set("0123456789."):
                yield uid


def finish(root: Path) -> list[str]:
    """Finish what an interrupted `forget` began.

    Parameters
    ----------
    root : Path
        The dataset's folder.

    Returns
    -------
    list of str
        What was done, as sentences to warn with.

    Raises
    ------
    DatasetBusy
        If others write at this moment.
    DatasetError
        If the journal or a file is damaged.
    """
    if not (root / JOURNAL).exists():
        return []
    with Locks(root / ".locks").maintaining():
        if not (root / JOURNAL).exists():
            return []
        try:
            journal = _Journal(**json.loads((root / JOURNAL).read_bytes()))
        except (ValueError, TypeError):
            hint = "Restore the dataset from a backup, or move the file away and forget again."
            raise DatasetError(f"{root / JOURNAL} is damaged.", hint=hint) from None
        _carry_out(root, journal)
    return ["A participant was being forgotten when a process was killed; that is finished now."]


def _carry_out(root: Path, journal: _Journal) -> dict[str, int]:
    """Remove everything; the rights to more come first, the journal last."""
    connection = root / "connections" / f"{journal.connection_id}.json"
    grants = root / "grants" / f"{journal.connection_id}.json"
    removed = {"connections": int(connection.exists()), "grants": int(grants.exists())}
    _remove_grant(grants)
    connection.unlink(missing_ok=True)
    durable.sync(connection.parent)
    _sweep_unfinished(root)
    removed["resource versions"] = leave_out(root / "resources", journal.rows("resources"))
    removed["ledger rows"] = leave_out(root / "pulls", journal.rows("pulls"))
    derived = [path for path in sorted((root / "tables").iterdir()) if path.is_dir()]
    removed["table rows, in all versions"] = sum(_out_of_table(path, journal) for path in derived)
    _scrub_set_aside(root / "set-aside", journal)
    _drop_waits(root / "dicom" / "waits.json", journal.connection_id)
    images = DicomCache(root / "dicom").remove(journal.source, journal.patient_id, journal.study_uids)
    removed |= {"image studies": images.studies, "image files": images.files, "image bytes": images.bytes}
    _remember(root, journal)
    for name in ("pull", "fetch"):
        (root / ".locks" / f"{name}-{journal.connection_id}.lock").unlink(missing_ok=True)
    (root / JOURNAL).unlink()
    durable.sync(root)
    return removed


def _sweep_unfinished(root: Path) -> None:
    """Remove what a killed writer left of a connection's file, or of this very journal: it may name the participant."""
    busy = "Another process is changing the dataset's connections."
    with Locks(root / ".locks").alone("connections", timeout_s=_PATIENCE_S, busy=busy):
        for folder in (root, root / "connections"):
            for left in list(folder.glob(f"{durable.PART}*")):
                left.unlink(missing_ok=True)


def _out_of_table(path: Path, journal: _Journal) -> int:
    """Take the participant's rows out of a derived table; a damaged one is thrown away, and derived anew."""
    try:
        return leave_out(path, journal.rows(path.name))
    except DatasetError:
        shutil.rmtree(path)
        return 0


def _remove_grant(path: Path) -> None:
    if path.parent.is_dir():
        path.parent.chmod(durable.PRIVATE_FOLDER)
        # Whoever is renewing it ends first, and finds nothing the next time.
        FileGrants(path).forget()
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def _scrub_set_aside(folder: Path, journal: _Journal) -> None:
    """Remove what names the participant, and what cannot be read as text: checkpoints hold everybody."""
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            named = path.suffix == ".parquet" or journal.is_meant_in(path.read_text(encoding="utf-8"))
        except ValueError:
            named = True
        if named:
            path.unlink()


def _drop_waits(path: Path, connection_id: str) -> None:
    """Drop a connection's waits, whose keys begin with its id."""
    for part in path.parent.glob(f".part-*-{path.name}"):
        part.unlink()
    try:
        waits = json.loads(path.read_bytes())
        kept = {key: wait for key, wait in waits.items() if not key.startswith(f"{connection_id}/")}
    except FileNotFoundError:
        return
    except (ValueError, AttributeError):
        path.unlink()
        return
    if kept != waits:
        durable.write_durably(path, json.dumps(kept).encode())


def _remember(root: Path, journal: _Journal) -> None:
    """Keep that somebody was forgotten, and let the log have a version from which on nothing is missing."""
    known = _forgotten(root)
    if all(one["token"] != journal.token for one in known):
        known.append({"token": journal.token, "version": journal.version, "at": format_instant(utc_now())})
        durable.write_durably(root / _FORGOTTEN, json.dumps(known, indent=2).encode())
    resources = root / "resources"
    if newest_version(resources) == journal.version:
        delta.make_durable([delta.note(resources, transactions={})])


def _forgotten(root: Path) -> list[dict[str, Any]]:
    try:
        content: list[dict[str, Any]] = json.loads((root / _FORGOTTEN).read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return content


def missing_in(root: Path, version: int) -> str | None:
    """Say what a version of the dataset no longer holds, None when it holds what it held.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    version : int
        Of the log.
    """
    later = [one for one in _forgotten(root) if version <= one["version"]]
    if not later:
        return None
    days = sorted({str(one["at"])[:10] for one in later})
    who = "1 participant" if len(later) == 1 else f"{len(later)} participants"
    return f"without {who} forgotten since ({', '.join(days)})"


def require_consent_since(root: Path, granted_at: datetime | None) -> None:
    """Check that nobody was forgotten since a grant was given: whom it is of is no longer known, so it may be them.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    granted_at : datetime or None
        When; None when that is not known.

    Raises
    ------
    AuthorizationError
        If somebody was.
    """
    moments = [parse_date_time(str(one["at"])) for one in _forgotten(root)]
    if moments and (granted_at is None or granted_at <= max(moments)):
        raise AuthorizationError(
            "A participant was forgotten in this dataset, which has nothing of the one of this connection,"
            " and no consent since then is known.",
            hint="Connect again if they consent again.",
        )
