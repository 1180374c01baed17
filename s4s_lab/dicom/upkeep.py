"""What looking after a cache needs of its index: every study, what is in quarantine, taking things out for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from s4s_lab.dicom.index import BUSY_S, CachedStudy, Index, SetAside, StudyKey, count_change, unusable
from s4s_lab.errors import DatasetBusy


class KeptIndex(Index):
    """The index of one cache, with what checks and removals do to it.

    Parameters
    ----------
    path : Path
        The SQLite file; made when something is first written.
    """

    def studies(self) -> list[StudyKey]:
        """Return every study that is known, by archive and UID.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        rows = self.query(
            "SELECT archive, study_uid, source, patient_id, participant_id FROM studies ORDER BY archive, study_uid"
        )
        return [StudyKey(*row) for row in rows]

    def studies_of(self, source: str, patient_id: str, study_uid: str | None = None) -> list[CachedStudy]:
        """Return what is here of each of a patient's studies, those with the most files first.

        Parameters
        ----------
        source, patient_id : str
            Who: FHIR base URL of the server, and the patient's FHIR id there.
        study_uid : str, optional
            Only this one.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        rows = self.query(
            "SELECT study_uid, archive, state, count(bytes), ifnull(sum(bytes), 0), expected FROM studies "
            "LEFT JOIN instances USING (archive, study_uid) WHERE source = ?1 AND patient_id = ?2 "
            "AND (?3 IS NULL OR study_uid = ?3) GROUP BY archive, study_uid ORDER BY 4 DESC, archive",
            source,
            patient_id,
            study_uid,
        )
        return [CachedStudy(*row) for row in rows]

    def require_whole(self) -> None:
        """Check the file's own structure.

        Raises
        ------
        DatasetError
            If it is damaged.
        """
        found = [text for (text,) in self.query("PRAGMA integrity_check(3)")]
        if found not in ([], ["ok"]):
            raise unusable(sqlite3.DatabaseError("its structure is damaged"))

    def set_aside(self, archive: str | None = None) -> list[tuple[str, str, SetAside]]:
        """Return what is in quarantine: archive, study, file.

        Parameters
        ----------
        archive : str, optional
            Only of this one.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        rows = self.query(
            "SELECT archive, study_uid, path, bytes, sha256, reason FROM quarantine WHERE ?1 IS NULL OR archive = ?1 "
            "ORDER BY path, study_uid",
            archive,
        )
        return [(of_archive, study_uid, SetAside(*rest)) for of_archive, study_uid, *rest in rows]

    def drop(self, archive: str, study_uid: str, instances: Iterable[str], set_aside: Iterable[SetAside]) -> None:
        """Drop files of a study that are no longer there as they were; it is partial then, to be fetched again.

        Parameters
        ----------
        archive, study_uid : str
            The study's key.
        instances : iterable of str
            SOP Instance UIDs.
        set_aside : iterable of SetAside
            Files that went to quarantine instead.

        Raises
        ------
        DatasetError
            If the index cannot be used.
        """
        with self.writing() as connection:
            for uid in instances:
                connection.execute(
                    "DELETE FROM instances WHERE archive = ? AND study_uid = ? AND instance_uid = ?",
                    (archive, study_uid, uid),
                )
                connection.execute(
                    "UPDATE studies SET state = 'partial' WHERE archive = ? AND study_uid = ?", (archive, study_uid)
                )
            for file in set_aside:
                connection.execute(
                    "INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)",
                    (archive, study_uid, file.sha256, file.bytes, file.reason, file.path),
                )
            count_change(connection, 1)

    def remove(self, studies: Iterable[StudyKey]) -> None:
        """Remove everything that is known of studies, and overwrite where it stood, in the file and beside it.

        Parameters
        ----------
        studies : iterable of StudyKey
            Which ones.

        Raises
        ------
        DatasetBusy
            If another process keeps the index open for longer than half a minute.
        DatasetError
            If the index cannot be used.
        """
        if not self.path.exists():
            return
        with self.writing() as connection:
            for study in studies:
                for table in ("instances", "quarantine", "studies"):
                    connection.execute(
                        f"DELETE FROM {table} WHERE archive = ? AND study_uid = ?",  # noqa: S608  our own names
                        (study.archive, study.study_uid),
                    )
            count_change(connection, 1)
        self._compact()

    def _compact(self) -> None:
        with closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as connection:
            try:
                # Free pages and the write-ahead log still hold what was deleted.
                connection.execute("VACUUM")
                (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.DatabaseError as error:
                raise unusable(error) from None
        if busy:
            raise DatasetBusy("The image cache's index is in use by another process.")
