"""The files in connections/: who is connected to which server, the cursor ids of watermarks; no secret."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4s_lab.errors import DatasetError
from s4s_lab.lake.durable import write_durably
from s4s_lab.lake.locks import Locks
from s4s_lab.values.origins import base_url, without_query


@dataclass(frozen=True)
class ConnectionRecord:
    """One participant at one server, as the dataset knows them.

    Parameters
    ----------
    connection_id : str
        Names the connection's files; tells nothing to those who lack the dataset.
    fhir_url : str
        The server's FHIR base URL; `source` in tables.
    patient_id : str
        The FHIR id of the patient there.
    participant_id : str or None
        The study's own pseudonym.
    grants_path : Path
        Where a grant is kept when it is kept in the dataset.
    """

    connection_id: str
    fhir_url: str
    patient_id: str
    participant_id: str | None
    grants_path: Path

    def __repr__(self) -> str:
        who = self.participant_id or self.patient_id
        return f"<ConnectionRecord {who} at {without_query(self.fhir_url)}>"


@dataclass(frozen=True)
class Connections:
    """The connections of one dataset, one file each.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    dataset_id : str
        Goes into the names of the files, so that they cannot be guessed from a patient's id alone.
    locks : Locks
        The dataset's locks.
    """

    root: Path
    dataset_id: str
    locks: Locks

    def record(
        self, fhir_url: str, patient_id: str, participant_id: str | None = None
    ) -> tuple[ConnectionRecord, bool]:
        """Find or make the record of a connection; say whether the pseudonym of a known one changed.

        Parameters
        ----------
        fhir_url : str
            The server's FHIR base URL, in any spelling.
        patient_id : str
            The FHIR id of the patient there.
        participant_id : str, optional
            The study's own pseudonym; None leaves what is known.

        Raises
        ------
        UsageError
            If `fhir_url` is no http or https address.
        """
        source = base_url(fhir_url)
        key = self._key(source, patient_id)
        with self._changing():
            known = self._read(key)
            content = known or {"fhir_url": source, "patient_id": patient_id, "participant_id": None, "cursors": {}}
            renamed = participant_id is not None and participant_id != content["participant_id"]
            if renamed:
                content = content | {"participant_id": participant_id}
            if content != known:
                self._write(key, content)
        return self._as_record(key, content), renamed and known is not None

    def all(self) -> list[ConnectionRecord]:
        """Return every connection, by server and patient."""
        found = [self._as_record(path.stem, _parsed(path)) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda record: (record.fhir_url, record.patient_id))

    def participant(self, source: str, patient_id: str) -> str | None:
        """Return the pseudonym of a patient at a server, None when there is none.

        Parameters
        ----------
        source : str
            The server's FHIR base URL, as records have it.
        patient_id : str
            The FHIR id of the patient there.
        """
        content = self._read(self._key(source, patient_id))
        return None if content is None else content["participant_id"]

    def cursor(self, record: ConnectionRecord, resource_type: str, fingerprint: str) -> str:
        """Return the random id of a watermark; a new one is in the connection's file before it is returned.

        Parameters
        ----------
        record : ConnectionRecord
            Whose watermark.
        resource_type : str
            Of which type.
        fingerprint : str
            Identifies the query: another query has another watermark.

        Raises
        ------
        DatasetError
            If the connection is no longer in the dataset.
        """
        with self._changing():
            content = self._read(record.connection_id)
            if content is None:
                raise DatasetError("The connection has been removed from the dataset.", hint="Connect again.")
            cursors = content["cursors"].setdefault(resource_type, {})
            if fingerprint not in cursors:
                cursors[fingerprint] = secrets.token_hex(16)
                self._write(record.connection_id, content)
            return str(cursors[fingerprint])

    def cursors(self, record: ConnectionRecord) -> Iterator[tuple[str, str, str]]:
        """Yield resource type, query fingerprint and cursor id of every watermark of a connection.

        Parameters
        ----------
        record : ConnectionRecord
            Whose.
        """
        content = self._read(record.connection_id) or {"cursors": {}}
        for resource_type, by_query in sorted(content["cursors"].items()):
            for fingerprint, cursor_id in by_query.items():
                yield resource_type, fingerprint, cursor_id

    def read(self, connection_id: str) -> ConnectionRecord:
        """Return one connection.

        Parameters
        ----------
        connection_id : str
            Which one.

        Raises
        ------
        DatasetError
            If its file is damaged, or it has none.
        """
        content = self._read(connection_id)
        if content is None:
            raise DatasetError("The connection has been removed from the dataset.", hint="Connect again.")
        return self._as_record(connection_id, content)

    def id_of(self, source: str, patient_id: str) -> str:
        """Return the id of a connection, whether it is in the dataset or not.

        Parameters
        ----------
        source : str
            The server's FHIR base URL, as records have it.
        patient_id : str
            The FHIR id of the patient there.
        """
        return self._key(source, patient_id)

    def has(self, fhir_url: str, patient_id: str) -> bool:
        """Say whether a connection is in the dataset.

        Parameters
        ----------
        fhir_url : str
            The server's FHIR base URL, in any spelling.
        patient_id : str
            The FHIR id of the patient there.

        Raises
        ------
        UsageError
            If `fhir_url` is no http or https address.
        """
        return self._path(self._key(base_url(fhir_url), patient_id)).is_file()

    def require(self, record: ConnectionRecord) -> None:
        """Check that a connection is still in the dataset.

        Parameters
        ----------
        record : ConnectionRecord
            Which one.

        Raises
        ------
        DatasetError
            If it has been removed.
        """
        if not self._path(record.connection_id).is_file():
            raise DatasetError("The connection has been removed from the dataset.", hint="Connect again.")

    @property
    def _folder(self) -> Path:
        return self.root / "connections"

    def _changing(self) -> AbstractContextManager[None]:
        busy = "Another process is changing the dataset's connections."
        return self.locks.alone("connections", timeout_s=60.0, busy=busy)

    def _key(self, source: str, patient_id: str) -> str:
        text = json.dumps([self.dataset_id, source, patient_id])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _read(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        return _parsed(path) if path.is_file() else None

    def _write(self, key: str, content: dict[str, Any]) -> None:
        write_durably(self._path(key), (json.dumps(content, indent=2) + "\n").encode())

    def _as_record(self, key: str, content: dict[str, Any]) -> ConnectionRecord:
        return ConnectionRecord(
            connection_id=key,
            fhir_url=content["fhir_url"],
            patient_id=content["patient_id"],
            participant_id=content["participant_id"],
            grants_path=self.root / "grants" / f"{key}.json",
        )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = {"fhir_url", "patient_id", "participant_id", "cursors"} - content.keys()
    except (ValueError, AttributeError):
        missing = {"everything"}
    if missing:
        raise DatasetError(f"{path} is damaged.", hint="Restore it from a backup, or connect again after removing it.")
    return dict(content)
