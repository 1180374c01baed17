"""What a participant's browser does in a launch, and no more: it follows where it is sent."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Page:
    """What a browser shows in the end."""

    status: int
    headers: dict[str, str]
    body: str


def visit(url: str, *, host: str | None = None, method: str = "GET", headers: Mapping[str, str] = NONE) -> Page:
    """Ask for one address, without following where it leads."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.putrequest(method, parts.path + (f"?{parts.query}" if parts.query else ""), skip_host=True)
        connection.putheader("Host", host or parts.netloc)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Page(response.status, headers, response.read().decode())
    finally:
        connection.close()


def redirected_to(url: str) -> str:
    """Return where an address sends the browser."""
    page = visit(url)
    assert page.status == 302, page
    return page.headers["location"]


def approve(url: str) -> Page:
    """Open a launch's link and go along to the last page."""
    page = visit(url)
    while page.status == 302:
        page = visit(page.headers["location"])
    return page
