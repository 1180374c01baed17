"""Origins (scheme, host, port) of URLs, and what may be said of a URL in a message."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit, urlunsplit

from s4s_lab.errors import UsageError

_DEFAULT_PORT = {"http": 80, "https": 443}


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in _DEFAULT_PORT and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() or c == "\\" for c in url):
        raise UsageError(f"{without_query(url)!r} is no http or https address.", hint="Give it as https://host/path.")
    return parts


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in one normal form, such as `https://ehr.example:443`.

    Parameters
    ----------
    url : str
        An absolute address.

    Raises
    ------
    UsageError
        If `url` is no absolute http or https address.

    References
    ----------
    RFC 6454, section 4.
    """
    parts = _split(url)
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").rstrip(".")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{parts.port or _DEFAULT_PORT[scheme]}"


def is_loopback(url: str) -> bool:
    """Say whether a URL names this very machine.

    Parameters
    ----------
    url : str
        An absolute address.
    """
    host = (_split(url).hostname or "").rstrip(".")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_secure(url: str) -> str:
    """Return `url` if it is https, or http to this very machine.

    Parameters
    ----------
    url : str
        An absolute address.

    Raises
    ------
    UsageError
        If it is plain http to another machine, or no address at all.

    References
    ----------
    SMART App Launch 2.2, "App protection": TLS for all exchanges.
    """
    if _split(url).scheme.lower() == "http" and not is_loopback(url):
        raise UsageError(f"{without_query(url)} is not encrypted.", hint="Use https; plain http is for 127.0.0.1 only.")
    return url


def base_url(url: str) -> str:
    """Return a service's base URL without trailing slashes, query and fragment.

    Parameters
    ----------
    url : str
        An absolute address, perhaps with a slash too many.

    Raises
    ------
    UsageError
        If `url` is no absolute http or https address.
    """
    parts = _split(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def without_query(url: str) -> str:
    """Return `url` fit for a message: no query, no fragment, no user name; a query shows as `?…`.

    Parameters
    ----------
    url : str
        Anything that was meant as an address.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.split("?", 1)[0]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))
