"""verify: everything in the dataset hashed, read and compared again; repair of what can be made anew."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from s4s_lab.dicom import DicomCache
from s4s_lab.errors import DatasetError, GrantExpired, UnexpectedAnswer, UsageError
from s4s_lab.fhir import canonical_hash, content_hash
from s4s_lab.fhir.decoding import decode_head
from s4s_lab.lake.checking import Fault, TableCheck
from s4s_lab.lake.checksums import CHECKSUMS, write_checksums
from s4s_lab.lake.comparing import differing
from s4s_lab.lake.connections import Connections
from s4s_lab.lake.entries import Added, log_folder
from s4s_lab.lake.findings import Check, Problem, VerifyReport
from s4s_lab.lake.images import IMAGES, ImageTable
from s4s_lab.lake.locks import Locks
from s4s_lab.lake.log import ResourceLog
from s4s_lab.lake.tables import ViewTables
from s4s_lab.smart import FileGrants
from s4s_lab.values.instants import utc_now

_AHEAD = timedelta(minutes=10)
_BACKUP = "Restore it from a backup."
_REBUILD = "Verify with repair: it is made anew from the log."
_REBUILD_IMAGES = "Verify with repair: it is made anew from the cache's index."
_FETCH = "Verify with repair, then fetch: it comes again."
_ASIDE = "Verify with repair: it is moved to quarantine."
_LINK = "Put back what it leads to, or remove the link, verify with repair and fetch: it comes again."
_NAMED_STUDIES = 5
_LOST = (
    "Restore it from a backup; without one, forget the participant and connect again:"
    " a first pull brings what the server still has."
)


@dataclass
class Verifying:
    """One check of one dataset.

    Parameters
    ----------
    root : Path
        Its folder.
    log : ResourceLog
        Its log.
    connections : Connections
        Its connections.
    tables : ViewTables
        Its tables.
    image_table : ImageTable
        Its table of images.
    locks : Locks
        Its locks.
    repair : bool
        Whether to put right what can be.
    """

    root: Path
    log: ResourceLog
    connections: Connections
    tables: ViewTables
    image_table: ImageTable
    locks: Locks
    repair: bool
    checks: list[Check] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _owners: set[str] = field(default_factory=set)
    _marks: set[str] = field(default_factory=set)

    def run(self) -> VerifyReport:
        """Check part by part: what the later parts rely on comes first.

        Raises
        ------
        DatasetBusy
            If something is to be repaired and others write for a minute.
        """
        self._modes()
        whole = self._log()
        self._connections()
        self._ledger()
        self._images()
        self._tables(comparing=whole)
        self._grants()
        return VerifyReport(tuple(self.checks), tuple(self.problems))

    def _found(self, part: str, path: Path, what: str, todo: str, *, repaired: bool = False, done: str = "") -> None:
        where = path.relative_to(self.root).as_posix()
        self.problems.append(Problem(part, where, what, todo, repaired, done))

    def _modes(self) -> None:
        count = 0
        for path in (self.root, *self.root.rglob("*")):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                # Others go on working meanwhile.
                continue
            count += 1
            if not stat.S_ISLNK(mode) and mode & 0o077:
                closed = self._closed(path)
                what = "It is open to other users."
                self._found("files", path, what, "Close it.", repaired=closed, done="It is closed now.")
        self.checks.append(Check("files", count, "files and folders"))

    def _closed(self, path: Path) -> bool:
        if not self.repair or path.lstat().st_uid != os.geteuid():
            return False
        path.chmod(0o700 if path.is_dir() else 0o600)
        return True

    def _log(self) -> bool:
        """Check the log; say whether it is whole."""
        check = TableCheck(self.log.path, look=self._look_at_rows)
        faults = list(check.faults())
        for fault in faults:
            if not self._made_again(fault, "resources"):
                self._found("resources", fault.path, self._with_owners(fault), _LOST if fault.added else _BACKUP)
        self._sign(check, faults)
        self._marks = check.transactions
        self.checks.append(Check("resources", check.rows, "resource versions"))
        return all(self._can_be_made_again(fault) for fault in faults)

    def _look_at_rows(self, file: Added, rows: pa.RecordBatch) -> Iterator[str]:
        """Say what is wrong with rows of the log: a hash that is not their JSON's, or somebody else's place."""
        wrong: Counter[str] = Counter()
        names = ["source", "patient_id", "connection_id", "content_hash", "raw"]
        for row in rows.select(names).to_pylist():
            self._owners.add(row["connection_id"])
            key = self.connections.id_of(row["source"], row["patient_id"])
            bucket = str(self.log.bucket(row["source"], row["patient_id"]))
            if row["raw"] is not None and not _is_as_received(row["raw"], row["content_hash"]):
                wrong["rows whose JSON is not what was received"] += 1
            if row["connection_id"] != key or file.partition.get("bucket") != bucket:
                wrong["rows that lie in another participant's place"] += 1
        return (f"It has {count} {what}." for what, count in wrong.items())

    def _with_owners(self, fault: Fault) -> str:
        """Say what is wrong with a file of the log, at which version, and whose rows it held."""
        if fault.added is None:
            return f"{fault.what} (version {fault.version})"
        low, high = (fault.added.stats.get(end, {}) for end in ("minValues", "maxValues"))
        who = [self._named(end.get("source"), end.get("patient_id")) for end in (low, high)]
        whose = who[0] if who[0] == who[1] else f"{who[0]} to {who[1]}"
        kind = fault.added.partition.get("resource_type")
        return f"{fault.what} (version {fault.version}: {kind} of {whose})"

    def _named(self, source: str | None, patient_id: str | None) -> str:
        participant = self.connections.participant(source, patient_id) if source and patient_id else None
        return participant or patient_id or "somebody"

    @staticmethod
    def _can_be_made_again(fault: Fault) -> bool:
        name = fault.path.name
        return name == "_last_checkpoint" or ".checkpoint." in name or fault.path.parent.name == CHECKSUMS

    def _made_again(self, fault: Fault, part: str) -> bool:
        """Tell of a damaged checkpoint or checksum: neither holds anything of its own, so it can be removed."""
        if not self._can_be_made_again(fault):
            return False
        if self.repair:
            with self.locks.maintaining():
                fault.path.unlink(missing_ok=True)
        todo, done = "Verify with repair: it can be done without.", "It was removed, and is made anew when needed."
        self._found(part, fault.path, fault.what, todo, repaired=self.repair, done=done)
        return True

    def _sign(self, check: TableCheck, faults: Iterable[Fault]) -> None:
        """Take checksums where there are none and the files are as they should be."""
        damaged = {fault.version for fault in faults if not self._can_be_made_again(fault)}
        anew = {fault.version for fault in faults if self._can_be_made_again(fault)}
        if self.repair:
            for version in sorted({*check.unsigned, *anew} - damaged):
                write_checksums(check.table, version)

    def _connections(self) -> None:
        known = {path.stem for path in (self.root / "connections").glob("*.json")}
        cursors: set[str] = set()
        for key in sorted(known):
            path = self.root / "connections" / f"{key}.json"
            try:
                cursors.update(self._connection(path))
            except DatasetError as error:
                self._found("connections", path, f"It cannot be used: {error}", "")
        for key in sorted(self._owners - known):
            path = self.root / "connections" / f"{key}.json"
            self._found("connections", path, "It is missing, and the log has its rows.", "Connect again, then pull.")
        lost = len(self._marks - cursors)
        notes = (f"{lost} watermarks belong to no connection; what they stood for is pulled anew",) if lost else ()
        unit = f"connections, with {len(cursors)} watermarks"
        self.checks.append(Check("connections", len(known), unit, notes))

    def _connection(self, path: Path) -> Iterator[str]:
        """Check one connection and yield its cursors."""
        record = self.connections.read(path.stem)
        if record.connection_id != self.connections.id_of(record.fhir_url, record.patient_id):
            self._found("connections", path, "It is not the file of the connection in it.", _BACKUP)
        last_check = self.log.last_checks()
        for kind, _, cursor in self.connections.cursors(record):
            yield cursor
            moment = last_check(cursor)
            if moment is not None and moment > utc_now() + _AHEAD:
                todo = "Check this machine's clock; if it is right, pull with --mode broad."
                self._found("connections", path, f"lastCheck of {kind} lies in the future: {moment}.", todo)

    def _ledger(self) -> None:
        check = TableCheck(self.root / "pulls")
        faults = list(check.faults())
        for fault in faults:
            if not self._made_again(fault, "pulls"):
                todo = f"{_BACKUP} It is advice: without it pulls are broad once."
                self._found("pulls", fault.path, f"{fault.what} (version {fault.version})", todo)
        self._sign(check, faults)
        self.checks.append(Check("pulls", check.rows, "ledger rows"))

    def _images(self) -> None:
        cache: DicomCache = self.image_table.cache
        try:
            seen = cache.verify(repair=self.repair)
        except DatasetError as error:
            self._found("dicom", cache.root / "index.sqlite", str(error), "")
            self.checks.append(Check("dicom", 0, "image files"))
            return
        for one in seen.findings:
            what = {
                "damaged": "Its bytes have changed.",
                "missing": "It is missing.",
                "unknown": "The index does not know it.",
                "damaged in quarantine": "Its bytes have changed, in quarantine.",
                "link": "It is a symbolic link, and what it leads to is not looked at.",
            }[one.kind]
            todo = {"damaged in quarantine": "Remove it.", "link": _LINK, "unknown": _ASIDE}.get(one.kind, _FETCH)
            done = "Its row was dropped." if one.kind == "missing" else "It was moved to quarantine."
            text = f"{what} (study {one.study_uid})"
            self._found("dicom", cache.root / one.path, text, todo, repaired=one.repaired, done=done)
        notes = []
        if seen.busy:
            studies = "1 study was" if seen.busy == 1 else f"{seen.busy} studies were"
            notes.append(f"{studies} being fetched and left out")
        dropped = [one.study_uid for one in seen.findings if one.repaired and one.kind in ("damaged", "missing")]
        if dropped:
            notes.append(_what_to_fetch(self.root, dropped))
        self.checks.append(Check("dicom", seen.files, f"image files, {seen.bytes / 1e6:.1f} MB", tuple(notes)))

    def _tables(self, *, comparing: bool) -> None:
        folder = self.tables.folder
        stored = [path for path in sorted(folder.iterdir()) if log_folder(path).is_dir()] if folder.is_dir() else []
        checks = {path: TableCheck(path) for path in stored}
        wrong = {path.name: self._faults_of(check) for path, check in checks.items()}
        for name, what in self._differences(wrong, comparing=comparing):
            wrong[name].append((folder / name, what))
        self._rebuild({name: found for name, found in wrong.items() if found}, can=comparing)
        notes = () if comparing else ("tables were not compared with the log: it is damaged",)
        rows = sum(check.rows for check in checks.values())
        self.checks.append(Check("tables", rows, f"rows in {len(stored)} tables, all versions", notes))

    def _faults_of(self, check: TableCheck) -> list[tuple[Path, str]]:
        """Return what is wrong with a table's files, and sign those that are whole."""
        faults = list(check.faults())
        real = [fault for fault in faults if not self._made_again(fault, "tables")]
        self._sign(check, faults)
        return [(fault.path, f"{fault.what} (version {fault.version})") for fault in real]

    def _differences(self, wrong: Mapping[str, Sequence[object]], *, comparing: bool) -> list[tuple[str, str]]:
        """Return by name the tables whose files are whole and whose rows are not what they are made from."""
        whole = [name for name, found in wrong.items() if not found]
        found: list[tuple[str, str]] = []
        if comparing:
            views = {name: view for name, view in self.tables.views.all().items() if name in whole}
            found += differing(self.tables.folder, views, self.log, self.connections)
        if IMAGES in whole and not self._image_index_is_lost and self.image_table.differs():
            found.append((IMAGES, "Its rows are not what the cache's index says."))
        return found

    @property
    def _image_index_is_lost(self) -> bool:
        return any(one.where == "dicom/index.sqlite" for one in self.problems)

    def _rebuild(self, wrong: dict[str, list[tuple[Path, str]]], *, can: bool) -> None:
        """Throw away tables that are wrong and derive them anew, where the log is whole."""
        repairing = self.repair and can and bool(wrong)
        if repairing:
            with self.locks.maintaining():
                for name in wrong:
                    shutil.rmtree(self.tables.folder / name)
            self.tables.refresh()
        if self.repair and not self._image_index_is_lost:
            self.image_table.refresh()
        for name, found in wrong.items():
            todo = _REBUILD_IMAGES if name == IMAGES else _REBUILD
            for path, what in found:
                todo = todo if can else "Mend the log first."
                self._found("tables", path, what, todo, repaired=repairing, done="The table was made anew.")

    def _grants(self) -> None:
        folder = self.root / "grants"
        count = 0
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            count += 1
            if not (self.root / "connections" / path.name).is_file():
                self._found("grants", path, "It belongs to no connection.", "Remove it.")
            try:
                kept = FileGrants(path)
                if kept.disconnected_at is None:
                    kept.read()
            except GrantExpired:
                self._found("grants", path, "It is damaged.", "Connect again.")
            except UsageError as error:
                self._found("grants", path, "It cannot be used.", str(error))
        self.checks.append(Check("grants", count, "grants"))


def _is_as_received(raw: str, digest: str) -> bool:
    if raw.startswith("\ufeff"):  # Other than where it comes from a server, a byte order mark is a fault.
        return False
    try:
        head = decode_head(raw.encode(), "The log")
        return content_hash(head.members) == digest or canonical_hash(raw.encode()) == digest
    except UnexpectedAnswer:
        return False


def verified(check: Verifying) -> VerifyReport:
    """Run a check, and look again at what was repaired: it counts as repaired when it is whole now.

    Parameters
    ----------
    check : Verifying
        Not yet run.

    Raises
    ------
    DatasetBusy
        If something is to be repaired and others write for a minute.
    """
    report = check.run()
    if not any(problem.repaired for problem in report.problems):
        return report
    again = replace(check, repair=False, checks=[], problems=[], _owners=set(), _marks=set()).run()
    left = {problem.where for problem in again.problems}
    problems = [replace(one, repaired=one.repaired and one.where not in left) for one in report.problems]
    return VerifyReport(report.checks, tuple(problems))


def _what_to_fetch(root: Path, study_uids: Sequence[str]) -> str:
    """Return the sentence with the command that brings images again; of each file that was taken out, its study."""
    studies = sorted(set(study_uids))
    which = "--all" if len(studies) > _NAMED_STUDIES else " ".join(f"--study {uid}" for uid in studies)
    files = "1 image file was" if len(study_uids) == 1 else f"{len(study_uids)} image files were"
    return f"{files} taken out and can be fetched again: s4s fetch --dataset {shlex.quote(str(root))} {which}"
