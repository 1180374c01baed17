"""What servers say when they refuse: OperationOutcome, OAuth and plain errors, quoted without patient ids."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from s4s_lab.errors import AccessRefused, GrantExpired, S4SError, UnexpectedAnswer
from s4s_lab.fhir.elements import objects, text
from s4s_lab.net import Answer, shown
from s4s_lab.net.showable import traced_url

_QUOTED = 300
_URL = re.compile(r"https?://[^\s\"'<>]+")
_PATIENT = re.compile(
    r"(?i)\b(patient(?:/|%2f)|(?:patient|subject|beneficiary)(?:[:.][\w.]+)?=|(?:_id|identifier)=)[^\s&,;\"']+"
)
# A word with a digit in it that comes after "patient" is an id: "no patient smart-1288992 in the index".
_PATIENT_WORD = re.compile(r"(?i)\b(patient(?:\s+(?:with|id|_id|identifier))*[\s:]+[\"'(]?)(?=[^\s\d]*\d)[^\s&,;\"')]+")
_SECRET = re.compile(r"(?i)((?:token|code|secret|assertion|password)\s?=\s?|\bbearer\s+)[^\s&,;]+")


def quoted(words: str) -> str:
    """Return a server's own words fit for a message: one line, shortened, without secrets and patient ids.

    URLs are given by their shape only.

    Parameters
    ----------
    words : str
        What the server said, of any length.
    """
    line = " ".join(words.split())
    line = _URL.sub(lambda match: traced_url(match[0]), line)
    for pattern in (_PATIENT, _PATIENT_WORD, _SECRET):
        line = pattern.sub(r"\1…", line)
    return line if len(line) <= _QUOTED else line[: _QUOTED - 1] + "…"


def outcome_text(outcome: dict[str, Any]) -> str:
    """Return what an OperationOutcome says, `details.text` before `diagnostics` before `code`.

    Parameters
    ----------
    outcome : dict
        The OperationOutcome.

    References
    ----------
    FHIR STU3, OperationOutcome.
    """
    said = []
    for issue in objects(outcome.get("issue"))[:3]:
        details = issue.get("details")
        words = text(details.get("text")) if isinstance(details, dict) else None
        said.append(words or text(issue.get("diagnostics")) or text(issue.get("code")) or "")
    return quoted("; ".join(filter(None, said)))


def is_fatal(outcome: dict[str, Any]) -> bool:
    """Say whether an OperationOutcome reports an issue of severity `error` or `fatal`.

    Parameters
    ----------
    outcome : dict
        The OperationOutcome.
    """
    return any(issue.get("severity") in ("error", "fatal") for issue in objects(outcome.get("issue")))


def words_of(answer: Answer) -> str:
    """Return what the body of a refusal says, "" when it says nothing fit for a message.

    Parameters
    ----------
    answer : Answer
        The refusal; its body may be anything.
    """
    try:
        content = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        plain = answer.headers.get("content-type", "").lower().startswith("text/plain")
        return quoted(answer.body[:2000].decode("utf-8", "replace")) if plain else ""
    if not isinstance(content, dict):
        return ""
    if content.get("resourceType") == "OperationOutcome":
        return outcome_text(content)
    return quoted(text(content.get("error_description")) or text(content.get("error")) or "")


def refusal(answer: Answer) -> S4SError:
    """Return the error that a status other than 2xx stands for.

    Parameters
    ----------
    answer : Answer
        Of any status but 2xx.

    Returns
    -------
    GrantExpired
        For 401: renewing did not help, or there was nothing to renew.
    AccessRefused
        For 403.
    UnexpectedAnswer
        For every other status.
    """
    words = words_of(answer)
    message = f"{shown(answer.url)} answered HTTP {answer.status}" + (f": {words}" if words else ".")
    if answer.status == 401:
        return GrantExpired(message)
    if answer.status == 403:
        return AccessRefused(message)
    if answer.status >= 500:
        return UnexpectedAnswer(message, hint="The server failed; try again later.", status=answer.status)
    hint = "Check the FHIR base URL." if answer.status == 404 else None
    return UnexpectedAnswer(message, hint=hint, status=answer.status)
