"""The HTTP client: GETs that wait as they are told, POSTs that are sent once, streams at a watched pace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime
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
from s4s_lab.net.traffic import Passage, Traffic
from s4s_lab.net.waiting import (
    BUSY,
    Budget,
    Patience,
    Trouble,
    Wait,
    Waits,
    not_before,
    reason_to_wait,
    retry_after,
)
from s4s_lab.net.wire import Wire
from s4s_lab.values.instants import utc_now

_FORM_ANSWER_BYTES = 1 << 20
_UNSAID_S = 10.0
_USER_AGENT = "s4s-lab"
_PATIENCE = Patience()
_LIMITS = Limits()
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class _Outcome:
    """What one try brought: a whole answer, or the error that says why there is none."""

    trouble: Trouble
    asked: float | None
    answer: Answer | None
    error: NotReachable | None = None
    reached: bool = True


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

    At most four of its requests are on their way to one origin at a time, at most two of them streams. While one sits
    out what a busy server asked for, others of the same kind wait along. After five requests in a row that failed, an
    origin is left alone for a minute.

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
        self._budget = Budget(patience)
        self._traffic = Traffic()
        self._limits = limits
        self._wire = Wire(auth_origins, trace)
        self._exchange = Exchange(self._wire, auth, auth_origins)
        self._answered: set[str] = set()

    def unsigned(self) -> HttpClient:
        """Return this client without its credentials: the same connections, waits and bounds."""
        other = copy(self)
        other._exchange = Exchange(self._wire, None, frozenset())
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._wire.close()

    @property
    def silence_s(self) -> float:
        """How long nothing may come before a try is given up, in [s]."""
        return self._limits.read_s

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

        503, 429 and 413 with `Retry-After` are waited out, never for less than asked and for an hour at most; 503 and
        429 without it are asked again at growing distances; 502, 504, 408, timeouts and broken connections up to five
        times, 500 twice.

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
            If the server asks for more time than the patience still allows, or is left alone after failures.
        NotReachable
            If no whole answer came.
        UnexpectedAnswer
            If the body is too large or the redirects have no end.
        OriginRefused
            If the server leads to where nobody should be led.
        UsageError
            If `url` is no address, or unencrypted.
        """
        with self._traffic.passage(url) as passage:
            waits = Waits(self._budget, passage.shown, partial(self._traffic.hold, passage))
            while True:
                outcome = self._try_get(passage, waits, (url, accept, max_bytes))
                if outcome.reached:
                    self._answered.add(passage.origin)
                # An address that never answered is probably wrong: say so at once.
                if passage.origin in self._answered:
                    if waits.passed(outcome.trouble, outcome.asked):
                        continue
                    self._traffic.ended(passage, outcome.trouble)
                if outcome.answer is None:
                    raise outcome.error or NotReachable(f"No answer from {passage.shown}.")
                return outcome.answer

    def _try_get(self, passage: Passage, waits: Waits, what: tuple[str, str, int]) -> _Outcome:
        url, accept, max_bytes = what
        with self._traffic.going(passage):
            attempt = Attempt(self._limits, number=1 + waits.tries, waited_s=waits.last_s)
            try:
                with self._exchange.opened(url, _heads({"Accept": accept}), attempt) as (response, final_url):
                    answer = whole(response, final_url, max_bytes, attempt.elapsed_s)
                    return _Outcome(answer.status, _asked(response), answer)
            except LOST as error:
                trouble: Trouble = "slow" if attempt.expired else "lost"
                return _Outcome(trouble, None, None, no_answer(url, error), not isinstance(error, NEVER_THERE))

    def wait_until(self, moment: datetime, *, reason: str, url: str) -> None:
        """Sit out a wait that was named earlier, such as in another run; it counts like any other.

        Parameters
        ----------
        moment : datetime
            Until when, aware; one that has passed takes no time.
        reason : str
            Why, in words.
        url : str
            What will be asked for.

        Raises
        ------
        Waiting
            If that is longer than the patience lasts.
        """
        left = (moment - utc_now()).total_seconds()
        if left > 0 and not self._budget.wait(Wait(left, reason, shown(url))):
            raise Waiting(f"{shown(url)}: {reason}.", not_before=moment)

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
            If the server asks for time (HTTP 503 or 429), or is left alone after failures.
        NotReachable
            If no answer came.
        UsageError
            If two streams of the same origin are open in this thread.
        """
        headers = _heads({"Accept": accept, "Accept-Encoding": "identity"})
        with ExitStack() as stack:
            passage = stack.enter_context(self._traffic.passage(url, stream=True))
            stack.enter_context(self._traffic.going(passage))
            attempt = Attempt(self._limits)
            failure: NotReachable | None = None
            try:
                response, final_url = stack.enter_context(self._exchange.opened(url, headers, attempt))
            except LOST as error:
                failure = no_answer(url, error)
                if not isinstance(error, NEVER_THERE) or passage.origin in self._answered:
                    self._traffic.ended(passage, "lost")
            if failure is not None:
                raise failure
            self._answered.add(passage.origin)
            if response.status_code in BUSY[:2]:
                raise _waiting(response, url)
            self._traffic.ended(passage, response.status_code)
            attempt.stream_begins()
            read = partial(decoded, response, final_url)
            yield Stream(response.status_code, dict(response.headers), final_url, read)
