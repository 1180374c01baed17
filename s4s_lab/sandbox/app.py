"""The whole server as one ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from s4s_lab.sandbox.archive import Archive
from s4s_lab.sandbox.authorization import Consent, Grants, Tokens, authorization_routes, smart_configuration
from s4s_lab.sandbox.fhir import FhirService, capability_statement
from s4s_lab.sandbox.pages import error_page, start_page
from s4s_lab.sandbox.site import Site
from s4s_lab.sandbox.wado import WadoService
from s4s_lab.sandbox.web import (
    MAX_BODY_BYTES,
    FhirRefusal,
    Guard,
    OAuthRefusal,
    PageRefusal,
    json_answer,
    outcome,
)
from s4s_lab.values.instants import format_instant, utc_now

VERSION = "0.1"
_CODES = {404: "not-found", 405: "not-supported", 413: "too-long"}


@dataclass(frozen=True)
class Parts:
    """What an application is made of.

    Parameters
    ----------
    site : Site
        Its addresses.
    archive : Archive
        What it serves.
    consent, tokens : Consent and Tokens
        Its authorization server, with and without pages.
    grants : Grants
        Codes and tokens.
    retrieve_s : float
        How long the first retrieval of a study takes [s].
    """

    site: Site
    archive: Archive
    consent: Consent
    tokens: Tokens
    grants: Grants
    retrieve_s: float


async def _refused(request: Request, refusal: Exception) -> Response:
    """Answer a refusal in the language of the part that refused."""
    if not isinstance(refusal, HTTPException):
        raise refusal
    status, text, headers = refusal.status_code, refusal.detail, dict(refusal.headers or {})
    if isinstance(refusal, OAuthRefusal):
        return json_answer({"error": refusal.error, "error_description": text}, status, headers=headers)
    if isinstance(refusal, PageRefusal):
        return error_page(text, status=status)
    if isinstance(refusal, FhirRefusal):
        return outcome(status, refusal.code, text, headers)
    if request.url.path.startswith("/fhir"):
        return outcome(status, _CODES.get(status, "processing"), f"{text}.", headers)
    return PlainTextResponse(f"{text}\n", status, headers)


async def _failed(request: Request, _: Exception) -> Response:
    """Answer what must not happen; the traceback goes to the server's log, never to the client."""
    text = "The sandbox failed to answer this; the fault is its own."
    if request.url.path.startswith("/fhir"):
        return outcome(500, "exception", text)
    return PlainTextResponse(f"{text}\n", 500)


def _start(parts: Parts) -> Callable[[Request], Awaitable[Response]]:
    async def start(_: Request) -> Response:
        count = len(parts.archive.participants)
        return start_page(parts.site.fhir_url, parts.site.wado_url, parts.archive.notice, count)

    return start


def build_app(parts: Parts, hosts: frozenset[str] | None) -> Starlette:
    """Return the application.

    Parameters
    ----------
    parts : Parts
        What it is made of.
    hosts : frozenset of str or None
        Host names it answers to; None for any.
    """
    statement = capability_statement(parts.site, VERSION, format_instant(utc_now()))
    fhir = FhirService(parts.site, parts.archive, parts.grants, statement, smart_configuration(parts.site))
    wado = WadoService(parts.site, parts.archive, parts.grants, parts.retrieve_s)
    app = Starlette(
        routes=[
            Route("/", _start(parts), methods=["GET"]),
            *authorization_routes(parts.consent, parts.tokens),
            *fhir.routes(),
            *wado.routes(),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        max_body_size=MAX_BODY_BYTES,
    )
    # An address with a slash too many is none of this server's; a redirect would only hide that from the client.
    app.router.redirect_slashes = False
    return app
