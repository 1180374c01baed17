"""Real people of the test data, as the log takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s4s_lab.fhir import content_hash
from s4s_lab.fhir.decoding import decode_head
from s4s_lab.lake import ConnectionRecord, Dataset, ResourceVersion
from s4s_lab.lake.delta import open_table

SOURCE = "http://127.0.0.1:9/fhir"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Person:
    """One patient of the STU3 bundles, with what the imaging use case pulls of them."""

    patient_id: str
    resources: tuple[Resource, ...]

    def of(self, resource_type: str) -> list[Resource]:
        return [one for one in self.resources if one["resourceType"] == resource_type]

    @property
    def study(self) -> Resource:
        return self.of("ImagingStudy")[0]


def read_person(test_data: Path, name: str) -> Person:
    """Read a person's bundle; 8 claims are enough."""
    (path,) = (test_data / "fhir" / "stu3" / "smart-bulk-synthea").glob(f"{name}_*.json")
    found = [entry["resource"] for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]]
    wanted = [one for one in found if one["resourceType"] in ("Patient", "ImagingStudy", "DiagnosticReport")]
    claims = [one for one in found if one["resourceType"] == "ExplanationOfBenefit"][:8]
    return Person(wanted[0]["id"], (*wanted, *claims))


def hash_of(raw: str) -> str:
    """Return the content hash that a pull gives to a resource of this JSON."""
    return content_hash(decode_head(raw.encode(), "The server").members)


def version_of(resource: Resource, **changes: object) -> ResourceVersion:
    """Return a resource as a received version; `changes` are elements that differ."""
    raw = json.dumps(dict(resource) | changes)
    return ResourceVersion(
        resource_type=resource["resourceType"],
        resource_id=resource["id"],
        version_id=None,
        last_updated=None,
        content_hash=hash_of(raw),
        raw=raw,
        fhir_version="stu3",
    )


def tombstone_of(resource: Resource, reason: str = "deleted") -> ResourceVersion:
    """Return what the log takes when a resource fell out of the record."""
    return ResourceVersion(resource["resourceType"], resource["id"], None, None, "gone", None, "stu3", reason)


def put(
    data: Dataset, record: ConnectionRecord, versions: Iterable[ResourceVersion], *, received_at: datetime = NOON
) -> int:
    """Append versions."""
    return data.log.commit(record, list(versions), run_id="run", received_at=received_at)


def connect(data: Dataset, person: Person, participant_id: str | None = None) -> ConnectionRecord:
    """Return the person's connection, with everything of them in the log."""
    record = data.connection(SOURCE, person.patient_id, participant_id)
    put(data, record, map(version_of, person.resources))
    return record


def place(record: ConnectionRecord) -> tuple[str, str]:
    """Return the record's source and patient."""
    return record.fhir_url, record.patient_id


def versions(data: Dataset) -> dict[str, int]:
    """Return the Delta version of every stored table."""
    folders = [path for path in data.path().joinpath("tables").iterdir() if path.is_dir()]
    return {path.name: open_table(path).version() for path in folders}
