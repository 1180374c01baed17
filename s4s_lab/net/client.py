"""The HTTP client: GETs that wait as they are told, POSTs that are sent once, streams at a watched pace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

import httpx2

from s4s_lab.errors import NotReachable, Waiting
from s4s_lab.net.addresses import checked
from s4s_lab.net.allowance import Attempt, Limits
from s4s_lab.net.answers import Answer, Stream, decoded, whole
from s4s_lab.net.exchange import Exchange
from s4s_lab.net.failures import LOST, NEVER_THERE, no_answer
from s4s_lab.net.redaction import shown
from s4s_lab.net.tracing import Trace
from s4s_lab.net.waiting import BUSY, Patience, Trouble, Waits, not_before, reason_to_wait, retry_after
from s4s_lab.net.wire import Wire
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of

_FORM_ANSWER_BYTES = 1 << 20
_UNSAID_S = 10.0
_USER_AGENT = "s4s-lab"
_PATIENCE = Patience()
_LIMITS = Limits()
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class _Lost:
    """A try that brought no whole answer."""

    error: NotReachable
    trouble: Trouble
    reached: bool


def _waiting(response: httpx2.Response, url: str) -> Waiting:
    asked = _asked(response)
    wait_s = _UNSAID_S if asked is None else max(asked, 1.0)
    return Waiting(f"{shown(url)}: {reason_to_wait(response.status_code, asked)}.", not_before=not_before(wait_s))


def _asked(response: httpx2.Response) -> float | None:
    """Return what all `Retry-After` headers of a response ask at most, in [s]."""
    date = response.headers.get("date")
    asked = [retry_after(value, date=date, now=utc_now()) for value in response.headers.get_list("retry-after")]
    return max((seconds for seconds in asked if seconds is not None), default=None)


def _heads(headers: Mapping[str, str]) -> dict[str, str]:
    return {"User-Agent": _USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip", **headers}


class HttpClient:
    """One way to servers for one connection; a context manager, safe to share between threads.

    Parameters
    ----------
    auth : httpx2.Auth, optional
        Signs requests, and renews what it signs with.
    auth_origins : frozenset of str
        The origins (`values.origins.origin_of`) whose requests are signed; no other server sees a credential.
    patience : Patience
        How long to wait for a busy server.
    limits : Limits
        What one try may take.
    trace : Trace, optional
        Records every exchange.

    References
    ----------
    S4S imaging page, "Note on 503 response status and Retry-After hints". RFC 9110, sections 10.2.3 and 15.4.
    """

    def __init__(
        self,
        *,
        auth: httpx2.Auth | None = None,
        auth_origins: frozenset[str] = frozenset(),
        patience: Patience = _PATIENCE,
        limits: Limits = _LIMITS,
        trace: Trace | None = None,
    ) -> None:
        self._patience = patience
        self._limits = limits
        self._wire = Wire(auth_origins, trace)
        self._exchange = Exchange(self._wire, auth, auth_origins)
        self._answered: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._wire.close()

    def may_sign(self, url: str) -> bool:
        """Say whether requests to this URL's origin may carry credentials.

        Parameters
        ----------
        url : str
            An http or https address.
        """
        return self._exchange.may_sign(url)

    def get(self, url: str, *, accept: str, max_bytes: int = 64 << 20) -> Answer:
        """Ask for a resource, waiting and repeating as the server says.

        503, 429 and 413 with `Retry-After` are waited out, never for less than asked; 503 and 429 without it are asked
        again at growing distances; 502, 504, 408 and broken connections up to five times, 500 twice.

        Parameters
        ----------
        url : str
            https, or http to this very machine.
        accept : str
            The `Accept` header.
        max_bytes : int
            The most the decoded body may be, in [bytes].

        Returns
        -------
        Answer
            Of any other status.

        Raises
        ------
        Waiting
            If the server asks for more time than the patience allows.
        NotReachable
            If no whole answer came.
        UnexpectedAnswer
            If the body is too large or the redirects have no end.
        OriginRefused
            If the server leads to where nobody should be led.
        UsageError
            If `url` is no address, or unencrypted.
        """
        waits = Waits(self._patience, shown(url))
        while True:
            outcome = self._try_get(url, accept, max_bytes)
            if isinstance(outcome, _Lost):
                # An address that never answered is probably wrong: say so at once.
                reached = outcome.reached or origin_of(url) in self._answered
                if not (reached and waits.passed(outcome.trouble, None)):
                    raise outcome.error
            else:
                answer, asked = outcome
                self._answered.add(origin_of(url))
                if not waits.passed(answer.status, asked):
                    return answer

    def _try_get(self, url: str, accept: str, max_bytes: int) -> tuple[Answer, float | None] | _Lost:
        attempt = Attempt(self._limits)
        headers = _heads({"Accept": accept})
        try:
            with self._exchange.opened(url, headers, attempt) as (response, final_url):
                answer = whole(response, final_url, max_bytes, attempt.elapsed_s)
                return answer, _asked(response)
        except LOST as error:
            failure = no_answer(url, error)
            return _Lost(failure, "slow" if attempt.expired else "lost", not isinstance(error, NEVER_THERE))

    def post_form(self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] = _NO_HEADERS) -> Answer:
        """Send a form once: never repeated, never redirected, never signed.

        Parameters
        ----------
        url : str
            https, or http to this very machine.
        form : mapping of str to str
            Sent as `application/x-www-form-urlencoded`.
        headers : mapping of str to str
            Sent along, such as HTTP Basic credentials of the client.

        Returns
        -------
        Answer
            Of any status.

        Raises
        ------
        NotReachable
            If no whole answer came; the server may have acted all the same.
        UsageError
            If `url` is no address, or unencrypted.
        """
        return self._post(httpx2.Request("POST", checked(url), data=dict(form), headers=_heads(headers)), url)

    def post_json(self, url: str, body: object) -> Answer:
        """Send JSON once: never repeated, never redirected, never signed.

        Parameters
        ----------
        url : str
            https, or http to this very machine.
        body : object
            What `json.dumps` takes.

        Returns
        -------
        Answer
            Of any status.

        Raises
        ------
        NotReachable
            If no whole answer came; the server may have acted all the same.
        UsageError
            If `url` is no address, or unencrypted.
        """
        headers = _heads({"Content-Type": "application/json"})
        return self._post(httpx2.Request("POST", checked(url), content=json.dumps(body), headers=headers), url)

    def _post(self, request: httpx2.Request, url: str) -> Answer:
        attempt = Attempt(self._limits)
        try:
            with closing(self._wire.send(request, attempt)) as response:
                return whole(response, url, _FORM_ANSWER_BYTES, attempt.elapsed_s)
        except LOST as error:
            failure = no_answer(url, error)
        raise failure

    @contextmanager
    def stream(self, url: str, *, accept: str) -> Iterator[Stream]:
        """Ask once for a body that is too large to hold.

        Parameters
        ----------
        url : str
            https, or http to this very machine.
        accept : str
            The `Accept` header.

        Yields
        ------
        Stream
            Of any status but those by which a server asks for time.

        Raises
        ------
        Waiting
            If the server asks for time (HTTP 503 or 429).
        NotReachable
            If no answer came.
        """
        attempt = Attempt(self._limits)
        headers = _heads({"Accept": accept, "Accept-Encoding": "identity"})
        with ExitStack() as stack:
            failure: NotReachable | None = None
            try:
                response, final_url = stack.enter_context(self._exchange.opened(url, headers, attempt))
            except LOST as error:
                failure = no_answer(url, error)
            if failure is not None:
                raise failure
            if response.status_code in BUSY[:2]:
                raise _waiting(response, url)
            attempt.stream_begins()
            read = partial(decoded, response, final_url)
            yield Stream(response.status_code, dict(response.headers), final_url, read)
