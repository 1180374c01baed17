"""One request, one response: connection pools by route, proxies and certificates as the environment says."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from s4s_lab.errors import UsageError
from s4s_lab.net.allowance import Attempt
from s4s_lab.net.backend import GuardedBackend
from s4s_lab.net.body import Body
from s4s_lab.net.failures import LOST, why
from s4s_lab.net.redaction import unlogged
from s4s_lab.net.tracing import Recording, Trace
from s4s_lab.values.origins import is_loopback

_PROXY_PORT = {"http": 80, "https": 443}
_KEPT_S = 5.0


@dataclass(frozen=True)
class Route:
    """How to reach a server.

    Parameters
    ----------
    proxy : str or None
        The proxy's URL; None for a direct connection.
    secure : bool
        Whether the server is reached by TLS.
    fresh : bool
        Whether each request gets a new connection. What must not be repeated does: a kept connection may turn out to be
        closed when the request is already on its way.
    """

    proxy: str | None
    secure: bool
    fresh: bool


def proxy_for(url: str) -> str | None:
    """Return the proxy for `url`: S4S_PROXY, else HTTPS_PROXY, else ALL_PROXY, unless NO_PROXY excepts it.

    Plain http goes to this machine only, and this machine is never reached through a proxy.

    Parameters
    ----------
    url : str
        An http or https address.
    """
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    found = os.environ.get("S4S_PROXY") or proxies.get(parts.scheme.lower()) or proxies.get("all")
    return found if not found or "://" in found else f"http://{found}"


def _proxy_address(proxy: str) -> tuple[httpcore2.URL, tuple[str, str] | None]:
    try:
        parts = urlsplit(proxy)
        default_port = _PROXY_PORT[parts.scheme]
        address = httpcore2.URL(
            scheme=parts.scheme, host=parts.hostname or "", port=parts.port or default_port, target="/"
        )
    except (ValueError, KeyError):
        named = "The proxy that S4S_PROXY, HTTPS_PROXY or ALL_PROXY names"
        raise UsageError(f"{named} is no http or https address.") from None
    return address, (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def _certificates() -> ssl.SSLContext:
    try:
        context = httpx2.create_ssl_context()
        more = os.environ.get("S4S_CA_FILE")
        if more:
            context.load_verify_locations(cafile=more)
    except OSError:
        named = "The certificates that S4S_CA_FILE, SSL_CERT_FILE or SSL_CERT_DIR names"
        raise UsageError(f"{named} cannot be read.") from None
    return context


def _texts(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


class Wire:
    """Sends requests; shared by all threads of a client.

    Parameters
    ----------
    trusted : frozenset of str
        Origins whose addresses are not questioned.
    trace : Trace or None
        Where exchanges are recorded.
    """

    def __init__(self, trusted: frozenset[str], trace: Trace | None = None) -> None:
        self._trace = trace
        self._guard = GuardedBackend(trusted)
        self._pools: dict[Route, httpcore2.ConnectionPool] = {}
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def send(self, request: httpx2.Request, attempt: Attempt) -> httpx2.Response:
        """Send one request and return its response, the body still to come.

        Parameters
        ----------
        request : httpx2.Request
            What to send; its timeouts are replaced by the attempt's.
        attempt : Attempt
            What bounds it.

        Returns
        -------
        httpx2.Response
            To be closed by the caller.
        """
        url = request.url
        outgoing = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.read(),
            extensions={"timeout": attempt.timeouts()},
        )
        pool = self._pool(Route(proxy_for(str(url)), secure=url.scheme == "https", fresh=request.method != "GET"))
        attempt.head_begins()
        recording = self._recording(request, attempt)
        try:
            with unlogged():
                answer = pool.handle_request(outgoing)
            recording.answered(answer.status, _texts(answer.headers))
        except LOST as error:
            recording.end(why(error))
            raise
        finally:
            if recording.status is None:
                recording.end("interrupted")
        attempt.body_begins()
        body = Body(answer, recording, outgoing.extensions["timeout"]["read"])
        return httpx2.Response(answer.status, headers=answer.headers, stream=body, request=request)

    def _recording(self, request: httpx2.Request, attempt: Attempt) -> Recording:
        headers = request.headers.multi_items()
        waited_s, attempt.waited_s = attempt.waited_s, 0.0
        return Recording(self._trace, request.method, str(request.url), headers, attempt.number, waited_s)

    def _pool(self, route: Route) -> httpcore2.ConnectionPool:
        with self._lock:
            if route not in self._pools:
                self._pools[route] = self._opened(route)
            return self._pools[route]

    def _opened(self, route: Route) -> httpcore2.ConnectionPool:
        kept = 0 if route.fresh else 20
        if route.proxy is None:
            return httpcore2.ConnectionPool(
                ssl_context=self._trust() if route.secure else None,
                max_connections=None,
                max_keepalive_connections=kept,
                keepalive_expiry=_KEPT_S,
                network_backend=self._guard,
            )
        proxy, credentials = _proxy_address(route.proxy)
        return httpcore2.HTTPProxy(
            proxy_url=proxy,
            proxy_auth=credentials,
            ssl_context=self._trust(),
            proxy_ssl_context=self._trust() if proxy.scheme == b"https" else None,
            max_connections=None,
            max_keepalive_connections=kept,
            keepalive_expiry=_KEPT_S,
            network_backend=GuardedBackend(None),
        )

    def _trust(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = _certificates()
        return self._context

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()
