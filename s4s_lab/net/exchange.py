"""One GET through redirects, signed only where its credentials belong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx2

from s4s_lab.errors import UnexpectedAnswer
from s4s_lab.net.addresses import checked, redirect_target
from s4s_lab.net.allowance import Attempt
from s4s_lab.net.answers import bounded
from s4s_lab.net.redaction import shown
from s4s_lab.net.wire import Wire
from s4s_lab.values.origins import origin_of

MAX_REDIRECTS = 3
_AUTH_ANSWER_BYTES = 1 << 20


class Exchange:
    """What every GET of a client goes through.

    Parameters
    ----------
    wire : Wire
        Sends single requests.
    auth : httpx2.Auth or None
        Signs requests, and renews what it signs with.
    auth_origins : frozenset of str
        The origins whose requests are signed.
    """

    def __init__(self, wire: Wire, auth: httpx2.Auth | None, auth_origins: frozenset[str]) -> None:
        self._wire = wire
        self._auth = auth
        self._auth_origins = auth_origins

    def may_sign(self, url: str) -> bool:
        """Say whether requests to this URL's origin may carry credentials.

        Parameters
        ----------
        url : str
            An http or https address.
        """
        return origin_of(url) in self._auth_origins

    @contextmanager
    def opened(self, url: str, headers: dict[str, str], attempt: Attempt) -> Iterator[tuple[httpx2.Response, str]]:
        """Follow redirects, and yield the last response with its URL.

        Parameters
        ----------
        url : str
            Where to begin.
        headers : dict of str to str
            Sent with each request.
        attempt : Attempt
            What bounds all of it together.

        Yields
        ------
        tuple of httpx2.Response and str
            Its body not yet read; closed when the block ends.

        Raises
        ------
        UnexpectedAnswer
            If there are more than three redirects.
        OriginRefused
            If one leads to where nobody should be led.

        References
        ----------
        RFC 9110, section 15.4: what belongs to the first server only is removed before another one is asked.
        """
        target, signed = url, True
        for _ in range(MAX_REDIRECTS + 1):
            request = httpx2.Request("GET", checked(target), headers=headers)
            with closing(self._send(request, target, attempt, signed=signed)) as response:
                moved = redirect_target(response, target)
                if moved is None:
                    yield response, target
                    return
            # Credentials that were left behind once stay behind, wherever the redirects lead next.
            signed = signed and origin_of(moved) == origin_of(target)
            target = moved
        raise UnexpectedAnswer(f"{shown(url)} redirects more than {MAX_REDIRECTS} times.")

    def _send(self, request: httpx2.Request, url: str, attempt: Attempt, *, signed: bool) -> httpx2.Response:
        if self._auth is None or not signed or not self.may_sign(url):
            return self._wire.send(request, attempt)
        flow = self._auth.sync_auth_flow(request)
        try:
            outgoing = next(flow)
            while True:
                with ExitStack() as stack:
                    response = stack.enter_context(closing(self._wire.send(outgoing, attempt)))
                    try:
                        outgoing = flow.send(_seen_by_auth(response, asked=request))
                    except StopIteration:
                        stack.pop_all()  # it stays open: its body is the caller's to read
                        return response
                checked(str(outgoing.url))
        finally:
            flow.close()


def _seen_by_auth(response: httpx2.Response, *, asked: httpx2.Request) -> httpx2.Response:
    """Return what an auth flow gets to see: of what was asked the head only, of its own requests a bounded whole.

    So a flow that reads every response can neither hold a whole study in memory nor be fed without end.
    """
    request = response.request
    own = (request.method, request.url) != (asked.method, asked.url)
    body = bounded(response, str(request.url), _AUTH_ANSWER_BYTES) if own else b""
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
    return httpx2.Response(response.status_code, headers=headers, content=body, request=request)
