"""Answers, whole and streamed, bounded in what their bodies may become."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import httpx2

from s4s_lab.errors import NotReachable, S4SError, UnexpectedAnswer, UsageError
from s4s_lab.net.failures import LOST, why
from s4s_lab.net.redaction import shown
from s4s_lab.values.instants import parse_http_date

_PIECE = 1 << 20
_CODINGS = frozenset({"", "identity", "gzip", "deflate"})


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
        UsageError
            If it was read before, or the block that opened it has ended.
        """
        failure: S4SError
        try:
            yield from filter(None, self._read())
        except httpx2.StreamError:
            failure = UsageError("A stream can be read once, inside the block that opened it.")
        except LOST as error:
            failure = NotReachable(f"{shown(self.url)} broke off: {why(error)}.", hint="Fetch again.")
        else:
            return
        raise failure


def whole(response: httpx2.Response, url: str, max_bytes: int, clock: Callable[[], float]) -> Answer:
    """Read a response to its end.

    Parameters
    ----------
    response : httpx2.Response
        Its body not yet read.
    url : str
        Where it came from.
    max_bytes : int
        The most its decoded body may be, in [bytes].
    clock : callable
        Tells how long the try has taken, in [s].

    Returns
    -------
    Answer
        The whole of it.

    Raises
    ------
    UnexpectedAnswer
        If the body is larger, or in a content coding that was not asked for.
    """
    body = bounded(response, url, max_bytes)
    date = response.headers.get("date")
    return Answer(
        status=response.status_code,
        headers=dict(response.headers),
        body=body,
        url=url,
        elapsed_s=clock(),
        server_time=parse_http_date(date) if date else None,
    )


def bounded(response: httpx2.Response, url: str, max_bytes: int) -> bytes:
    """Read a body whole, `max_bytes` at most once decoded.

    Parameters
    ----------
    response : httpx2.Response
        Its body not yet read.
    url : str
        Where it came from.
    max_bytes : int
        The most its decoded body may be, in [bytes].

    Raises
    ------
    UnexpectedAnswer
        If it is larger, or in a content coding that was not asked for.
    """
    chunks, size = [], 0
    for chunk in decoded(response, url):
        size += len(chunk)
        if size > max_bytes:
            raise UnexpectedAnswer(f"{shown(url)} sent more than {max_bytes} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def decoded(response: httpx2.Response, url: str) -> Iterator[bytes]:
    """Return a body's decoded chunks, 1 MiB each at most.

    Parameters
    ----------
    response : httpx2.Response
        Its body not yet read.
    url : str
        Where it came from.

    Raises
    ------
    UnexpectedAnswer
        If it is in a content coding that was not asked for.
    httpx2.DecodingError
        If what is coded by gzip is damaged, or ends before it says that it does; raised by the iterator.
    """
    # One coding at a time: stacked ones can keep the processor busy for hours over a few kilobytes.
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in _CODINGS:
        raise UnexpectedAnswer(f"{shown(url)} answered in a content coding that was not asked for.")
    return _gunzipped(response) if coding == "gzip" else response.iter_bytes()


def _gunzipped(response: httpx2.Response) -> Iterator[bytes]:
    """Decode gzip, and see that its end came: the HTTP layer takes a cut body for a whole one (RFC 1952, 2.3.1)."""
    inflate, came = zlib.decompressobj(zlib.MAX_WBITS | 16), False
    for raw in response.iter_raw():
        came, piece = came or bool(raw), b""
        # What a full piece had no room for may be all that is left, with no byte of input to go with it.
        while (raw or len(piece) == _PIECE) and not inflate.eof:
            try:
                piece = inflate.decompress(raw, _PIECE)
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from None
            raw = inflate.unconsumed_tail
            if piece:
                yield piece
    if came and not inflate.eof:
        raise httpx2.DecodingError("its gzip coding was cut")
