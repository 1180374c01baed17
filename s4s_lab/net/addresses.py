"""Which URLs may be asked, and where redirects may lead."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

import httpx2

from s4s_lab.errors import OriginRefused, UsageError
from s4s_lab.net.redaction import shown
from s4s_lab.values.origins import require_secure

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def checked(url: str) -> httpx2.URL:
    """Return `url` as what will be connected to, or refuse it.

    Parameters
    ----------
    url : str
        What somebody wants to ask.

    Raises
    ------
    UsageError
        If it is unencrypted, holds a user name, or two readings of it name different hosts.
    """
    host = urlsplit(require_secure(url)).hostname or ""
    try:
        target = httpx2.URL(url)
        usable = not target.userinfo and _names(target, host)
    except (httpx2.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise UsageError(f"{shown(url)!r} cannot be used as an address.", hint="Give it as https://host/path.")
    return target


def _names(target: httpx2.URL, host: str) -> bool:
    """Say whether a parsed URL names the host that another reading of the same text found."""
    if ":" in host:
        return ipaddress.ip_address(target.host) == ipaddress.ip_address(host)
    return host in (target.host, target.raw_host.decode("ascii"))


def redirect_target(response: httpx2.Response, url: str) -> str | None:
    """Return where a response sends us, None when it does not.

    Parameters
    ----------
    response : httpx2.Response
        Of any status.
    url : str
        Where it came from.

    Raises
    ------
    OriginRefused
        If that would leave encryption, or is no web address.
    """
    location = response.headers.get("location")
    if response.status_code not in _REDIRECTS or location is None:
        return None
    try:
        target = urljoin(url, location)
        checked(target)
    except ValueError:
        raise OriginRefused(f"{shown(url)} redirects to an address that cannot be followed.") from None
    if urlsplit(url).scheme.lower() == "https" and urlsplit(target).scheme.lower() != "https":
        raise OriginRefused(f"{shown(url)} redirects to an unencrypted address, which was not followed.")
    return target
