"""What the HTTP libraries raise when no whole answer came, in words of ours."""

from __future__ import annotations

import re

import httpcore2
import httpx2

from s4s_lab.errors import NotReachable
from s4s_lab.net.redaction import shown

LOST = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpx2.DecodingError,
)
"""No whole answer came."""

NEVER_THERE = (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.ProxyError)
"""Those of `LOST` that come before any byte was sent to the server."""

_CODES = re.compile(r"^(?:\[[^\]]*\]|_ssl\.c:\d+:)\s*|\s*\(_ssl\.c:\d+\)$")


def why(error: Exception) -> str:
    """Return the reason in words: without numbers of the system, and without what the server sent.

    Parameters
    ----------
    error : Exception
        One of `LOST`.
    """
    text = " ".join(str(error).split())
    if isinstance(error, httpcore2.ProtocolError):
        text = text.partition(":")[0]  # what follows quotes the offending line
    text = _CODES.sub("", text).rstrip(".")[:200]
    return text or type(error).__name__


def no_answer(url: str, error: Exception) -> NotReachable:
    """Return the error that says why a URL gave no whole answer.

    Parameters
    ----------
    url : str
        What was asked for.
    error : Exception
        One of `LOST`.
    """
    if isinstance(error, httpcore2.ProxyError):
        return NotReachable(f"The proxy gave no way to {shown(url)}: {why(error)}.", hint="Check HTTPS_PROXY.")
    sent = not isinstance(error, NEVER_THERE)
    return NotReachable(f"No whole answer from {shown(url)}: {why(error)}.", sent=sent)
