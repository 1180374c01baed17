"""Catch the participant's browser when the server sends it back to this machine."""

from __future__ import annotations

import errno
import hmac
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from s4s_lab.errors import LaunchNotTried, LaunchRefused, S4SError, UsageError
from s4s_lab.smart.answers import names_no_launch, read_answer
from s4s_lab.smart.launch import Launch
from s4s_lab.smart.loopback_server import LoopbackServer, Reply, Request
from s4s_lab.smart.pages import connected_page, denied_page, refused_page, stray_page, unclear_page
from s4s_lab.smart.return_address import return_address

_START_BYTES = 16
_NOBODY = "No launch is waiting for it here, or it was used before."


class RedirectListener:
    """Listens at the registered redirect URI, to the letter, and nowhere else.

    Several listeners of one process share a port, told apart by `state`: so participants may be connected side by side,
    over the one redirect URI that a confidential client has registered. The port is free as soon as the last one is
    closed: the next program waits for it, so nobody stays to tell a browser that goes back that it is done.

    Parameters
    ----------
    redirect_uri : str
        `http://127.0.0.1:PORT/…`, `http://localhost:PORT/…` or `http://[::1]:PORT/…`; or jupyter-server-proxy's address
        of a port of this machine, `https://HUB/…/proxy/PORT/…`.
    near : bool, optional
        Whether the browser can be expected to reach it; else `start_url` is none to show anybody.

    Raises
    ------
    UsageError
        If the redirect URI leads elsewhere.
    LaunchNotTried
        If the port is taken by another program.

    References
    ----------
    RFC 8252, sections 7.3 and 8.3.
    """

    def __init__(self, redirect_uri: str, *, near: bool = True) -> None:
        address = return_address(redirect_uri)
        if address is None:
            raise UsageError(
                f"The redirect URI {redirect_uri!r} does not lead to this machine, by plain http or a Jupyter proxy.",
                hint="Paste the address that the browser ends on.",
            )
        self.near = near
        self._callback_path = address.path
        self._start_path = f"/start-{secrets.token_urlsafe(_START_BYTES)}"
        self.start_url = f"{address.public_base}{self._start_path}"
        self._launch: Launch | None = None
        self._take: Callable[[str], S4SError | None] | None = None
        self._host = address.shown_host
        self._default_port = f":{443 if address.public_base.startswith('https:') else 80}"
        self._origins: frozenset[str] = frozenset()
        self._port = _Port.join(address.host, address.port, self)

    def listen(self, launch: Launch, take: Callable[[str], S4SError | None]) -> None:
        """Begin to wait for the answer to a launch.

        Parameters
        ----------
        launch : Launch
            `start_url` leads to its authorize URL.
        take : callable
            Gets the address of an answer that may be this launch's, in another thread; returns None when that went
            well, else the error to show. What it returns decides about the page, not about going on to listen.
        """
        parts = urlsplit(launch.configuration.authorization_endpoint)
        self._origins = frozenset({f"{parts.scheme}://{parts.netloc}".lower()})
        self._launch, self._take = launch, take

    def close(self) -> None:
        """Stop listening; the port is free when no other listener uses it."""
        self._port.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def serves(self, request: Request) -> bool:
        """Say whether a request came by the name that was registered; others are tricked browsers (DNS rebinding).

        Parameters
        ----------
        request : Request
            Of the port that is shared.
        """
        host = request.host.removesuffix(self._default_port)
        return host == self._host and self._launch is not None

    def welcomes(self, request: Request) -> bool:
        """Say whether a request is a person's way through the launch; others are what pages do behind their backs.

        Parameters
        ----------
        request : Request
            Of the port that is shared.

        References
        ----------
        Fetch Metadata Request Headers, section 2.2: `navigate` is what becomes the page of a tab.
        """
        if request.fetch_mode not in (None, "navigate"):
            return False
        return request.origin in (None, "null") or request.origin in self._origins

    def starts(self, path: str) -> bool:
        """Say whether a path is the one of this listener's `start_url`.

        Parameters
        ----------
        path : str
            Without query.
        """
        return hmac.compare_digest(path.encode(), self._start_path.encode())

    def returns_to(self, path: str) -> bool:
        """Say whether a path is the registered one.

        Parameters
        ----------
        path : str
            Without query.
        """
        return path == self._callback_path

    def owns(self, answer: dict[str, str]) -> bool:
        """Say whether an answer is to this listener's launch.

        Parameters
        ----------
        answer : dict of str to str
            From `read_answer`.
        """
        return self._launch is not None and self._launch.owns(answer)

    def send_off(self) -> Reply:
        """Return the reply that sends the browser to the server."""
        location = self._launch.authorize_url if self._launch else "/"
        return Reply(HTTPStatus.FOUND, headers={"Location": location})

    def take(self, target: str) -> Reply:
        """Hand an answer over, and return the page that says what came of it.

        Parameters
        ----------
        target : str
            Path and query of the request.
        """
        error = self._take(target) if self._take else None
        if error is None:
            return Reply(HTTPStatus.OK, connected_page())
        if isinstance(error, LaunchRefused) and error.error == "access_denied":
            return Reply(HTTPStatus.OK, denied_page())
        if isinstance(error, LaunchRefused) and error.error == "no_state":
            return Reply(HTTPStatus.OK, unclear_page(error.args[0], error.hint))
        return Reply(HTTPStatus.OK, refused_page(error.args[0], error.hint))


class _Port:
    """One loopback port of this process, and the listeners that share it."""

    def __init__(self, host: str, port: int) -> None:
        self._key = host, port
        self._listeners: list[RedirectListener] = []
        self._server = _server(host, port, self.handle)

    @staticmethod
    def join(host: str, port: int, listener: RedirectListener) -> _Port:
        with _lock:
            found = _ports.get((host, port)) or _Port(host, port)
            _ports[host, port] = found
            found._listeners.append(listener)
            return found

    def leave(self, listener: RedirectListener) -> None:
        with _lock:
            if listener not in self._listeners:
                return
            self._listeners.remove(listener)
            if not self._listeners:
                del _ports[self._key]
                self._server.close()

    def handle(self, request: Request) -> Reply:
        if request.method != "GET":
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET"})
        listeners = [one for one in list(self._listeners) if one.serves(request)]
        if not listeners:
            return Reply(HTTPStatus.MISDIRECTED_REQUEST, stray_page("This address is not the registered one."))
        if not any(one.welcomes(request) for one in listeners):
            return Reply(HTTPStatus.FORBIDDEN, stray_page("Another page asked for this, not you."))
        path = request.target.partition("?")[0]
        starting = [one for one in listeners if one.starts(path)]
        if starting:
            return starting[0].send_off()
        return _answered([one for one in listeners if one.returns_to(path)], request.target)


def _answered(listeners: list[RedirectListener], target: str) -> Reply:
    """Hand an answer to the listener that it is for."""
    if not listeners:
        return Reply(HTTPStatus.NOT_FOUND, stray_page(_NOBODY))
    try:
        answer = read_answer(target)
    except UsageError as error:
        return Reply(HTTPStatus.BAD_REQUEST, stray_page(error.args[0]))
    # An error without a state names no launch: most likely the newest one is meant.
    owners = listeners[-1:] if names_no_launch(answer) else [one for one in listeners if one.owns(answer)]
    return owners[0].take(target) if owners else Reply(HTTPStatus.NOT_FOUND, stray_page(_NOBODY))


# A process can bind a port only once, whoever in it asks.
_ports: dict[tuple[str, int], _Port] = {}
_lock = threading.Lock()


def _server(host: str, port: int, handle: Callable[[Request], Reply]) -> LoopbackServer:
    try:
        return LoopbackServer(host, port, handle)
    except OSError as error:
        why = "is used by another program" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise LaunchNotTried(
            f"Port {port} on {host}, where the server will send the browser, {why}.",
            hint="End that program (another notebook, perhaps), or use a registered redirect URI with another port: "
            "redirect_uri='http://127.0.0.1:PORT/callback', or --redirect-port PORT on the command line.",
        ) from None
