"""Judge what the browser brought back: error first, then state, then issuer, then code."""

from __future__ import annotations

import hmac
import re
from urllib.parse import parse_qsl

from s4s_lab.errors import LaunchRefused, UsageError
from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.smart.refusals import refusal
from s4s_lab.values import Secret

_MAX_CHARACTERS = 16_384
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://|[/?]", re.IGNORECASE)
_KNOWN = ("code", "state", "iss", "error", "error_description")


def read_answer(redirected_to: str) -> dict[str, str]:
    """Return the parameters of an authorization response.

    Parameters
    ----------
    redirected_to : str
        The whole address the browser ended on, its query from `?` on, or bare `code=…&state=…`.

    Raises
    ------
    UsageError
        If there is no answer in it, it is longer than 16,384 characters, or a parameter occurs twice.

    References
    ----------
    RFC 6749, sections 3.1 (no parameter twice), 4.1.2 and 4.1.2.1.
    """
    text = redirected_to.strip().strip("<>\"'`").strip()
    if len(text) > _MAX_CHARACTERS:
        raise UsageError("This is too long to be an answer of the server.", hint="Copy the address alone.")
    query = text.partition("?")[2] if _ADDRESS.match(text) else text
    pairs = parse_qsl(query.partition("#")[0], keep_blank_values=True, errors="replace")
    known = [(name, value) for name, value in pairs if name in _KNOWN]
    answer = dict(known)
    if len(answer) != len(known):
        raise UsageError("This answer holds a parameter twice.", hint="Launch again with a fresh link.")
    if not answer.keys() & {"code", "error"}:
        raise UsageError(
            "This holds no answer of the server: neither code=… nor error=… is in it.",
            hint="Copy the whole address that the browser ended on after the consent page.",
        )
    return answer


def belongs_to(answer: dict[str, str], state: Secret) -> bool:
    """Say whether an answer may be taken for the one to the launch with this `state`.

    An error without any state counts: the S4S reference server denies that way, and it can only end a launch.

    Parameters
    ----------
    answer : dict of str to str
        From `read_answer`.
    state : Secret
        The launch's own.
    """
    if "state" not in answer:
        return "error" in answer
    return hmac.compare_digest(answer["state"].encode(errors="replace"), state.reveal().encode())


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
        In this order: an error of the server (`access_denied`, …), `state_mismatch`, `issuer_mismatch`,
        `invalid_request` for an answer without a code.

    References
    ----------
    RFC 6749, sections 4.1.2 and 10.12. RFC 9207, section 2.4: the issuer is compared as text, whenever it is sent, and
    has to be sent where the server says that it sends it.
    """
    if "error" in answer:
        raise refusal(answer["error"], answer.get("error_description", ""), secrets=[state])
    if not ("state" in answer and belongs_to(answer, state)):
        raise refusal("state_mismatch")
    issuer = answer.get("iss")
    if issuer is None and configuration.iss_parameter_supported:
        raise refusal("issuer_mismatch")
    if issuer is not None and configuration.issuer is not None and issuer != configuration.issuer:
        raise refusal("issuer_mismatch")
    if not answer.get("code"):
        raise LaunchRefused("The server's answer holds no code.", error="invalid_request", hint="Launch again.")
    return Secret(answer["code"])
