"""Judge what the browser brought back: error first, then state, then issuer, then code."""

from __future__ import annotations

import hmac
import re
from urllib.parse import parse_qsl

from s4s_lab.errors import LaunchRefused, UsageError
from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.smart.refusals import refusal, without_state
from s4s_lab.values import Secret

_MAX_CHARACTERS = 16_384
_AROUND = "<>\"'`“”‘’«»"
_BARE = re.compile(r"[a-z_]+=", re.IGNORECASE)
_CODE_AND_STATE = re.compile(r"(?P<code>[^\s#?&:]+)#(?P<state>[^\s#?&:/=]+)")
_KNOWN = ("code", "state", "iss", "error", "error_description")


class Answer(dict[str, str]):
    """The parameters of an authorization response; a repr shows their names alone, as one of them is the code."""

    def __repr__(self) -> str:
        return f"Answer({', '.join(self)})"


def read_answer(redirected_to: str) -> Answer:
    """Return the parameters of an authorization response.

    Parameters
    ----------
    redirected_to : str
        The whole address the browser ended on, with or without `http://`, its query from `?` on, bare
        `code=…&state=…`, or `code#state` as some servers show it.

    Raises
    ------
    UsageError
        If there is no answer in it, it is longer than 16,384 characters, or a parameter occurs twice.

    References
    ----------
    RFC 6749, sections 3.1 (no parameter twice), 4.1.2 and 4.1.2.1.
    """
    found = _read(redirected_to)
    del redirected_to  # some tracebacks show what their frames hold
    if isinstance(found, UsageError):
        raise found
    return found


def _read(redirected_to: str) -> Answer | UsageError:
    # An address has no white space; a terminal that wraps it adds some.
    text = "".join(redirected_to.split()).strip(_AROUND)
    if len(text) > _MAX_CHARACTERS:
        return UsageError("This is too long to be an answer of the server.", hint="Copy the address alone.")
    known = [(name, value) for name, value in _pairs(text) if name in _KNOWN]
    answer = Answer(known)
    if len(answer) != len(known):
        return UsageError("This answer holds a parameter twice.", hint="Launch again with a fresh link.")
    if not answer.keys() & {"code", "error"}:
        return UsageError(
            "This holds no answer of the server: neither code=… nor error=… is in it.",
            hint="Copy the whole address that the browser ended on after the consent page.",
        )
    return answer


def _pairs(text: str) -> list[tuple[str, str]]:
    shown = _CODE_AND_STATE.fullmatch(text)
    if shown:
        return list(shown.groupdict().items())
    query = text if _BARE.match(text) else text.partition("?")[2]
    # What is copied from a page's source, or a chat, may have its ampersands escaped.
    query = query.partition("#")[0].replace("&amp;", "&")
    return parse_qsl(query, keep_blank_values=True, errors="replace")


def belongs_to(answer: dict[str, str], state: Secret) -> bool:
    """Say whether an answer is the one to the launch with this `state`.

    Parameters
    ----------
    answer : dict of str to str
        From `read_answer`.
    state : Secret
        The launch's own.
    """
    return hmac.compare_digest(answer.get("state", "").encode(errors="replace"), state.reveal().encode())


def names_no_launch(answer: dict[str, str]) -> bool:
    """Say whether an answer is an error without any state: the S4S reference server denies that way.

    Any page that the browser shows can send one here, so it ends no launch; a person is told of it.

    Parameters
    ----------
    answer : dict of str to str
        From `read_answer`.
    """
    return "error" in answer and "state" not in answer


def code_of(answer: dict[str, str], state: Secret, configuration: SmartConfiguration) -> Secret:
    """Return the authorization code of an answer that is ours.

    Parameters
    ----------
    answer : dict of str to str
        From `read_answer`.
    state : Secret
        The launch's own.
    configuration : SmartConfiguration
        Of the server that was asked.

    Raises
    ------
    LaunchRefused
        In this order: an error of the server (`access_denied`, …), `state_mismatch`, `issuer_mismatch` (where the
        server promises its issuer but has not told which it is, too),
        `invalid_request` for an answer without a code.

    References
    ----------
    RFC 6749, sections 4.1.2 and 10.12. RFC 9207, section 2.4: the issuer is compared as text, whenever it is sent, and
    has to be sent where the server says that it sends it.
    """
    if names_no_launch(answer):
        raise without_state(answer["error"])
    if "error" in answer:
        words = answer.get("error_description", "") if belongs_to(answer, state) else ""
        raise refusal(answer["error"], words, secrets=[state])
    if not belongs_to(answer, state):
        raise refusal("state_mismatch")
    issuer, known = answer.get("iss"), configuration.issuer
    # Where an issuer is promised it has to be there, and to be the one that is known.
    if configuration.iss_parameter_supported and (issuer is None or known is None):
        raise refusal("issuer_mismatch")
    if issuer is not None and known is not None and issuer != known:
        raise refusal("issuer_mismatch")
    if not answer.get("code"):
        raise LaunchRefused("The server's answer holds no code.", error="invalid_request", hint="Launch again.")
    return Secret(answer["code"])
