"""What every route of the sandbox shares: refusals, request bodies, security headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from s4s_lab.sandbox.media import FHIR_JSON

MAX_BODY_BYTES = 1 << 20
MAX_FIELDS = 200
_PORT = re.compile(r":\d+$")
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class FhirRefusal(HTTPException):
    """A FHIR request that is refused with an OperationOutcome.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        From FHIR STU3's issue types, such as `forbidden`.
    text : str
        A sentence for the client's developer.
    headers : mapping, optional
        Further headers of the answer.
    """

    def __init__(self, status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text, dict(headers or {}))
        self.code = code


class OAuthRefusal(HTTPException):
    """A request to the authorization server that is refused with an OAuth error in JSON.

    Parameters
    ----------
    error : str
        Error code of RFC 6749, section 5.2, or of RFC 7591, section 3.2.2.
    description : str
        A sentence for the client's developer.
    status : int
        HTTP status.
    headers : mapping, optional
        Further headers of the answer.
    """

    def __init__(
        self, error: str, description: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, description, NO_STORE | dict(headers or {}))
        self.error = error


class TextRefusal(HTTPException):
    """A request for images that is refused with a sentence in plain text.

    Parameters
    ----------
    status : int
        HTTP status.
    text : str
        A sentence for the client's developer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)


class PageRefusal(HTTPException):
    """A browser's request that is refused with a page, because it must not be sent on to any app.

    Parameters
    ----------
    text : str
        A sentence for the person in front of the browser.
    status : int
        HTTP status.
    """

    def __init__(self, text: str, *, status: int = 400) -> None:
        super().__init__(status, text)


def json_answer(
    content: Any, status: int = 200, *, headers: Mapping[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    """Answer with JSON.

    Parameters
    ----------
    content : object
        What msgspec can encode; `bytes` go out as they are.
    status : int
        HTTP status.
    headers : mapping, optional
        Further headers.
    media_type : str
        For Content-Type.
    """
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status, dict(headers or {}), media_type)


def outcome(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an OperationOutcome of one error.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Issue type.
    text : str
        The diagnostics.
    headers : mapping, optional
        Further headers.
    """
    issue = {"severity": "error", "code": code, "diagnostics": text}
    return json_answer(
        {"resourceType": "OperationOutcome", "issue": [issue]}, status, headers=headers, media_type=FHIR_JSON
    )


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form-urlencoded body.

    Parameters
    ----------
    request : Request
        A POST request.

    Raises
    ------
    OAuthRefusal
        If the body is no form, or a field comes twice.

    References
    ----------
    RFC 6749, section 3.2: parameters must not be included more than once, those without a value count as omitted.
    """
    media_type = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise OAuthRefusal("invalid_request", "The body must be application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise OAuthRefusal("invalid_request", "The body is no form.") from None
    if len(pairs) != len({name for name, _ in pairs}):
        raise OAuthRefusal("invalid_request", "A parameter came more than once.")
    return {name: value for name, value in pairs if value}


class Guard:
    """Middleware: answers only to its own host name, and marks every answer as not to be sniffed, framed or referred.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    hosts : frozenset of str or None
        Accepted host names, whatever port goes with them (some clients leave it out); None for any.

    References
    ----------
    RFC 9110, section 15.5.20 (421 Misdirected Request). A page elsewhere that rebinds its name to 127.0.0.1 must not
    reach the sandbox.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if self.hosts is not None and _PORT.sub("", host.lower()) not in self.hosts:
            await PlainTextResponse("This server answers to another host name.\n", 421)(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self.app(scope, receive, guarded)
