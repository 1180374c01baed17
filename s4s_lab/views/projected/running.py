"""Resources to tables in batches: the fast back end where it can, the general one where it must, in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from s4s_lab.views.building import Part, TableBuilder
from s4s_lab.views.bundles import Document, Subject, checked_resource, decode, full_urls_of, subjects_of
from s4s_lab.views.coding import decoded
from s4s_lab.views.fhirpath import Scope
from s4s_lab.views.heads import HeadMaker, Provenance, compile_head
from s4s_lab.views.projected.batches import Batch
from s4s_lab.views.projected.projection import placed_head, placed_part, projection_of
from s4s_lab.views.resources import fhir_version_of, is_unicode, resource_key
from s4s_lab.views.signs import FHIR_VERSIONS, FhirVersion

Tables = dict[str, pa.Table]
# A batch is as much text as makes the calls on it cheap and its structs small beside what a process needs anyway.
_BATCH_BYTES = 4 << 20
_BATCH_RESOURCES = 5_000
# What a decoded resource counts as.
_DECODED_BYTES = 16 << 10
# Parts of more runs than this are put in order row by row.
_MANY_RUNS = 100
_DEFAULT_VERSION: FhirVersion = "stu3"
_UNKNOWN = Provenance()
# What typed decoding raises: another form than FHIR's, no JSON, numbers and depths beyond bounds.
_MISFIT = (ValueError, ArithmeticError, RecursionError)


class _Stub(msgspec.Struct, gc=False):
    kind: Any = msgspec.field(default=None, name="resourceType")
    id: Any = None


class _RawEntry(msgspec.Struct, gc=False):
    resource: msgspec.Raw = msgspec.Raw(b"null")
    full_url: Any = msgspec.field(default=None, name="fullUrl")


class _RawBundle(msgspec.Struct, gc=False):
    entry: list[_RawEntry | None] | None = None


_stub = msgspec.json.Decoder(_Stub).decode
_raw_bundle = msgspec.json.Decoder(_RawBundle).decode


@dataclass
class _Waiting:
    """Resources of one type on their way into a batch."""

    structs: list[Any] = field(default_factory=list)
    wholes: list[Callable[[], Mapping[str, Any]]] = field(default_factory=list)
    provenances: list[Provenance] = field(default_factory=list)
    full_urls: list[Mapping[str, str]] = field(default_factory=list)
    size: int = 0

    def add(
        self, struct: Any, whole: Callable[[], Mapping[str, Any]], provenance: Provenance, urls: Mapping[str, str]
    ) -> None:
        """Add a resource: its struct, None for none, and how to have it whole."""
        self.structs.append(struct)
        self.wholes.append(whole)
        self.provenances.append(provenance)
        self.full_urls.append(urls)


_compiled_head = cache(compile_head)


class _OfType:
    """The views over one resource type."""

    def __init__(self, resource_type: str, builders: Sequence[TableBuilder]) -> None:
        self.resource_type = resource_type
        self.builders = builders
        self.projection = projection_of(resource_type, tuple(builder.view for builder in builders))
        self.beyond = [builder for builder in builders if builder.view not in self.projection.shapes]
        self.head: HeadMaker = _compiled_head(resource_type)
        self.waiting = _Waiting()

    @property
    def is_full(self) -> bool:
        """Whether what waits makes a batch whole."""
        return self.waiting.size >= _BATCH_BYTES or len(self.waiting.structs) >= _BATCH_RESOURCES

    def batch(self) -> Tables:
        """Make the rows of what waits."""
        waiting, self.waiting = self.waiting, _Waiting()
        count = len(waiting.structs)
        keys = [None if one is None else _key(self.projection.identity(one)[1]) for one in waiting.structs]
        fitting = [i for i in range(count) if keys[i] is not None] if self.projection.shapes else []
        parts: dict[str, list[Part]] = {builder.view.name: [] for builder in self.builders}
        odd = set(range(count)).difference(fitting)
        for version, some in self._by_version(waiting, fitting).items():
            odd.update(self._fast(waiting, keys, version, some, parts))
        for place in range(count) if self.beyond else sorted(odd):
            self._general(waiting, place, self.builders if place in odd else self.beyond)
        for builder in self.builders:
            parts[builder.view.name] += builder.drained()
        return {
            builder.view.name: _merged(parts[builder.view.name], builder.schema)
            for builder in self.builders
            if parts[builder.view.name]
        }

    def _by_version(self, waiting: _Waiting, fitting: Sequence[int]) -> dict[FhirVersion, list[int]]:
        unknown = [i for i in fitting if waiting.provenances[i].fhir_version is None]
        told = dict(zip(unknown, self.projection.teller.told([waiting.structs[i] for i in unknown]), strict=True))
        groups: dict[FhirVersion, list[int]] = {version: [] for version in FHIR_VERSIONS}
        for i in fitting:
            groups[waiting.provenances[i].fhir_version or told[i] or _DEFAULT_VERSION].append(i)
        return {version: some for version, some in groups.items() if some}

    def _fast(
        self, waiting: _Waiting, keys: Sequence[Any], version: FhirVersion, places: list[int],
        parts: Mapping[str, list[Part]],
    ) -> set[int]:  # fmt: skip
        """Make the rows of resources of one version; return those that have to be read by the general back end."""
        odd: set[int] = set()
        while places:
            batch = Batch([keys[i] for i in places], [waiting.full_urls[i] for i in places])
            head, rows = self.projection.rows([waiting.structs[i] for i in places], batch, version)
            if not batch.odd:
                placed = placed_head([waiting.provenances[i] for i in places], batch.keys, head)
                for builder in self.builders:
                    if builder.view in rows:
                        part = placed_part(builder, rows[builder.view], placed, np.asarray(places))
                        parts[builder.view.name].append(part)
                break
            odd.update(places[i] for i in batch.odd)
            places = [i for i in places if i not in odd]
        return odd

    def _general(self, waiting: _Waiting, place: int, builders: Sequence[TableBuilder]) -> None:
        resource, provenance = waiting.wholes[place](), waiting.provenances[place]
        scope = Scope(resource_key(resource), waiting.full_urls[place])
        head = self.head(resource, provenance, scope)
        version = provenance.fhir_version or fhir_version_of(resource) or _DEFAULT_VERSION
        for builder in builders:
            builder.take(resource, scope, version, head, place)


def _key(resource_id: Any) -> str | None:
    return resource_id if isinstance(resource_id, str) and resource_id and is_unicode(resource_id) else None


def _merged(parts: Sequence[Part], schema: pa.Schema) -> pa.Table:
    """Put the rows of several parts into the order of their resources."""
    tables = [pa.Table.from_batches([batch]) for batch, _ in parts]
    if any(one.schema != tables[0].schema for one in tables):
        tables = [decoded(one, schema) for one in tables]
    table = pa.concat_tables(tables)
    places = np.concatenate([places for _, places in parts])
    if np.all(places[1:] >= places[:-1]):
        return table
    order = np.argsort(places, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(order) != 1) + 1, [len(order)]])
    if len(starts) > _MANY_RUNS:
        return table.take(pa.array(order))
    # Nothing is copied.
    runs = zip(order[starts[:-1]].tolist(), np.diff(starts).tolist(), strict=True)
    return pa.concat_tables([table.slice(first, count) for first, count in runs])


class Tabulator:
    """Takes resources and Bundles one after another, and gives the rows of views batch by batch.

    Parameters
    ----------
    by_type : Mapping of str to sequence of TableBuilder
        The views' builders by resource type.
    """

    def __init__(self, by_type: Mapping[str, Sequence[TableBuilder]]) -> None:
        self._types = {name: _OfType(name, builders) for name, builders in by_type.items()}
        self._likely = next(iter(self._types.values()), None)

    def add(self, subject: Subject, position: int) -> Iterator[Tables]:
        """Take a resource, and yield the rows of a batch when that makes one whole.

        Parameters
        ----------
        subject : Subject
            The resource and where it came from.
        position : int
            Its number, for the error when it is no JSON.
        """
        yield from self._full(self._add(subject, f"Resource {position}"))

    def _add(self, subject: Subject, place: str) -> _OfType | None:
        raw = subject.raw
        if isinstance(raw, Mapping):
            return self._add_whole(raw, subject)
        struct, of_type = self._read(raw)
        if of_type is None:
            return self._add_whole(decode(raw, place), subject)
        of_type.waiting.add(struct, lambda: decode(raw, place), subject.provenance, subject.full_urls)
        of_type.waiting.size += len(raw)
        return of_type

    def _add_whole(self, resource: Any, subject: Subject) -> _OfType | None:
        kind = resource.get("resourceType") if isinstance(resource, Mapping) else None
        of_type = self._types.get(kind) if isinstance(kind, str) else None
        if of_type is not None:
            of_type.waiting.add(None, lambda: resource, subject.provenance, subject.full_urls)
            of_type.waiting.size += _DECODED_BYTES
        return of_type

    def _read(self, raw: bytes | str) -> tuple[Any, _OfType | None]:
        """Decode a resource as the type that the last one had; by its own type when that was wrong."""
        for _ in range(2):
            of_type = self._likely
            if of_type is None or not of_type.projection.shapes:
                break
            try:
                struct = of_type.projection.decode(raw)
            except _MISFIT:
                break
            kind, _ = of_type.projection.identity(struct)
            if kind == of_type.resource_type:
                return struct, of_type
            if not isinstance(kind, str) or kind not in self._types:
                break
            self._likely = self._types[kind]
        return None, None

    def _full(self, of_type: _OfType | None) -> Iterator[Tables]:
        if of_type is None:
            return
        if of_type.is_full:
            yield of_type.batch()

    def rest(self) -> Iterator[Tables]:
        """Yield the rows of what has not been yielded."""
        for of_type in self._types.values():
            if of_type.waiting.structs:
                yield of_type.batch()

    def add_document(self, document: Document) -> Iterator[Tables]:
        """Take a resource or a Bundle as JSON, Bundles in Bundles included.

        Parameters
        ----------
        document : Document
            The JSON.

        Raises
        ------
        NotFhir
            If it is no JSON, or no resource.
        """
        raw, place = document.raw, document.place
        if not self._add_bundle(raw, place):
            for subject in subjects_of(checked_resource(decode(raw, place), place)):
                self._add(subject, place)
        for of_type in self._types.values():
            yield from self._full(of_type)

    def _add_bundle(self, raw: bytes, place: str) -> bool:
        """Read a Bundle by its projection; False when it has to be read whole."""
        of_type = self._likely
        if of_type is None or not of_type.projection.shapes:
            return False
        try:
            bundle = None if len(self._types) > 1 else of_type.projection.decode_bundle(raw)
        except _MISFIT:
            bundle = None
        try:
            return self._add_split(raw, place) if bundle is None else self._add_typed(bundle, of_type, raw, place)
        except _MISFIT:
            return False

    def _add_typed(self, bundle: Any, of_type: _OfType, raw: bytes, place: str) -> bool:
        """Take a Bundle whose resources were all decoded as if they were of one type."""
        if bundle.type != "Bundle":
            return False
        entries = [one for one in bundle.entry or () if one is not None and one.resource is not None]
        identities = [of_type.projection.identity(one.resource) for one in entries]
        if any(kind == "Bundle" for kind, _ in identities):
            return False
        urls = full_urls_of((one.full_url, *known) for one, known in zip(entries, identities, strict=True))
        page = _Page(raw, place)
        for number, (entry, (kind, _)) in enumerate(zip(entries, identities, strict=True)):
            if kind == of_type.resource_type:
                of_type.waiting.add(entry.resource, page.entry(number), _UNKNOWN, urls)
        of_type.waiting.size += len(raw)
        return True

    def _add_split(self, raw: bytes, place: str) -> bool:
        """Read a Bundle of several types: each resource for itself, and the others not at all."""
        if _stub(raw).kind != "Bundle":
            return False
        entries = [
            one for one in _raw_bundle(raw).entry or () if one is not None and bytes(one.resource).startswith(b"{")
        ]
        stubs = [_stub(one.resource) for one in entries]
        if any(stub.kind == "Bundle" for stub in stubs):
            return False
        urls = full_urls_of((one.full_url, stub.kind, stub.id) for one, stub in zip(entries, stubs, strict=True))
        for entry, stub in zip(entries, stubs, strict=True):
            if isinstance(stub.kind, str) and stub.kind in self._types:
                self._likely = self._types[stub.kind]
                self._add(Subject(bytes(entry.resource), full_urls=urls), place)
        return True


class _Page:
    """A Bundle whose resources are wanted whole only when one of them is odd."""

    def __init__(self, raw: bytes, place: str) -> None:
        self.raw, self.place = raw, place
        self._subjects: list[Subject] | None = None

    def entry(self, number: int) -> Callable[[], Mapping[str, Any]]:
        """Return what gives the resource of an entry, counted among those that have one."""

        def whole() -> Mapping[str, Any]:
            if self._subjects is None:
                self._subjects = list(subjects_of(decode(self.raw, self.place)))
            raw = self._subjects[number].raw
            return raw if isinstance(raw, Mapping) else {}

        return whole
