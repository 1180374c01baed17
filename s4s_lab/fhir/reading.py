"""Reads of single resources."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import quote, urlsplit

from s4s_lab.errors import OriginRefused, PatientMismatch, UnexpectedAnswer, UsageError
from s4s_lab.fhir.decoding import BOM
from s4s_lab.fhir.links import is_below
from s4s_lab.fhir.outcomes import quoted, refusal
from s4s_lab.fhir.pages import Entry, entry_of
from s4s_lab.fhir.searching import FHIR_JSON
from s4s_lab.net import HttpClient, shown
from s4s_lab.values.origins import base_url, origin_of

_RELATIVE = re.compile(
    r"(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[^/?#\s]{1,256})(?:/_history/(?P<version>[^/?#\s]{1,64}))?"
)
_GONE = (404, 410, 403)


@dataclass(frozen=True)
class Gone:
    """What is not there any more, or not for us.

    Parameters
    ----------
    status : 404, 410 or 403
        Never known or not any more, deleted, or withheld.
    """

    status: Literal[404, 410, 403]


def read(client: HttpClient, fhir_url: str, reference: str) -> Entry | Gone:
    """Read one resource.

    Parameters
    ----------
    client : HttpClient
        Waits, repeats, and signs.
    fhir_url : str
        The FHIR base URL that relative references start from.
    reference : str
        Such as `Endpoint/1`, or an absolute one below the base or at an origin that the client may sign for.

    Returns
    -------
    Entry or Gone
        `Gone` for HTTP 404, 410 and 403.

    Raises
    ------
    OriginRefused
        If the reference leads to another host; nothing is asked there.
    UnexpectedAnswer
        If the reference cannot be read, or the answer is no such resource.
    PatientMismatch
        If it is another patient.
    GrantExpired
        If the server asks for authorization (HTTP 401).

    References
    ----------
    FHIR STU3, "References between resources", "RESTful API", read and vread.
    """
    root, url, resource_type, resource_id = _address(client, base_url(fhir_url), reference.strip())
    answer = client.get(url, accept=FHIR_JSON)
    if not is_below(root, answer.url):
        raise OriginRefused(f"{shown(url)} was redirected to {origin_of(answer.url)}, away from its base URL.")
    if answer.status in _GONE:
        return Gone(cast(Literal[404, 410, 403], answer.status))
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    entry = entry_of(answer.body.removeprefix(BOM), shown(url), resource_type, full_url=url)
    if entry.resource_type != resource_type:
        raise UnexpectedAnswer(f"{shown(url)} answered with {entry.resource_type[:64]}.")
    if entry.resource_id != resource_id:
        wrong = PatientMismatch if resource_type == "Patient" else UnexpectedAnswer
        raise wrong(f"{shown(url)} answered with another {resource_type} than the one that was asked for.")
    return entry


def _address(client: HttpClient, base: str, reference: str) -> tuple[str, str, str, str]:
    """Return the base and the URL to read a reference from, and the type and the id of the resource it names."""
    root, relative = base, reference
    if reference.lower().startswith(("http://", "https://")):
        root, relative = _split(reference)
        if not (origin_of(root) == origin_of(base) or client.may_sign(root)):
            raise OriginRefused(f"A reference leads to {shown(reference)}.")
    match = _RELATIVE.fullmatch(relative)
    if match is None or match["id"] in (".", ".."):
        raise _unreadable(reference)
    return root, f"{root}/{quote(relative)}", match["type"], match["id"]


def _split(reference: str) -> tuple[str, str]:
    """Split an absolute reference into a base URL and what follows it."""
    try:
        url = base_url(reference)
    except UsageError:
        raise _unreadable(reference) from None
    segments = urlsplit(url).path.split("/")
    relative = "/".join(segments[-4:] if segments[-2:-1] == ["_history"] else segments[-2:])
    return url.removesuffix(relative).rstrip("/"), relative


def _unreadable(reference: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"A reference has a form that cannot be read: {quoted(reference)[:100]!r}.")
