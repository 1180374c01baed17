"""URLs of searches: the first one, and the links from page to page, which may not leave the server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit

from s4s_lab.errors import OriginRefused, UsageError
from s4s_lab.values.origins import origin_of

ASK_OPERATOR = "Report this to the server's operator: the links between pages must stay below its base address."
_READABLE = ":,/"


def search_url(base: str, resource_type: str, parameters: Mapping[str, str]) -> str:
    """Return the URL of a search, spelled as the standards spell it.

    Parameters
    ----------
    base : str
        The FHIR base URL, without a slash at its end.
    resource_type : str
        Such as `ImagingStudy`.
    parameters : mapping of str to str
        In the order in which they are to appear.
    """
    query = urlencode(parameters, quote_via=quote, safe=_READABLE)
    return f"{base}/{quote(resource_type)}" + (f"?{query}" if query else "")


def absolute(request_url: str, link: str | None) -> str | None:
    """Resolve a link against the URL it was found at; what cannot be resolved stays as it is.

    Parameters
    ----------
    request_url : str
        Where the page came from.
    link : str or None
        As the server wrote it.

    References
    ----------
    RFC 3986, section 5.
    """
    try:
        return link if link is None else urljoin(request_url, link)
    except ValueError:
        return link


def below(base: str, link: str, number: int) -> str:
    """Return a `next` link if it stays at the base's origin and below its path.

    Parameters
    ----------
    base : str
        The FHIR base URL, without a slash at its end.
    link : str
        An absolute URL.
    number : int
        The page it was found on.

    Raises
    ------
    OriginRefused
        If it does not stay there.
    """
    try:
        stays = is_below(base, link)
    except (UsageError, ValueError):
        raise OriginRefused(f"The next link on page {number} is no address.", hint=ASK_OPERATOR) from None
    if not stays:
        raise OriginRefused(f"The next link on page {number} leads away, to {origin_of(link)}.", hint=ASK_OPERATOR)
    return link


def is_below(base: str, url: str) -> bool:
    """Say whether an address is at the base's origin and below its path: another tenant of one host is not.

    Parameters
    ----------
    base : str
        The FHIR base URL, without a slash at its end.
    url : str
        An absolute URL.

    Raises
    ------
    UsageError
        If it is no http or https address.
    """
    parts = urlsplit(url)
    same = origin_of(url) == origin_of(base) and "@" not in parts.netloc and url.isprintable()
    return same and _is_under(unquote(parts.path).replace("\\", "/"), unquote(urlsplit(base).path))


def _is_under(path: str, root: str) -> bool:
    # Some servers cut a segment at its semicolon before they go up: "..;x" is ".." to them.
    steps = {segment.partition(";")[0] for segment in path.split("/")}
    # A server at the root of its host may leave the path out: https://host?_getpages=…
    return not steps & {".", ".."} and (path.rstrip("/") == root or path.startswith(f"{root}/"))
