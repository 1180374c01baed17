"""FHIR files of any kind, taken apart into single STU3 resources whose JSON stays as it was spelled."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from s4s_lab.sandbox.archive.store import Stored
from s4s_lab.values.instants import format_instant, parse_date_time

Fields = dict[str, Raw]
SUFFIXES = (".json", ".ndjson", ".jsonl")
_FIELDS: msgspec.json.Decoder[Fields] = msgspec.json.Decoder(Fields)
_NEVER = datetime.min.replace(tzinfo=UTC)
_OWNERS = ("patient", "subject", "beneficiary")
_REFERENCE = re.compile(rb'("reference"\s*:\s*")([^"\\]+)(")')
_PATIENT = re.compile(r"(?:.*/)?Patient/([^/?#]+)(?:/_history/[^/]*)?")

# Resource types that STU3 does not have, and elements whose kind of JSON value STU3 does not have.
_OTHER_TYPES = frozenset(
    {"Conformance", "DiagnosticOrder", "MedicationOrder", "ServiceRequest", "OrganizationAffiliation"}
)
_OTHER_SHAPES = {
    "ExplanationOfBenefit": (("insurance", b"["), ("outcome", b'"'), ("use", b'"')),
    "ImagingStudy": (("subject", b"{"), ("status", b'"'), ("modality", b"[")),
    "Coverage": (("class", b"["),),
    "Condition": (("clinicalStatus", b"{"), ("patient", b"{")),
    "AllergyIntolerance": (("clinicalStatus", b"{"), ("substance", b"{")),
    "Encounter": (("class", b'"'), ("patient", b"{")),
}


@dataclass
class Found:
    """What was read from a folder.

    Parameters
    ----------
    resources : dict
        By type and id; of several versions the newest, else the first.
    counts : Counter
        `files` read, and why other files were left out: `unreadable`, `other version`, `no FHIR`; and how many
        resources of the files are `without a patient`.
    """

    resources: dict[tuple[str, str], Stored] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    _ranks: dict[tuple[str, str], datetime] = field(default_factory=dict, repr=False)

    def take(self, stored: Stored, rank: datetime) -> None:
        """Keep a version, unless one of a higher rank is there, or it belongs to nobody.

        Parameters
        ----------
        stored : Stored
            The version.
        rank : datetime
            When it was last updated by its own word.
        """
        key = (stored.resource_type, stored.resource_id)
        if stored.patient_id is None and stored.resource_type != "Endpoint":
            self.counts["without a patient"] += 1
        elif key not in self.resources or self._ranks[key] < rank:
            self.resources[key], self._ranks[key] = stored, rank

    @property
    def left_out(self) -> int:
        """How many files were left out."""
        return sum(self.counts[reason] for reason in ("unreadable", "other version", "no FHIR"))


@dataclass(frozen=True)
class _Piece:
    """One resource as found: its fields, its entry's full URL, its id, given or made."""

    resource_type: str
    resource_id: str
    fields: Fields
    full_url: str


def _text(value: Raw | None) -> str:
    """Return a JSON string's value; empty for anything else."""
    try:
        return msgspec.json.decode(value, type=str) if value is not None else ""
    except msgspec.MsgspecError:
        return ""


def _object(value: Raw | None) -> dict[str, Any]:
    """Return a JSON object's value; empty for anything else."""
    try:
        return msgspec.json.decode(value, type=dict[str, Any]) if value is not None else {}
    except msgspec.MsgspecError:
        return {}


def _documents(content: bytes) -> list[Fields]:
    """Return the JSON objects of a file: one, or one on each line."""
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        return [_FIELDS.decode(content)]
    except msgspec.DecodeError:
        if b"\n" not in content:
            raise
        return [_FIELDS.decode(line) for line in content.splitlines() if line.strip()]


def _pieces(fields: Fields, full_url: str = "") -> Iterator[_Piece]:
    """Yield the resources of a document; Bundles are taken apart, also inside one another."""
    resource_type = _text(fields.get("resourceType"))
    if resource_type == "Bundle":
        entries = msgspec.json.decode(fields.get("entry", Raw(b"[]")), type=list[Fields] | None)
        for entry in entries or ():
            resource = entry.get("resource")
            if resource is not None and bytes(resource)[:1] == b"{":
                yield from _pieces(_FIELDS.decode(resource), _text(entry.get("fullUrl")))
    elif resource_type:
        made = "file-" + hashlib.sha256(msgspec.json.encode(fields)).hexdigest()[:16]
        yield _Piece(resource_type, _text(fields.get("id")) or made, fields, full_url)


def is_stu3(resource_type: str, fields: Fields) -> bool:
    """Say whether nothing about a resource belongs to another FHIR version.

    Parameters
    ----------
    resource_type : str
        FHIR resource type.
    fields : dict of str to Raw
        Its elements.
    """
    shapes = _OTHER_SHAPES.get(resource_type, ())
    return resource_type not in _OTHER_TYPES and not any(
        bytes(fields.get(name, b""))[:1] == kind for name, kind in shapes
    )


def _resolved(fields: Fields, addresses: dict[str, str]) -> Fields:
    """Return the fields with every reference to an entry of the same file made relative."""

    def relative(found: re.Match[bytes]) -> bytes:
        target = addresses.get(found[2].decode())
        return found[0] if target is None else found[1] + target.encode() + found[3]

    return {name: Raw(_REFERENCE.sub(relative, bytes(value))) for name, value in fields.items()}


def _owner(fields: Fields) -> tuple[str, str] | None:
    """Return the element that names the patient, and the patient's id."""
    for name in _OWNERS:
        reference = _object(fields.get(name)).get("reference")
        named = _PATIENT.fullmatch(reference) if isinstance(reference, str) else None
        if named is not None:
            return name, named[1]
    return None


def _stored(piece: _Piece, addresses: dict[str, str], modified: datetime) -> tuple[Stored, datetime]:
    """Return the version to serve, with an id, a truthful `meta` and references that lead somewhere, and its rank."""
    fields = _resolved(piece.fields, addresses)
    owner = _owner(fields)
    patient_id = piece.resource_id if piece.resource_type == "Patient" else None
    if owner is not None and piece.resource_type != "Patient":
        name, patient_id = owner
        held = _object(fields[name])
        fields[name] = Raw(msgspec.json.encode(held | {"reference": f"Patient/{patient_id}"}))
    meta = _object(fields.get("meta"))
    version_id = meta.get("versionId") if isinstance(meta.get("versionId"), str) else "1"
    try:
        rank = last_updated = parse_date_time(str(meta.get("lastUpdated")))
    except ValueError:
        # What the file's time says is served, but never wins over a resource that says so itself.
        rank, last_updated = _NEVER, modified
        meta["lastUpdated"] = format_instant(modified)
    head = {"resourceType": piece.resource_type, "id": piece.resource_id, "meta": meta | {"versionId": version_id}}
    raw = msgspec.json.encode(head | {name: value for name, value in fields.items() if name not in head})
    return Stored(piece.resource_type, piece.resource_id, patient_id, str(version_id), last_updated, raw), rank


def modified_at(path: Path) -> datetime:
    """Return when a file was last changed.

    Parameters
    ----------
    path : Path
        An existing file.
    """
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def _read(path: Path) -> tuple[list[_Piece], str]:
    """Return the resources of a file, or why it is left out."""
    try:
        documents = _documents(path.read_bytes())
        pieces = [piece for fields in documents for piece in _pieces(fields)]
    except (OSError, ValueError):
        # What msgspec raises on JSON that cannot be read is a ValueError, as is text that is not UTF-8.
        return [], "unreadable"
    if not all(_text(fields.get("resourceType")) for fields in documents):
        return [], "no FHIR"
    if not all(is_stu3(one.resource_type, one.fields) for one in pieces):
        return [], "other version"
    return pieces, "files"


def read_fhir_files(folder: Path, wanted: Iterable[str]) -> Found:
    """Read every FHIR JSON file below a folder.

    Single resources, Bundles of any type and NDJSON are taken. What is found twice is served once: the newest version
    by `meta.lastUpdated`, else the first in the order of the paths. What has no id gets one from its content; what has
    no readable `meta.lastUpdated` gets the file's time. What belongs to no patient is left out, Endpoints aside.

    Parameters
    ----------
    folder : Path
        Where to look.
    wanted : iterable of str
        Resource types to keep.
    """
    found, kept = Found(), frozenset(wanted)
    for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file()):
        pieces, told = _read(path)
        found.counts[told] += 1
        addresses = {one.full_url: f"{one.resource_type}/{one.resource_id}" for one in pieces if one.full_url}
        for piece in pieces:
            if piece.resource_type in kept:
                found.take(*_stored(piece, addresses, modified_at(path)))
    return found
