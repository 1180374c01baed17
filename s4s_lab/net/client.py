"""The HTTP client: GETs that wait as they are told, POSTs that are sent once, streams at a watched pace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx2

from s4s_lab.errors import NotReachable, OriginRefused, UnexpectedAnswer, UsageError, Waiting
from s4s_lab.net.allowance import Attempt, Limits
from s4s_lab.net.redaction import shown
from s4s_lab.net.waiting import BUSY, Patience, Trouble, Waits, not_before, retry_after
from s4s_lab.net.wire import LOST, NEVER_THERE, Wire
from s4s_lab.values.instants import parse_http_date, utc_now
from s4s_lab.values.origins import origin_of, require_secure

_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FORM_ANSWER_BYTES = 1 << 20
_UNSAID_S = 10.0
_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_USER_AGENT = "s4s-lab"
_PATIENCE = Patience()
_LIMITS = Limits()
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Parameters
    ----------
    status : int
        The HTTP status.
    headers : mapping of str to str
        Names in lower case; repeated ones joined by commas.
    body : bytes
        As decoded from its content coding.
    url : str
        What was asked for in the end, redirects followed.
    elapsed_s : float
        How long the last try took, in [s].
    server_time : datetime or None
        The `Date` header: the server's own clock, aware, UTC.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    elapsed_s: float = field(repr=False)
    server_time: datetime | None = field(repr=False)


class Stream:
    """An answer whose body is still coming; lives inside the `with` block that opened it.

    Parameters
    ----------
    status : int
        The HTTP status.
    headers : mapping of str to str
        Names in lower case.
    url : str
        What was asked for in the end, redirects followed.
    read : callable
        Begins to read the body.
    """

    def __init__(self, status: int, headers: Mapping[str, str], url: str, read: Callable[[], Iterator[bytes]]) -> None:
        self.status = status
        self.headers = headers
        self.url = url
        self._read = read

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes, at most 1 MiB at a time.

        Yields
        ------
        bytes
            Decoded from its content coding, never empty.

        Raises
        ------
        NotReachable
            If the body breaks off, or comes too slowly.
        """
        try:
            yield from filter(None, self._read())
        except LOST as error:
            failure = NotReachable(f"{shown(self.url)} broke off: {_why(error)}.", hint="Fetch again.")
        else:
            return
        raise failure


@dataclass(frozen=True)
class _Lost:
    """A try that brought no whole answer."""

    error: NotReachable
    trouble: Trouble
    reached: bool


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


def _no_answer(url: str, error: Exception) -> NotReachable:
    return NotReachable(f"No whole answer from {shown(url)}: {_why(error)}.")


def _waiting(response: httpx2.Response, url: str) -> Waiting:
    asked = _asked(response)
    wait_s = _UNSAID_S if asked is None else max(asked, 1.0)
    reason = f"asks to come back in {wait_s:.0f} s (HTTP {response.status_code})."
    return Waiting(f"{shown(url)} {reason}", not_before=not_before(wait_s))


def _asked(response: httpx2.Response) -> float | None:
    """Return what all `Retry-After` headers of a response ask at most, in [s]."""
    date = response.headers.get("date")
    asked = [retry_after(value, date=date, now=utc_now()) for value in response.headers.get_list("retry-after")]
    return max((seconds for seconds in asked if seconds is not None), default=None)


def _checked(url: str) -> httpx2.URL:
    """Return `url` as what will be connected to, or refuse it.

    Raises
    ------
    UsageError
        If it is unencrypted, holds a user name, or two readings of it name different hosts.
    """
    host = urlsplit(require_secure(url)).hostname or ""
    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        target = None
    if target is None or target.userinfo or target.host.rstrip(".") != host.rstrip("."):
        raise UsageError(f"{shown(url)!r} cannot be used as an address.", hint="Give it as https://host/path.")
    return target


def _redirect_target(response: httpx2.Response, url: str) -> str | None:
    """Return where a response sends us, None when it does not.

    Raises
    ------
    OriginRefused
        If that would leave encryption, or is no web address.
    """
    location = response.headers.get("location")
    if response.status_code not in _REDIRECTS or location is None:
        return None
    try:
        target = urljoin(url, location)
        _checked(target)
    except ValueError:
        raise OriginRefused(f"{shown(url)} redirects to an address that cannot be followed.") from None
    if urlsplit(url).scheme.lower() == "https" and urlsplit(target).scheme.lower() != "https":
        raise OriginRefused(f"{shown(url)} redirects to an unencrypted address, which was not followed.")
    return target


def _bounded(response: httpx2.Response, url: str, max_bytes: int) -> bytes:
    """Read a body whole, `max_bytes` at most once decoded.

    Raises
    ------
    UnexpectedAnswer
        If it is larger, or in a content coding that was not asked for.
    """
    chunks, size = [], 0
    for chunk in _decoded(response, url):
        size += len(chunk)
        if size > max_bytes:
            raise UnexpectedAnswer(f"{shown(url)} sent more than {max_bytes / (1 << 20):g} MiB.")
        chunks.append(chunk)
    return b"".join(chunks)


def _decoded(response: httpx2.Response, url: str) -> Iterator[bytes]:
    # One coding at a time: stacked ones can keep the processor busy for hours over a few kilobytes.
    if response.headers.get("content-encoding", "").strip().lower() not in _CODINGS:
        raise UnexpectedAnswer(f"{shown(url)} answered in a content coding that was not asked for.")
    return response.iter_bytes()


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
    ) -> None:
        self._auth = auth
        self._auth_origins = auth_origins
        self._patience = patience
        self._limits = limits
        self._wire = Wire(auth_origins)
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
        """Say whether requests to this URL's origin may carry credentials."""
        return origin_of(url) in self._auth_origins

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
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        try:
            with self._exchange(url, headers, attempt) as (response, final_url):
                answer = _answer(response, final_url, attempt, max_bytes)
                return answer, _asked(response)
        except LOST as error:
            failure = _no_answer(url, error)
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
        return self._post(httpx2.Request("POST", _checked(url), data=dict(form), headers=_heads(headers)), url)

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
        return self._post(httpx2.Request("POST", _checked(url), content=json.dumps(body), headers=headers), url)

    def _post(self, request: httpx2.Request, url: str) -> Answer:
        attempt = Attempt(self._limits)
        try:
            with closing(self._wire.send(request, attempt)) as response:
                return _answer(response, url, attempt, _FORM_ANSWER_BYTES)
        except LOST as error:
            failure = _no_answer(url, error)
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
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        with ExitStack() as stack:
            failure: NotReachable | None = None
            try:
                response, final_url = stack.enter_context(self._exchange(url, headers, attempt))
            except LOST as error:
                failure = _no_answer(url, error)
            if failure is not None:
                raise failure
            if response.status_code in BUSY[:2]:
                raise _waiting(response, url)
            attempt.stream_begins()
            read = partial(_decoded, response, final_url)
            yield Stream(response.status_code, dict(response.headers), final_url, read)

    @contextmanager
    def _exchange(self, url: str, headers: dict[str, str], attempt: Attempt) -> Iterator[tuple[httpx2.Response, str]]:
        """Follow redirects, and yield the last response with its URL."""
        target, signed = url, True
        for _ in range(_MAX_REDIRECTS + 1):
            request = httpx2.Request("GET", _checked(target), headers=_heads(headers))
            with closing(self._send(request, target, attempt, signed=signed)) as response:
                moved = _redirect_target(response, target)
                if moved is None:
                    yield response, target
                    return
            # Credentials that were left behind once stay behind, wherever the redirects lead next.
            signed = signed and origin_of(moved) == origin_of(target)
            target = moved
        raise UnexpectedAnswer(f"{shown(url)} redirects more than {_MAX_REDIRECTS} times.")

    def _send(self, request: httpx2.Request, url: str, attempt: Attempt, *, signed: bool) -> httpx2.Response:
        if self._auth is None or not signed or not self.may_sign(url):
            return self._wire.send(request, attempt)
        flow = self._auth.sync_auth_flow(request)
        try:
            outgoing = next(flow)
            while True:
                response = self._wire.send(outgoing, attempt)
                try:
                    outgoing = flow.send(_seen_by_auth(response, whole=outgoing is not request))
                except StopIteration:
                    return response
                except BaseException:
                    response.close()
                    raise
                response.close()
                _checked(str(outgoing.url))
        finally:
            flow.close()


def _seen_by_auth(response: httpx2.Response, *, whole: bool) -> httpx2.Response:
    """Return what an auth flow gets to see: its own requests' answers whole and bounded, of others the head only."""
    body = _bounded(response, str(response.request.url), _FORM_ANSWER_BYTES) if whole else b""
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
    return httpx2.Response(response.status_code, headers=headers, content=body, request=response.request)


def _heads(headers: Mapping[str, str]) -> dict[str, str]:
    return {"User-Agent": _USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip", **headers}


def _answer(response: httpx2.Response, url: str, attempt: Attempt, max_bytes: int) -> Answer:
    body = _bounded(response, url, max_bytes)
    date = response.headers.get("date")
    return Answer(
        status=response.status_code,
        headers=dict(response.headers),
        body=body,
        url=url,
        elapsed_s=attempt.elapsed_s,
        server_time=parse_http_date(date) if date else None,
    )
