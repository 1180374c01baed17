"""One page of a search: its entries with their bytes as received, its links, its times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from msgspec import Raw

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.fhir.decoding import (
    BOM,
    BundleShape,
    decode_bundle,
    decode_checked,
    decode_head,
    decode_resource,
    decode_value,
)
from s4s_lab.fhir.elements import objects, text
from s4s_lab.fhir.outcomes import outcome_text
from s4s_lab.net import Answer, shown
from s4s_lab.values.instants import parse_date_time

# What one undecoded element takes in memory beside its bytes.
_MEMBER_BYTES = 128

Mode = Literal["match", "include", "outcome"]


@dataclass(frozen=True)
class Entry:
    """One resource as a server sent it.

    Parameters
    ----------
    resource_type : str
        Such as `ImagingStudy`.
    resource_id : str or None
        Its logical id; RSNA's broker sends studies without.
    mode : "match", "include" or "outcome"
        Why it is in the Bundle; told by its type where the server does not say.
    full_url : str or None
        As in the Bundle.
    raw : bytes
        The resource exactly as received.
    kept_members : mapping of str to Raw, optional
        Its elements by name, not decoded yet, where they are few: of a page with millions of them memory holds none.

    References
    ----------
    FHIR STU3, Bundle.entry.search.mode.
    """

    resource_type: str
    resource_id: str | None = field(repr=False)
    mode: Mode
    full_url: str | None = field(repr=False)
    raw: bytes = field(repr=False)
    kept_members: Mapping[str, Raw] | None = field(default=None, repr=False)

    @property
    def members(self) -> Mapping[str, Raw]:
        """Its elements by name, in the order received, not decoded yet."""
        return decode_head(self.raw, "The server").members if self.kept_members is None else self.kept_members

    def elements(self, *names: str) -> dict[str, Any]:
        """Return some elements, decoded; those that it does not have are left out.

        Parameters
        ----------
        *names : str
            Which ones.

        Raises
        ------
        UnexpectedAnswer
            If it is no JSON after all.
        """
        members = self.members
        return {name: decode_value(members[name], "The server") for name in names if name in members}

    @property
    def resource(self) -> dict[str, Any]:
        """The same, decoded at each call: a page would else hold its resources twice, the larger one as objects.

        Raises
        ------
        UnexpectedAnswer
            If it is no JSON after all.
        """
        return decode_checked(self.raw, "The server")


@dataclass(frozen=True)
class Page:
    """One page of a search.

    Parameters
    ----------
    number : int
        Counted from 1; goes on counting when a chain of pages is begun anew.
    url : str
        Where it came from.
    entries : tuple of Entry
        May be empty without being the end.
    total : int or None
        How many matches the server says there are; often absent, sometimes an estimate.
    self_url : str or None
        The `self` link: which parameters the server used.
    next_url : str or None
        The `next` link as an absolute URL; None on the last page.
    server_time : datetime or None
        The `Date` header.
    bundle_time : datetime or None
        `Bundle.meta.lastUpdated`: when the search was made.
    elapsed_s : float
        How long the last try took, in [s].
    anew : bool
        Whether the chain begins anew with this page, since its links had expired: what came before counts no longer.
    """

    number: int
    url: str = field(repr=False)
    entries: tuple[Entry, ...] = field(repr=False)
    total: int | None
    self_url: str | None = field(repr=False)
    next_url: str | None = field(repr=False)
    server_time: datetime | None
    bundle_time: datetime | None
    elapsed_s: float
    anew: bool = False


def decode_page(answer: Answer, resource_type: str, number: int) -> Page:
    """Decode a page of a search for `resource_type`.

    Parameters
    ----------
    answer : Answer
        Of status 2xx.
    resource_type : str
        What was searched for: entries of this type without a mode are matches.
    number : int
        The page's number.

    Raises
    ------
    UnexpectedAnswer
        If it is no Bundle, or holds something that is no resource.
    """
    where = shown(answer.url)
    bundle = decode_bundle(answer.body, where)
    if bundle.resource_type != "Bundle":
        raise _no_bundle(answer, bundle, where)
    links = _links(bundle)
    return Page(
        number=number,
        url=answer.url,
        entries=tuple(_entries(bundle, resource_type, where)),
        total=bundle.total if type(bundle.total) is int and bundle.total >= 0 else None,
        self_url=links.get("self"),
        next_url=links.get("next"),
        server_time=answer.server_time,
        bundle_time=_last_updated(bundle.meta),
        elapsed_s=answer.elapsed_s,
    )


def entry_of(raw: bytes, where: str, wanted: str, *, said: object = None, full_url: str | None = None) -> Entry:
    """Decode one resource into an entry.

    Parameters
    ----------
    raw : bytes
        The resource as received.
    where : str
        Whose answer it is, fit for a message.
    wanted : str
        The type that was asked for.
    said : object
        Why the server says it was sent, if it does.
    full_url : str, optional
        Its address.

    Raises
    ------
    UnexpectedAnswer
        If it is no FHIR resource.
    """
    if raw.startswith(BOM):
        raise UnexpectedAnswer(f"{where} sent a resource that begins with a byte order mark.")
    head = decode_head(raw, where)
    resource_type: str = head.resource_type
    mode: Mode
    if resource_type == "OperationOutcome" or said == "outcome":
        mode = "outcome"
    elif said == "include" or (said != "match" and resource_type != wanted):
        mode = "include"
    else:
        mode = "match"
    few = len(head.members) * _MEMBER_BYTES <= len(raw)
    return Entry(resource_type, text(head.id), mode, full_url, raw, head.members if few else None)


def _no_bundle(answer: Answer, bundle: BundleShape, where: str) -> UnexpectedAnswer:
    if bundle.resource_type == "OperationOutcome":
        words = outcome_text(decode_resource(answer.body, where))
        return UnexpectedAnswer(f"{where} answered with an OperationOutcome: {words}")
    found = bundle.resource_type if isinstance(bundle.resource_type, str) else "JSON of some other kind"
    return UnexpectedAnswer(f"{where} answered with {found[:64]} where a Bundle was due.")


def _links(bundle: BundleShape) -> dict[str, str]:
    """Return the links of a Bundle by relation; of several with one relation the first counts."""
    links: dict[str, str] = {}
    for link in objects(bundle.link):
        relation, url = text(link.get("relation")), text(link.get("url"))
        if relation and url:
            links.setdefault(relation, url.strip())
    return links


def _last_updated(meta: object) -> datetime | None:
    stamp = text(meta.get("lastUpdated")) if isinstance(meta, dict) else None
    try:
        return parse_date_time(stamp) if stamp else None
    except ValueError:
        return None


def _entries(bundle: BundleShape, wanted: str, where: str) -> Iterator[Entry]:
    for shape in bundle.entry:
        raw = bytes(shape.resource)
        # An entry without a resource, such as a transaction's response, brings nothing.
        if raw not in (b"", b"null"):
            said = shape.search.get("mode") if isinstance(shape.search, dict) else None
            yield entry_of(raw, where, wanted, said=said, full_url=text(shape.full_url))
