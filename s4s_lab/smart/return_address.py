"""What a redirect URI says of the way back: which port of this machine it leads to, and by what path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from s4s_lab.errors import UsageError
from s4s_lab.values.origins import require_secure

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
        What the browser's `Host` header says, in lower case, without the scheme's own port.
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
        return ReturnAddress("proxy", "127.0.0.1", int(proxied["port"]), proxied["path"], _shown_host(parts), base)
    if _plain_here(parts):
        base = f"http://{parts.netloc}"
        listens = _ADDRESS[parts.hostname], port or 80
        return ReturnAddress("loopback", *listens, parts.path or "/", _shown_host(parts), base)
    return None


def _plain_here(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in _ADDRESS


def _shown_host(parts: SplitResult) -> str:
    """Return what browsers put into `Host` (RFC 9110, section 7.2): the port only where it is not the scheme's own."""
    return parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")


def require_return_address(redirect_uri: str) -> None:
    """Refuse a redirect URI to which no code may be sent.

    Parameters
    ----------
    redirect_uri : str
        As registered, or to be.

    Raises
    ------
    UsageError
        If it is neither https, nor plain http on this machine, or has a fragment.

    References
    ----------
    RFC 6749, section 3.1.2. RFC 9700, section 2.6: no unencrypted redirect URI but on the loopback interface.
    """
    require_secure(redirect_uri)
    if "#" in redirect_uri:
        raise UsageError("A redirect URI has no fragment (#…).", hint="Give it exactly as it is registered.")
