"""A trace of what was asked and answered over HTTP, fit to be sent to the people who run the server."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4s_lab.errors import UsageError
from s4s_lab.net.showable import HIDDEN, REQUEST_HEADERS, RESPONSE_HEADERS, traced_headers, traced_url
from s4s_lab.values.instants import format_instant, utc_now

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("at", "method", "url", "attempt", "waited_s", "status", "bytes", "elapsed_s", "ended")
_SHOWN = 20


@dataclass(frozen=True)
class TracedExchange:
    """One request and what came back, without body, patient ids, tokens and secrets.

    Parameters
    ----------
    number : int
        Counts from 1 in the order in which requests were sent; a gap shows what was dropped, or has not ended yet.
    at : datetime
        When the request was sent, by this machine's clock, aware, UTC.
    method : str
        GET or POST.
    url : str
        As `showable.traced_url` gives it.
    request_headers, response_headers : mapping of str to str
        A few, names in lower case.
    attempt : int
        Which try of the same request, from 1; redirects and renewals of the grant belong to the same one.
    waited_s : float
        How long was waited before it, in [s].
    status : int or None
        The HTTP status; None when no answer came.
    bytes : int
        The size of the body as it came over the wire, in [bytes].
    elapsed_s : float
        From sending the request to the end of the body, in [s].
    ended : str
        How it ended: `whole`, `left` (the rest of the body was not read), or why it broke off.
    """

    number: int
    at: datetime
    method: str
    url: str
    request_headers: Mapping[str, str]
    attempt: int
    waited_s: float
    status: int | None
    response_headers: Mapping[str, str]
    bytes: int
    elapsed_s: float
    ended: str

    def to_json(self) -> dict[str, Any]:
        """Return the object that is one line of a saved trace."""
        times = {"waited_s": round(self.waited_s, 3), "elapsed_s": round(self.elapsed_s, 3)}
        return {**asdict(self), "at": format_instant(self.at), **times}


class Trace:
    """A bounded record of HTTP exchanges; shared by as many clients and threads as you like.

    Parameters
    ----------
    most : int
        How many exchanges are kept; the oldest ones are dropped, and counted in `dropped`.

    Examples
    --------
    >>> trace = Trace()
    >>> trace
    Trace: 0 exchanges
    """

    def __init__(self, *, most: int = 10_000) -> None:
        self._kept: deque[TracedExchange] = deque(maxlen=max(most, 1))
        self._begun = 0
        self._ended = 0
        self._words: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def hide(self, *words: str) -> None:
        """Replace further words wherever they would show, from the next exchange on.

        Parameters
        ----------
        *words : str
            Such as patient ids. Those of less than four characters are left to the rules that hide ids anyway.
        """
        with self._lock:
            self._words |= {word for word in words if len(word) > 3}

    @property
    def dropped(self) -> int:
        """How many exchanges were dropped since there were too many."""
        return self._ended - len(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[TracedExchange]:
        with self._lock:
            return iter(sorted(self._kept, key=lambda exchange: exchange.number))

    def next_number(self) -> int:
        """Return the number of the exchange that begins now."""
        with self._lock:
            self._begun += 1
            return self._begun

    def add(self, exchange: Recording) -> None:
        """Keep one exchange that has ended.

        Parameters
        ----------
        exchange : Recording
            As it was sent and answered; what is kept of it is made fit to be shown first.
        """
        sent = self._fit(traced_headers(exchange.request_headers, REQUEST_HEADERS))
        came = self._fit(traced_headers(exchange.response_headers, RESPONSE_HEADERS))
        url = self._fit({"": traced_url(exchange.url)})[""]
        kept = TracedExchange(
            number=exchange.number,
            at=exchange.at,
            method=exchange.method,
            url=url,
            request_headers=sent,
            attempt=exchange.attempt,
            waited_s=exchange.waited_s,
            status=exchange.status,
            response_headers=came,
            bytes=exchange.bytes,
            elapsed_s=exchange.elapsed_s,
            ended=exchange.ended,
        )
        with self._lock:
            self._ended += 1
            self._kept.append(kept)

    def _fit(self, texts: dict[str, str]) -> dict[str, str]:
        for word in self._words:
            texts = {name: text.replace(word, HIDDEN) for name, text in texts.items()}
        return texts

    def table(self) -> pd.DataFrame:
        """Return one row an exchange: at, method, url, attempt, waited_s, status, bytes, elapsed_s, ended."""
        import pandas as pd

        exchanges = list(self)
        frame = pd.DataFrame(
            {name: [getattr(exchange, name) for exchange in exchanges] for name in _COLUMNS},
            index=pd.Index([exchange.number for exchange in exchanges], name="number", dtype="int64"),
        )
        return frame.astype({"status": "Int64"})

    def save(self, path: Path | str) -> Path:
        """Write one JSON object a line and an exchange into a file of mode 0600, and return its path.

        Parameters
        ----------
        path : Path or str
            What is there is replaced.

        Raises
        ------
        UsageError
            If the file cannot be written.
        """
        target = Path(path)
        lines = (json.dumps(exchange.to_json()) + "\n" for exchange in self)
        try:
            _replace(target, lines)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UsageError(f"The trace cannot be written to {target}: {reason}.") from None
        return target

    def __repr__(self) -> str:
        exchanges = list(self)
        if not exchanges:
            return "Trace: 0 exchanges"
        lines = [_headline(len(exchanges), self.dropped), *map(_line, exchanges[-_SHOWN:])]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"


class Recording:
    """One exchange while it goes on; nothing of it is fit to be shown yet.

    Parameters
    ----------
    trace : Trace or None
        Where it is kept in the end; None keeps it nowhere.
    method, url : str
        What is asked.
    headers : sequence of tuple of str and str
        What is sent along.
    attempt : int
        Which try of the same request it is.
    waited_s : float
        How long was waited before it, in [s].
    """

    def __init__(
        self,
        trace: Trace | None,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        attempt: int,
        waited_s: float,
    ) -> None:
        self._trace = trace
        self.number = 0 if trace is None else trace.next_number()
        self.at = utc_now()
        self._began = time.monotonic()
        self.method = method
        self.url = url
        self.request_headers = headers
        self.attempt = attempt
        self.waited_s = waited_s
        self.status: int | None = None
        self.response_headers: Sequence[tuple[str, str]] = ()
        self.bytes = 0
        self.elapsed_s = 0.0
        self.ended = ""

    def answered(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Take note of the head of the answer.

        Parameters
        ----------
        status : int
            The HTTP status.
        headers : sequence of tuple of str and str
            All of them.
        """
        self.status = status
        self.response_headers = headers

    def end(self, how: str) -> None:
        """Keep it; the first end counts.

        Parameters
        ----------
        how : str
            `whole`, `left`, or why it broke off.
        """
        if self.ended:
            return
        self.ended = how
        self.elapsed_s = time.monotonic() - self._began
        if self._trace is not None:
            self._trace.add(self)


def _replace(target: Path, lines: Iterable[str]) -> None:
    # mkstemp gives mode 0600 whatever the umask, and what somebody else reads at `target` stays whole.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(lines)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _headline(count: int, dropped: int) -> str:
    noun = "exchange" if count == 1 else "exchanges"
    notes = [f"the last {_SHOWN} shown"] if count > _SHOWN else []
    notes += [f"{dropped} older ones dropped"] if dropped else []
    return f"Trace: {count} {noun}" + (f" ({', '.join(notes)})" if notes else "")


def _line(exchange: TracedExchange) -> str:
    waited = f" after {exchange.waited_s:.0f} s of waiting" if exchange.waited_s >= 0.5 else ""
    again = f" (try {exchange.attempt}{waited})" if exchange.attempt > 1 or waited else ""
    asked = exchange.response_headers.get("retry-after")
    ended = (f", Retry-After: {asked}" if asked else "") + ("" if exchange.ended == "whole" else f", {exchange.ended}")
    status = exchange.status or "no answer"
    size = f"{exchange.bytes} B in {exchange.elapsed_s:.2f} s"
    return f"{exchange.number:>5}  {status}  {exchange.method} {exchange.url}{again}: {size}{ended}"
