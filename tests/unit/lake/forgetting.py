"""A dataset of two people who share every file that can be shared, and a search for what is left of one of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

from s4s_lab.dicom import DicomCache
from s4s_lab.dicom.index import StudyKey
from s4s_lab.lake import ConnectionRecord, Dataset, PullRow, ResourceVersion, maintenance
from s4s_lab.lake.locks import Locks
from tests.unit.dicom import depositing
from tests.unit.dicom.samples import image_file
from tests.unit.lake.records import NOON, SOURCE, Person, hash_of, version_of

STUDY_UIDS = {0: "1.2.826.77.1", 1: "1.2.826.77.2"}
ARCHIVE = "0123456789abcde"


def hashed(version: ResourceVersion) -> ResourceVersion:
    """Give a version the content hash that a pull gives it."""
    return replace(version, content_hash=hash_of(version.raw or "{}"))


def pull(data: Dataset, person: Person, number: int) -> ConnectionRecord:
    """Do what two pulls and a fetch do: rows with watermarks, ledger, tables, images, waits, a grant."""
    record = data.connection(SOURCE, person.patient_id, f"P-{number}")
    cursor = data.cursor(record, "ExplanationOfBenefit", "query")
    claims = [version_of(claim) for claim in person.of("ExplanationOfBenefit")]
    others = [version_of(one) for one in person.resources if one["resourceType"] != "ExplanationOfBenefit"]
    for step, rows in enumerate((others + claims[:3], claims[3:])):
        check = NOON + timedelta(minutes=10 * number + step)
        data.log.commit(
            record, [*map(hashed, rows)], run_id=f"r{step}", received_at=NOON, cursor_id=cursor, last_check=check
        )
        row = PullRow(
            f"run-{number}-{step}", record.connection_id, "ExplanationOfBenefit", "first", "query", NOON, NOON
        )
        data.ledger.record([row])
        data.refresh()
    keep_images(data.images, record, number)
    data.refresh_images()
    grants = record.grants_path
    grants.parent.mkdir(mode=0o700, exist_ok=True)
    grants.touch(0o600)
    grants.write_text(f'{{"access_token": "token-of-{number}"}}')
    return record


def keep_images(cache: DicomCache, record: ConnectionRecord, number: int) -> None:
    """Put a study with two images into the cache, another image into quarantine, and a wait beside it."""
    study = STUDY_UIDS[number]
    key = StudyKey(f"{ARCHIVE}{number}", study, record.fhir_url, record.patient_id, record.participant_id)
    parts = [image_file(f"{study}.{image}", study=study) for image in (1, 2)]
    depositing.put(cache, [*parts, image_file(f"{study}.3", study="1.2.3")], key=key)
    with cache.receiving(key.archive, study):
        pass
    waits = cache.root / "waits.json"
    known = json.loads(waits.read_text()) if waits.exists() else {}
    waits.touch(0o600)
    waits.write_text(json.dumps(known | {f"{record.connection_id}/{study}": "2026-11-01T12:00:00Z"}))


def shared(data: Dataset, people: list[Person]) -> list[ConnectionRecord]:
    """Fill a dataset with people, join their files, and let a killed writer have left something."""
    records = [pull(data, person, number) for number, person in enumerate(people)]
    many, maintenance.MANY = maintenance.MANY, 2
    try:
        maintenance.compact(data.path(), Locks(data.path() / ".locks"))
    finally:
        maintenance.MANY = many
    data.refresh()
    leave_traces(data, records[0])
    return records


def leave_traces(data: Dataset, record: ConnectionRecord) -> None:
    """Leave what a power cut and killed writers leave: entries set aside, files that no version names, temporaries."""
    aside = data.path() / "set-aside"
    aside.mkdir(mode=0o700)
    (aside / "resources-1.json").write_text(json.dumps({"add": {"stats": record.patient_id}}))
    (aside / "pulls-1.json").write_text('{"add": {"stats": "nobody"}}')
    file = next(data.log.path.glob("resource_type=Patient/*/*.parquet"))
    file.with_name("part-left.parquet").write_bytes(file.read_bytes())
    file.with_name("part-cut.parquet").write_bytes(file.read_bytes()[:300])
    (data.log.path / "_delta_log" / "_commit_1.json.tmp").write_text(record.patient_id)


def names_of(person: Person, record: ConnectionRecord, number: int, cursors: list[str]) -> set[str]:
    """Everything by which the dataset could name a person: ids, the family name, studies, watermarks, a token."""
    family = json.dumps(person.of("Patient")[0]["name"][0]["family"]).strip('"')
    ids = {one["id"] for one in person.resources}
    return {*ids, family, record.connection_id, STUDY_UIDS[number], f"token-of-{number}", *cursors}


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's path, bytes and, of Parquet and SQLite, what they say when they are read."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        yield name, name.encode()
        if path.is_file():
            yield name, path.read_bytes()
        if path.suffix == ".parquet" and path.read_bytes()[-4:] == b"PAR1":
            yield name, json.dumps(pq.ParquetFile(path).read().to_pylist(), default=str).encode()
        if path.name == "index.sqlite":
            with closing(sqlite3.connect(path)) as connection:
                yield name, "\n".join(connection.iterdump()).encode()


def found_in(root: Path, words: set[str]) -> set[tuple[str, str]]:
    """Return which words stand in which files."""
    return {(name, word) for name, content in contents(root) for word in words if word.encode() in content}
