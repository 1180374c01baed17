"""Every error and warning that S4S Lab raises on purpose.

The tree, indented by parent; in brackets the builtin that catches it too::

    S4SError
        UsageError [ValueError]             what the caller gave cannot be used
            NotFhir                         a file or answer that is no FHIR JSON
            ViewError                       a ViewDefinition that cannot be compiled
            BadUid                          text that is no DICOM UID
        AuthorizationError
            LaunchNotTried                  the launch could not start
            LaunchNotFinished [TimeoutError]   nobody answered in time
            LaunchRefused                   the server or the participant said no
            GrantExpired                    connect again
            AccessRefused [PermissionError] the grant does not cover this
        ServerError
            NotReachable [ConnectionError]  no answer at all
            NotSmart                        no SMART authorization declared
            UnexpectedAnswer                an answer outside the standard
                IncompletePull              pages are missing: nothing was kept
                PatientMismatch             a resource of somebody else
            OriginRefused                   a link leads to a host that was not allowed
        Waiting                             the server asked for more time than allowed
        DatasetError
            NotADataset [FileNotFoundError] the folder holds no dataset
            NotInDataset [LookupError]      no such table, connection or version
            DatasetBusy [TimeoutError]      another process is writing
            TableWouldChange                a table would lose columns, or have them with other types
        ImageError
            NotAVolume                      slices that do not make one volume
            TruncatedAnswer                 the closing boundary never came
            NotRetrievable [LookupError]    no address to retrieve a study from
    S4SWarning [UserWarning]
        NotDeclared                         the server does not declare what is needed; tried all the same
        EndpointsDiffer                     two discovery documents disagree
        ScopeNarrowed                       less was granted than asked
        TableBehind                         a table shows an older version of the log
        TableChanged                        a table was derived anew, since its view says other things
        ParseIssues                         elements a view could not place
        NotEverything                       a pull or a fetch ended without all it was asked for

An error's message says what was wrong, its `hint` what to do next. Neither holds a secret, or a patient id in a URL.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

FURTHEST: Final = timedelta(days=1)
"""No server puts anything off for longer, whatever it says: a typing error there shall not end a study here."""


class S4SError(Exception):
    """Every error this package raises on purpose.

    Parameters
    ----------
    message : str
        What was wrong, as one sentence.
    hint : str, optional
        What to do next, as one sentence. Defaults to the class's own.
    """

    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return " ".join(filter(None, [super().__str__(), self.hint]))


class UsageError(S4SError, ValueError):
    """What the caller gave cannot be used."""


class NotFhir(UsageError):
    """A file or an answer that is no FHIR JSON."""

    hint = "Expected a FHIR resource, a Bundle, or NDJSON with one resource a line."


class ViewError(UsageError):
    """A ViewDefinition that cannot be compiled; the message names the element."""


class BadUid(UsageError):
    """Text that is no DICOM UID (PS3.5, section 9.1)."""


class AuthorizationError(S4SError):
    """The authorization could not be had, or does not cover what was asked."""


class LaunchNotTried(AuthorizationError):
    """The launch could not start: no registration, no free port, nothing to discover."""


class LaunchNotFinished(AuthorizationError, TimeoutError):
    """Nobody came back from the server's consent page in time."""

    hint = "Open the link again and answer the consent page, or paste the address the browser ended on."


class LaunchRefused(AuthorizationError):
    """The server or the participant said no.

    Parameters
    ----------
    message : str
        What was refused, with the server's own description.
    error : str
        The OAuth 2.0 error code (RFC 6749, sections 4.1.2.1 and 5.2), or one of ours: `state_mismatch`, `no_state`,
        `issuer_mismatch`.
    hint : str, optional
        What to do next.
    """

    def __init__(self, message: str, *, error: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.error = error


class GrantExpired(AuthorizationError):
    """The grant has ended and cannot be renewed."""

    hint = "Connect again: the participant has to approve once more."


class AccessRefused(AuthorizationError, PermissionError):
    """The server knows who asks and refuses: the grant does not cover this (HTTP 403)."""

    hint = "Connect again with a wider scope, or leave this type out."


class ServerError(S4SError):
    """The server's answer cannot be used, or there was none."""


class NotReachable(ServerError, ConnectionError):
    """No answer at all: the name, the port or the network is wrong.

    Parameters
    ----------
    message : str
        Who did not answer.
    hint : str, optional
        What to do next.
    sent : bool, optional
        Whether the request was on its way already, so that the server may have acted on it.
    """

    hint = "Check the address, and that the server runs and can be reached from here."

    def __init__(self, message: str, *, hint: str | None = None, sent: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


class NotSmart(ServerError):
    """The server declares no SMART authorization (S4S: CapabilityStatement with `oauth-uris`)."""

    hint = "Check that the address is the FHIR base URL; without SMART on FHIR there is nothing to connect to."


class UnexpectedAnswer(ServerError):
    """An answer outside the standard: a wrong status, HTML where FHIR was due, a body too large.

    Parameters
    ----------
    message : str
        What came, as one sentence.
    hint : str, optional
        What to do next.
    status : int, optional
        The HTTP status, when that is what was wrong.
    """

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class IncompletePull(UnexpectedAnswer):
    """Not every page of a search arrived, so nothing of it was kept."""

    hint = "Nothing was changed; pull again later."


class PatientMismatch(UnexpectedAnswer):
    """The server answered with a resource of another patient; nothing of the pull was kept."""

    hint = "Nothing was changed; tell the server's operator."


class OriginRefused(ServerError):
    """A link leads to a host that this connection was not allowed to talk to."""

    hint = "If that host is right, allow its origin when you connect."


class Waiting(S4SError):
    """The server asked for more time than the caller allowed (HTTP 503 or 429 with Retry-After).

    Parameters
    ----------
    message : str
        Who asked for time.
    not_before : datetime
        The earliest moment to ask again, aware, UTC; a day ahead at most.
    """

    def __init__(self, message: str, *, not_before: datetime) -> None:
        self.not_before = min(not_before, datetime.now(UTC) + FURTHEST)
        # Rounded up, or whoever comes back at the second that is named comes too early.
        moment = (self.not_before + timedelta(microseconds=999_999)).astimezone(UTC)
        hint = f"Run the same again after {moment:%Y-%m-%d %H:%M:%S} UTC: what has arrived is kept."
        super().__init__(message, hint=hint)


class DatasetError(S4SError):
    """The dataset cannot be used as asked."""


class NotADataset(DatasetError, FileNotFoundError):
    """The folder holds no dataset of ours."""


class NotInDataset(DatasetError, LookupError):
    """The dataset has no such table, connection, study or version."""


class DatasetBusy(DatasetError, TimeoutError):
    """Another process holds what this one needs."""

    hint = "Wait until the other run has ended, then try again."


class TableWouldChange(DatasetError):
    """A table would lose columns, or have them with other types, because its view was changed."""

    hint = "Allow it: open_dataset(…, migrate=True), or s4s tables --migrate. The log keeps everything."


class ImageError(S4SError):
    """Images could not be retrieved or used."""


class NotAVolume(ImageError):
    """The images of a series do not make one volume: not parallel, not even, not at places of their own."""


class TruncatedAnswer(ImageError):
    """A multipart answer ended before its closing boundary (RFC 2046, section 5.1.1)."""

    hint = "What arrived whole is kept; fetch again to go on."


class NotRetrievable(ImageError, LookupError):
    """There is no address from which this study could be retrieved."""


class S4SWarning(UserWarning):
    """Every warning this package gives; `strict()` turns them into errors."""


class NotDeclared(S4SWarning):
    """The server does not declare something S4S needs; it is tried all the same."""


class EndpointsDiffer(S4SWarning):
    """`.well-known/smart-configuration` and `/metadata` name different authorization endpoints."""


class ScopeNarrowed(S4SWarning):
    """Fewer scopes were granted than asked: results may silently lack what they cover."""


class TableBehind(S4SWarning):
    """A table shows an older version of the resource log than the newest."""


class TableChanged(S4SWarning):
    """A table was derived anew from the log, because its view has more columns or says other things than before."""


class ParseIssues(S4SWarning):
    """A view met elements that it could not place in its columns."""


class NotEverything(S4SWarning):
    """A pull or a fetch ended without everything it was asked for; its report says what is missing."""


@contextmanager
def strict() -> Iterator[None]:
    """Turn every `S4SWarning` into an error inside the block.

    Yields
    ------
    None

    Examples
    --------
    >>> with strict():
    ...     warnings.warn(NotDeclared("The server declares no _lastUpdated."))
    Traceback (most recent call last):
        ...
    s4s_lab.errors.NotDeclared: The server declares no _lastUpdated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", S4SWarning)
        yield
