"""What is read from a connection at once."""

from __future__ import annotations

import httpcore2
import pytest

from s4s_lab.net.allowance import Allowance, Attempt, Limits
from s4s_lab.net.backend import _WatchedStream


class Plenty(httpcore2.NetworkStream):
    """A server so fast that as much has come as is asked for."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  the interface has it
        return bytes(max_bytes)


def test_a_page_that_comes_at_once_with_its_head_is_not_taken_for_an_endless_head() -> None:
    attempt = Attempt(Limits())
    stream, allowance = _WatchedStream(Plenty()), Allowance.of(attempt, 30.0)
    assert len(stream.read(65536, allowance)) == Limits().head_bytes
    attempt.body_begins()
    assert len(stream.read(65536, allowance)) == 1 << 20


def test_a_head_that_goes_on_beyond_its_limit_ends_the_attempt() -> None:
    stream, allowance = _WatchedStream(Plenty()), Allowance.of(Attempt(Limits()), 30.0)
    stream.read(65536, allowance)
    with pytest.raises(httpcore2.RemoteProtocolError, match="before the answer"):
        stream.read(65536, allowance)
