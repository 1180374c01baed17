"""The body of a response as it comes: large plain ones straight from the connection, all others by the HTTP layer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpcore2
import httpx2

from s4s_lab.net.failures import LOST, why
from s4s_lab.net.tracing import Recording

# The most that is read at once: a piece of this size is still in the processor's cache when it is hashed and written.
_AT_ONCE = 256 << 10
# Bodies of this size are worth a connection of their own; smaller ones, as pages are, leave theirs to the next request.
_LARGE = 4 << 20
_NUMBER = re.compile(rb"\d{1,18}")


class Body(httpx2.SyncByteStream):
    """The body of one response, counted for the trace.

    The HTTP layer copies every byte of a body three times. It has nothing to say about a body that ends where the
    connection ends or after so many bytes, so only the first piece of a large one of these goes through it.

    Parameters
    ----------
    response : httpcore2.Response
        Its body not yet read.
    recording : Recording
        Takes note of what came.
    timeout : float or None
        How long the next bytes may take to come [s].

    References
    ----------
    RFC 9112, section 6.3.
    """

    def __init__(self, response: httpcore2.Response, recording: Recording, timeout: float | None) -> None:
        self._response = response
        self._recording = recording
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._pieces():
                self._recording.bytes += len(chunk)
                yield chunk
        except LOST as error:
            self._recording.end(why(error))
            raise
        self._recording.end("whole")

    def _pieces(self) -> Iterator[bytes]:
        pieces = iter(self._response.iter_stream())
        for first in pieces:
            yield first
            left = self._left(len(first))
            if left is None or left >= _LARGE:
                yield from self._straight(left)
                return
            break
        yield from pieces

    def _left(self, came: int) -> int | None:
        """Return how many bytes are to come after the first; None: until the connection ends, 0: not known."""
        said = {name.lower(): value for name, value in self._response.headers}
        if b"transfer-encoding" in said:
            return 0
        length = said.get(b"content-length")
        if length is None:
            return None
        return int(length) - came if _NUMBER.fullmatch(length) else 0

    def _straight(self, left: int | None) -> Iterator[bytes]:
        connection: httpcore2.NetworkStream = self._response.extensions["network_stream"]
        while left != 0:
            piece = connection.read(_AT_ONCE if left is None else min(left, _AT_ONCE), self._timeout)
            if not piece and left is None:
                return
            if not piece:
                raise httpcore2.RemoteProtocolError(f"the connection ended {left} bytes before the body's end")
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            yield piece

    def close(self) -> None:
        """Let go of the connection."""
        self._recording.end("left")
        # Who is in between may have read another length, and taken what follows for another answer. Closed first: once
        # the HTTP layer has the connection back, another thread may have it.
        if _says_two_lengths(self._response) or _has_more(self._response):
            self._response.extensions["network_stream"].close()
        self._response.close()


def _says_two_lengths(response: httpcore2.Response) -> bool:
    """Say whether an answer gives its length in two ways, so that no other may follow it (RFC 9112, section 6.3)."""
    names = {name.lower() for name, _ in response.headers}
    return {b"content-length", b"transfer-encoding"} <= names


def _has_more(response: httpcore2.Response) -> bool:
    """Say whether the HTTP layer holds bytes beyond an answer, which it would take for the next request's answer."""
    stream = getattr(response.stream, "_stream", None)
    state = getattr(getattr(stream, "_connection", None), "_h11_state", None)
    # Where it does not show its buffer, nothing says that it is empty.
    return state is None or bool(state.trailing_data[0])
