"""Renew a grant so that an answer that is lost costs as little as it can: what was asked is noted before it is sent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from s4s_lab.errors import GrantExpired, NotReachable, PatientMismatch, S4SError, UnexpectedAnswer
from s4s_lab.smart.grants import Grant
from s4s_lab.values import Secret
from s4s_lab.values.instants import utc_now

# What the server was doing when its answer was lost should be over by then.
PAUSE_S = 2.0
_ANSWER_LOST = (
    "The server does not renew this grant any more: it had most likely done so before, and its answer with the next "
    "refresh token was lost on the way."
)
_LOST_TWICE = "This grant's renewal was asked for twice, and both answers were lost, so no program asks for it again."
_MOST_SENDS = 2
_SUCCESS, _UNAVAILABLE = range(200, 300), 503


@dataclass(frozen=True)
class Note:
    """What is known of the renewals that one refresh token was sent for.

    Parameters
    ----------
    token : str
        SHA-256 of the refresh token, so that the note holds for no other one, and tells it to nobody.
    asked_at : datetime
        When it was sent last.
    ended : str or None
        Why it is good for nothing any more; None as long as that is not known.
    sent : int
        How often it was sent without an answer that told what became of it.
    """

    token: str
    asked_at: datetime
    ended: str | None = None
    sent: int = 1


class Journal(Protocol):
    """Where the last note is kept; used under the store's lock only."""

    @property
    def place(self) -> str | None:
        """The file that holds the note; None when it is in memory."""
        ...

    def read(self) -> Note | None:
        """Return the last note, None when there is none."""
        ...

    def write(self, note: Note) -> None:
        """Keep a note in place of the last one; it is durable when this returns."""
        ...

    def clear(self) -> None:
        """Drop the last note."""
        ...


class MemoryJournal:
    """A `Journal` that ends with the process, as the grant does that it is kept beside."""

    place = None

    def __init__(self) -> None:
        self._note: Note | None = None

    def read(self) -> Note | None:
        """Return the last note, None when there is none."""
        return self._note

    def write(self, note: Note) -> None:
        """Keep a note in place of the last one."""
        self._note = note

    def clear(self) -> None:
        """Drop the last note."""
        self._note = None


def note_of(journal: Journal, token: Secret) -> Note | None:
    """Return what a journal knows of one refresh token.

    Parameters
    ----------
    journal : Journal
        Of the store that keeps the token.
    token : Secret
        The refresh token.
    """
    note = journal.read()
    return note if note is not None and note.token == _mark(token) else None


def renewed(grant: Grant, refresh: Callable[[Grant], Grant], journal: Journal) -> Grant:
    """Ask for the next grant; when the answer is lost, once more with the same refresh token, and never again.

    A server that rotates may take a second use of one refresh token for theft. But when the answer to the first was
    lost, nobody knows whether it rotated: asking once more is the only way that may save the participant's permission.

    Parameters
    ----------
    grant : Grant
        The newest one; the caller holds its store's lock.
    refresh : callable
        Asks the token endpoint.
    journal : Journal
        Tells what earlier processes asked, and never learnt the answer of.

    Returns
    -------
    Grant
        Not kept yet; the journal is to be cleared once it is.

    Raises
    ------
    GrantExpired
        If the server does not renew it, or the answers to two requests were lost; from then on without asking again.
    S4SError
        Whatever else `refresh` raises.

    References
    ----------
    SMART App Launch 2.2, "Best practices" (a refresh token is used once). RFC 9700, section 4.14.2. FAPI 2.0, 5.3.2.1.
    """
    if grant.refresh_token is None:
        return refresh(grant)
    before = note_of(journal, grant.refresh_token)
    if before is not None and before.ended:
        raise GrantExpired(before.ended)
    sent, last = before.sent if before is not None else 0, ""
    while sent < _MOST_SENDS:
        sent += 1
        try:
            return _sent(grant, refresh, journal, Note(_mark(grant.refresh_token), utc_now(), sent=sent))
        except (NotReachable, UnexpectedAnswer) as error:
            # One that answered has acted: whatever it said, sending again at once would be a second use.
            if isinstance(error, PatientMismatch) or not may_have_acted(error) or _answered(error):
                raise
            last = f" This came of the last: {error.args[0]}"
        if sent < _MOST_SENDS:
            time.sleep(PAUSE_S)
    raise GrantExpired(_LOST_TWICE + last, hint=_by_hand(journal))


def _sent(grant: Grant, refresh: Callable[[Grant], Grant], journal: Journal, note: Note) -> Grant:
    """Ask once, noted before; what is known of the refresh token afterwards stands in the journal."""
    journal.write(note)
    try:
        return refresh(grant)
    except (GrantExpired, PatientMismatch) as error:
        refused = isinstance(error, GrantExpired)
        ended = _ANSWER_LOST if refused and note.sent > 1 else error.args[0]
        journal.write(replace(note, ended=ended))
        if refused:
            raise GrantExpired(ended) from None
        raise
    except S4SError as error:
        if not may_have_acted(error):
            _take_back(journal, note)
        raise


def _take_back(journal: Journal, note: Note) -> None:
    """Note that a request used nothing up: it counts as never sent."""
    if note.sent > 1:
        journal.write(replace(note, sent=note.sent - 1))
    else:
        journal.clear()


def _by_hand(journal: Journal) -> str:
    again = "Connect again: the participant has to approve once more."
    if journal.place is None:
        return again
    return f"{again} If the server was merely out of order, delete {journal.place}: it is then asked for again."


class Watch:
    """Remembers whether the last renewal failed, and what that leaves."""

    def __init__(self) -> None:
        self.failure: S4SError | None = None
        self.refused = False

    @contextmanager
    def over(self, *, refused: bool) -> Iterator[None]:
        """Note how a renewal ends.

        Parameters
        ----------
        refused : bool
            Whether the access token is good for nothing any more, as the server refused it.
        """
        try:
            yield
        except S4SError as error:
            self.failure, self.refused = error, refused
            raise
        self.failure, self.refused = None, False


def may_have_acted(error: S4SError) -> bool:
    """Say whether a server may have done what it was asked for, although this is what came of it.

    Parameters
    ----------
    error : S4SError
        What the request ended with: no answer, a failure, or an answer of success that cannot be used.
    """
    if isinstance(error, NotReachable):
        return error.sent
    status = error.status if isinstance(error, UnexpectedAnswer) else None
    # RFC 9110, 15.6.4: a server that answers 503 does not handle the request.
    return status is not None and (status in _SUCCESS or (status >= 500 and status != _UNAVAILABLE))


def _answered(error: S4SError) -> bool:
    return isinstance(error, UnexpectedAnswer) and error.status in _SUCCESS


def _mark(token: Secret) -> str:
    return hashlib.sha256(token.reveal().encode()).hexdigest()
