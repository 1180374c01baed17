"""What may be said of a request in messages and logs: no query, no patient id, no token."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from s4s_lab.values.origins import without_query

# The SMART Imaging reference server puts a sealed token into the path; no id or UID is longer than 64 characters.
_LONG_SEGMENT = re.compile(r"(?<=/)[^/?#]{65,}")
_PATIENT_SEGMENT = re.compile(r"(?<=/Patient/)[^/?#]+")

_OURS: ContextVar[bool] = ContextVar("a request of ours is on the wire", default=False)


def shown(url: str) -> str:
    """Return `url` fit for a message: no query, no user name, no patient id or sealed token in its path.

    Parameters
    ----------
    url : str
        Any text; what is no URL is cut at its first `?`.

    Returns
    -------
    str
        Such as `https://ehr.example/fhir/ImagingStudy?…` or `https://ehr.example/fhir/Patient/…`.
    """
    path_only = without_query(url)
    return _LONG_SEGMENT.sub("…", _PATIENT_SEGMENT.sub("…", path_only))


class _NotOurs(logging.Filter):
    """Drop what the HTTP library logs of our requests: its debug records hold response headers such as `Location`."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  the signature is logging's
        return not _OURS.get()


for _name in ("connection", "http11", "proxy"):
    logging.getLogger(f"httpcore2.{_name}").addFilter(_NotOurs())


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep the HTTP library's own log silent inside the block; records of other programs' requests pass.

    Yields
    ------
    None
    """
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)
