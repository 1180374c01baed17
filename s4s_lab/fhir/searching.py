"""Searches: from the first page to the last, never to another host, never forever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from s4s_lab.errors import IncompletePull, OriginRefused, UnexpectedAnswer
from s4s_lab.fhir.links import ASK_OPERATOR, absolute, below, is_below, search_url
from s4s_lab.fhir.outcomes import is_fatal, outcome_text, refusal
from s4s_lab.fhir.pages import Page, decode_page
from s4s_lab.net import Answer, HttpClient, shown
from s4s_lab.values.origins import base_url, origin_of

FHIR_JSON = "application/fhir+json, application/json+fhir;q=0.9, application/json;q=0.8"
"""STU3 says `application/fhir+json`, the S4S page `application/json+fhir`, some servers know neither."""

MAX_PAGES = 10_000


def search(client: HttpClient, fhir_url: str, resource_type: str, parameters: Mapping[str, str]) -> Iterator[Page]:
    """Search, and yield each page as it arrives.

    When a `next` link has expired (HTTP 404 or 410), the search begins anew, once: resources of the first pages come a
    second time.

    Parameters
    ----------
    client : HttpClient
        Waits, repeats, and signs.
    fhir_url : str
        The FHIR base URL.
    resource_type : str
        Such as `ImagingStudy`.
    parameters : mapping of str to str
        Such as `{"patient": "smart-1288992", "_lastUpdated": "gt2016-04-01T02:52:32.000Z"}`.

    Yields
    ------
    Page
        At least one; only an exhausted iterator means that all have come.

    Raises
    ------
    OriginRefused
        If a `next` link, or a redirect, leads away from the FHIR base URL; nothing is asked there.
    IncompletePull
        If the pages run in circles, number more than 10,000, break off, or report an error among the results.
    UnexpectedAnswer
        If the first page is none.
    AccessRefused
        If the grant does not cover the search (HTTP 403).
    GrantExpired
        If the server asks for authorization (HTTP 401).
    Waiting
        If the server asks for more time than the client's patience allows.
    NotReachable
        If no whole answer came.

    References
    ----------
    FHIR STU3, "Search", "Paging"; S4S imaging page, "ImagingStudy", "Explanation Of Benefit".
    """
    base = base_url(fhir_url)
    first = search_url(base, resource_type, parameters)
    url: str | None = first
    seen: set[str] = set()
    number, restarted = 1, False
    while url is not None:
        if url in seen or number > MAX_PAGES:
            ending = "lead back to themselves" if url in seen else f"number more than {MAX_PAGES}"
            raise IncompletePull(f"The pages of {shown(first)} {ending}.")
        seen.add(url)
        answer = client.get(url, accept=FHIR_JSON)
        if answer.status in (404, 410) and url != first and not restarted:
            restarted, url, seen = True, first, set()
            continue
        page = replace(_page(answer, base, resource_type, number), anew=restarted and len(seen) == 1)
        yield page
        url = None if page.next_url is None else below(base, page.next_url, number)
        number += 1


def _page(answer: Answer, base: str, resource_type: str, number: int) -> Page:
    if not is_below(base, answer.url):
        text = f"The search was redirected to {origin_of(answer.url)}, away from the FHIR base URL."
        raise OriginRefused(text, hint=ASK_OPERATOR)
    try:
        page = _whole_page(answer, resource_type, number)
    except UnexpectedAnswer as error:
        if number == 1:
            raise
        failure = IncompletePull(f"Page {number} of a search did not arrive: {error.args[0]}")
    else:
        return replace(page, next_url=absolute(answer.url, page.next_url))
    raise failure


def _whole_page(answer: Answer, resource_type: str, number: int) -> Page:
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    page = decode_page(answer, resource_type, number)
    for entry in page.entries:
        if entry.mode == "outcome" and is_fatal(entry.resource):
            raise IncompletePull(f"{shown(answer.url)} reports among its results: {outcome_text(entry.resource)}")
    return page
