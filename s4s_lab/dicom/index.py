"""The cache's memory in one SQLite file: which studies, which files, which were set aside."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from s4s_lab.dicom.files import FILE_MODE, private_folder, require_own
from s4s_lab.dicom.rows import FORMAT, INSERT, OF_FILE, SCHEMA, SELECT, stored
from s4s_lab.errors import DatasetBusy, DatasetError

State = Literal["complete", "partial", "missing"]

BUSY_S: Final = 30.0
# By a word of what SQLite says of what passes.
_ADVICE: Final = {
    "full": "Make room on the disk and do it again: what was kept before is as it was.",
    "readonly": "Copy the dataset to where you may write, or ask its owner.",
    "unable to open": "Copy the dataset to where you may write, or ask its owner.",
}


@dataclass(frozen=True)
class StudyKey:
    """Whose study it is, and where from.

    Parameters
    ----------
    archive : str
        What `archive_key` gives.
    study_uid : str
        Bare and checked.
    source : str
        FHIR base URL of the server that named the study.
    patient_id : str
        FHIR id of the patient.
    participant_id : str or None
        The research study's own pseudonym.
    """

    archive: str
    study_uid: str
    source: str
    patient_id: str
    participant_id: str | None


@dataclass(frozen=True)
class CachedStudy:
    """What the cache holds of one study.

    Parameters
    ----------
    study_uid, archive : str
        Its key.
    state : "complete", "partial" or "missing"
        Complete: the closing boundary was seen and the count agreed.
    instances : int
        Files of the study.
    bytes : int
        Their size in all [bytes].
    expected : int or None
        How many there should be, as the last retrieval was told.
    """

    study_uid: str
    archive: str
    state: State
    instances: int
    bytes: int
    expected: int | None


@dataclass(frozen=True)
class KnownFile:
    """A file as the index remembers it: path relative to the cache, size in [bytes], SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SetAside:
    """A file in quarantine: path relative to the cache, size in [bytes], SHA-256, and why it is there."""

    path: str
    bytes: int
    sha256: str
    reason: str


class Index:
    """The index of one cache; each call opens the file anew, so threads and processes may share it.

    Parameters
    ----------
    path : Path
        The SQLite file; made when something is first written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _make(self) -> None:
        """Make the file beside its place and link it there whole: of several makers at once, the first one counts."""
        private_folder(self.path.parent)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}-{threading.get_ident()}")
        os.close(os.open(fresh, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
        try:
            # WAL comes last: what is in a log beside the file would not be linked, and closing tells of no failure.
            with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                connection.executescript(SCHEMA)
            with suppress(FileExistsError):
                os.link(fresh, self.path)
        except sqlite3.DatabaseError as error:
            raise unusable(error) from None
        finally:
            fresh.unlink(missing_ok=True)

    def _connected(self, *, reading: bool) -> sqlite3.Connection:
        """Connect; to read what may not be written without the files that SQLite would make beside it."""
        require_own(self.path.parent, self.path)
        if not reading or (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)):
            return sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        # What is still in a write-ahead log is not in the file alone.
        alone = not self.path.with_name(f"{self.path.name}-wal").exists()
        address = f"{self.path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
        return sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, uri=True)

    @contextmanager
    def _opened(self, begin: str) -> Iterator[sqlite3.Connection]:
        with closing(self._connected(reading=begin == "BEGIN")) as connection:
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version != FORMAT:
                    raise DatasetError("The image cache was made by another version.", hint="Upgrade s4s-lab.")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                raise unusable(error) from None

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none before the file is made.

        Parameters
        ----------
        statement : str
            SQL.
        *values
            What its placeholders stand for.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        if not self.path.exists():
            return []
        with self._opened("BEGIN") as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that writes; the file is made first when it is missing.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        if not self.path.exists():
            self._make()
        with self._opened("BEGIN IMMEDIATE") as connection:
            yield connection

    def generation(self) -> int:
        """Return a number that grows with every change.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        rows = self.query("SELECT generation FROM cache")
        return int(rows[0][0]) if rows else 0

    def study(self, archive: str, study_uid: str) -> CachedStudy:
        """Return what is known of one study.

        Parameters
        ----------
        archive, study_uid : str
            Its key.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        rows = self.query(
            "SELECT state, expected, count(bytes), ifnull(sum(bytes), 0) FROM studies "
            "LEFT JOIN instances USING (archive, study_uid) WHERE archive = ? AND study_uid = ? GROUP BY study_uid",
            archive,
            study_uid,
        )
        state, expected, instances, size = rows[0] if rows else ("missing", None, 0, 0)
        return CachedStudy(study_uid, archive, state, instances, size, expected)

    def files(self, archive: str, study_uid: str) -> dict[str, KnownFile]:
        """Return the files of one study by SOP Instance UID.

        Parameters
        ----------
        archive, study_uid : str
            The study's key.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        rows = self.query(
            "SELECT instance_uid, path, bytes, sha256 FROM instances WHERE archive = ? AND study_uid = ?",
            archive,
            study_uid,
        )
        return {uid: KnownFile(path, size, sha256) for uid, path, size, sha256 in rows}

    def rows(self, study_uid: str | None) -> list[tuple[Any, ...]]:
        """Return the cells of table `dicom_instance`, lists and dates as JSON and ISO text, in the table's order.

        Parameters
        ----------
        study_uid : str or None
            Only of this study; of all when None.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        return self.query(SELECT, study_uid)

    def add(self, study: StudyKey, rows: Iterable[Mapping[str, Any]], set_aside: Iterable[SetAside] = ()) -> None:
        """Add files to a study, which is partial from then on until it is settled.

        Parameters
        ----------
        study : StudyKey
            Made when it is not there yet.
        rows : iterable of mapping
            Cells by column name; `path` relative to the cache.
        set_aside : iterable of SetAside
            Files that went to quarantine.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        cells = [(study.archive, *(stored(row[name]) for name in OF_FILE)) for row in rows]
        with self.writing() as connection:
            changed = connection.executemany(INSERT, cells).rowcount if cells else 0
            for file in set_aside:
                changed += connection.execute(
                    "INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)",
                    (study.archive, study.study_uid, file.sha256, file.bytes, file.reason, file.path),
                ).rowcount
            if cells:
                _put_study(connection, study, "partial", None)
            count_change(connection, changed)

    def settle(self, study: StudyKey, state: State, expected: int | None) -> None:
        """Say how a retrieval of a study ended; nothing changes when the same is known already.

        Parameters
        ----------
        study : StudyKey
            Made when it is not there yet.
        state : "complete" or "partial"
            How it ended.
        expected : int or None
            How many instances there should be.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        with self.writing() as connection:
            count_change(connection, _put_study(connection, study, state, expected))


def unusable(error: sqlite3.DatabaseError) -> DatasetError:
    """Return what to raise when SQLite cannot use the index.

    Parameters
    ----------
    error : sqlite3.DatabaseError
        What it said.
    """
    if "locked" in str(error):
        return DatasetBusy("The image cache's index is in use by another process.")
    hint = "Move index.sqlite away; the files stay, and fetching again makes a new index."
    if isinstance(error, sqlite3.OperationalError):
        hint = next((advice for word, advice in _ADVICE.items() if word in str(error)), "")
    return DatasetError(f"The image cache's index cannot be used: {error}.", hint=hint)


def _put_study(connection: sqlite3.Connection, study: StudyKey, state: State, expected: int | None) -> int:
    row = (study.source, study.participant_id, study.patient_id, state, expected)
    known = connection.execute(
        "SELECT source, participant_id, patient_id, state, expected FROM studies WHERE archive = ? AND study_uid = ?",
        (study.archive, study.study_uid),
    ).fetchone()
    if known == row:
        return 0
    return connection.execute(
        "INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?, ?, ?, ?)", (study.archive, study.study_uid, *row)
    ).rowcount


def count_change(connection: sqlite3.Connection, changed: int) -> None:
    """Let the generation grow when something has changed.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    changed : int
        How many rows.
    """
    if changed:
        connection.execute("UPDATE cache SET generation = generation + 1")
