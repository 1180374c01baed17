"""What a redirect URI says of the way back: which port of this machine it leads to, and by what path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

_ADDRESS = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
_PROXIED = re.compile(r"(?P<prefix>/(?:.*/)?proxy/(?P<port>[1-9][0-9]{0,4}))(?P<path>/.*)", re.ASCII)
_MAX_PORT = 65535


@dataclass(frozen=True)
class ReturnAddress:
    """A redirect URI that a port of this machine can serve.

    Parameters
    ----------
    way : {"loopback", "proxy"}
        Whether the browser comes straight here, or through a Jupyter server's proxy.
    host, port : str and int
        Where to listen.
    path : str
        What the listener sees of the redirect URI.
    shown_host : str
        What the browser's `Host` header says, in lower case.
    public_base : str
        What the browser puts before a path of the listener.
    """

    way: Literal["loopback", "proxy"]
    host: str
    port: int
    path: str
    shown_host: str
    public_base: str


def return_address(redirect_uri: str) -> ReturnAddress | None:
    """Read a redirect URI; None when nothing on this machine can serve it.

    Parameters
    ----------
    redirect_uri : str
        As registered: plain http on a loopback address, or one of jupyter-server-proxy, `…/proxy/PORT/…`.

    References
    ----------
    RFC 8252, section 7.3.
    """
    try:
        parts = urlsplit(redirect_uri)
        port = parts.port
    except ValueError:
        return None
    if parts.query or parts.fragment or parts.hostname is None:
        return None
    proxied = _PROXIED.fullmatch(parts.path)
    if proxied and int(proxied["port"]) <= _MAX_PORT and (parts.scheme == "https" or _plain_here(parts)):
        base = f"{parts.scheme}://{parts.netloc}{proxied['prefix']}"
        return ReturnAddress("proxy", "127.0.0.1", int(proxied["port"]), proxied["path"], parts.netloc.lower(), base)
    if _plain_here(parts):
        base = f"http://{parts.netloc}"
        return ReturnAddress(
            "loopback", _ADDRESS[parts.hostname], port or 80, parts.path or "/", parts.netloc.lower(), base
        )
    return None


def _plain_here(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in _ADDRESS
