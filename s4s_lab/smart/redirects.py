"""How the redirect finds its way back: to this machine, through a Jupyter server's proxy, or by paste."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

from s4s_lab.errors import LaunchNotTried, UsageError
from s4s_lab.smart.listener import RedirectListener
from s4s_lab.smart.return_address import require_return_address, return_address
from s4s_lab.values import DEMO_REDIRECT_URI

Capture = Literal["loopback", "proxy", "paste"]
# A kernel inherits these from where a browser on its own loopback address is somebody else's.
_ELSEWHERE = ("JUPYTERHUB_SERVICE_PREFIX", "BINDER_SERVICE_HOST", "COLAB_RELEASE_TAG", "CODESPACES", "SSH_CONNECTION")


@dataclass(frozen=True)
class Surroundings:
    """What a kernel can tell of where it runs.

    Parameters
    ----------
    environment : mapping of str to str
        Environment variables.
    modules : container of str
        Names of modules that are loaded.
    proxied : bool
        Whether jupyter-server-proxy is installed.
    """

    environment: Mapping[str, str]
    modules: Container[str] = ()
    proxied: bool = False

    @classmethod
    def here(cls) -> Surroundings:
        """Return those of this process."""
        return cls(os.environ, sys.modules, find_spec("jupyter_server_proxy") is not None)

    @property
    def browser_is_elsewhere(self) -> bool:
        """Whether the participant's browser most likely runs on another machine than this process."""
        return "google.colab" in self.modules or any(self.environment.get(name) for name in _ELSEWHERE)

    @property
    def proxy_url(self) -> str | None:
        """The public address below which a JupyterHub shows ports of this server, without trailing slash."""
        server = self.environment.get("JUPYTERHUB_PUBLIC_URL")
        hub = self.environment.get("JUPYTERHUB_PUBLIC_HUB_URL")
        prefix = self.environment.get("JUPYTERHUB_SERVICE_PREFIX")
        if not self.proxied:
            return None
        if server:
            return f"{server.rstrip('/')}/proxy"
        # The hub's own address ends in its base URL, which the prefix of a server begins with.
        if hub and prefix:
            parts = urlsplit(hub)
            return f"{parts.scheme}://{parts.netloc}{prefix.rstrip('/')}/proxy"
        return None


def redirect_uri_here(capture: Capture | None = None, surroundings: Surroundings | None = None) -> str:
    """Choose where the browser is to return to, for a client that is about to be registered.

    Parameters
    ----------
    capture : {"loopback", "proxy", "paste"}, optional
        How the redirect is to be caught; chosen from the surroundings when it is left out.
    surroundings : Surroundings, optional
        Those of this process when they are left out.

    Returns
    -------
    str
        `S4S_REDIRECT_URI` where that is set; an address of the hub's proxy where there is one; else of this machine.

    Raises
    ------
    LaunchNotTried
        If the proxy is wished for, and its public address is not known.
    """
    around = surroundings or Surroundings.here()
    said = around.environment.get("S4S_REDIRECT_URI")
    if said:
        return said
    if capture in (None, "proxy") and around.proxy_url:
        parts = urlsplit(DEMO_REDIRECT_URI)
        return f"{around.proxy_url}/{parts.port}{parts.path}"
    if capture == "proxy":
        raise LaunchNotTried(
            "The public address of this Jupyter server's proxy is not known.",
            hint="Give it: redirect_uri='https://HUB/user/NAME/proxy/8723/callback', or set S4S_REDIRECT_URI.",
        )
    return DEMO_REDIRECT_URI


def listen_for(
    redirect_uri: str, capture: Capture | None = None, surroundings: Surroundings | None = None
) -> RedirectListener | None:
    """Listen for the redirect, where anything can arrive.

    Parameters
    ----------
    redirect_uri : str
        As registered.
    capture : {"loopback", "proxy", "paste"}, optional
        How the redirect is to be caught; told by the address and the surroundings when it is left out.
    surroundings : Surroundings, optional
        Those of this process when they are left out.

    Returns
    -------
    RedirectListener or None
        None when the address has to be pasted.

    Raises
    ------
    UsageError
        If the redirect URI cannot be caught in the way that is wished for, or is neither https nor of this machine.
    LaunchNotTried
        If the port is taken by another program.
    """
    require_return_address(redirect_uri)
    address = return_address(redirect_uri)
    possible: Capture = address.way if address else "paste"
    if (capture or possible) == "paste":
        return None
    if capture not in (None, possible):
        raise UsageError(
            f"The redirect URI {redirect_uri!r} cannot be caught by {capture}, only by {possible}.",
            hint="Leave capture out, or register a redirect URI for it.",
        )
    # Whoever asks for loopback knows that the port is forwarded, or that the browser is here.
    around = surroundings or Surroundings.here()
    doubtful = capture is None and possible == "loopback" and around.browser_is_elsewhere
    try:
        return RedirectListener(redirect_uri, near=not doubtful)
    except LaunchNotTried:
        if doubtful:
            return None
        raise
