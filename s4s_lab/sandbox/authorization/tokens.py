"""The endpoints that apps call themselves: token, revocation, introspection, registration."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from s4s_lab.sandbox.authorization.assertions import ASSERTION_TYPE, Assertions
from s4s_lab.sandbox.authorization.clients import Client, Clients
from s4s_lab.sandbox.authorization.grants import Grants
from s4s_lab.sandbox.authorization.identity import Identity
from s4s_lab.sandbox.site import Site
from s4s_lab.sandbox.web import NO_STORE, OAuthRefusal, json_answer, read_form

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="S4S Lab sandbox", charset="UTF-8"'}


def _basic(header: str) -> tuple[str, str]:
    """Return client id and secret of an Authorization header; both are form-urlencoded inside Basic."""
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise OAuthRefusal("invalid_client", "Use Basic authentication.", status=401, headers=_CHALLENGE)
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise OAuthRefusal("invalid_client", "The Basic header cannot be read.", status=401, headers=_CHALLENGE)
    return unquote_plus(client_id), unquote_plus(secret)


def _offered(header: str | None, form: dict[str, str]) -> tuple[str, str]:
    """Return the client id and secret that came, by Basic or in the body."""
    if header is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    if "client_secret" in form:
        raise OAuthRefusal("invalid_request", "Authenticate in one way: by Basic, or with client_secret.")
    return _basic(header)


class Tokens:
    """The authorization server's endpoints without a page.

    Parameters
    ----------
    site : Site
        Its addresses.
    clients : Clients
        Which apps are known.
    grants : Grants
        Codes and tokens.

    References
    ----------
    RFC 6749, sections 2.3, 4.1.3, 5 and 6; RFC 7009; RFC 7591; RFC 7662.
    """

    def __init__(self, site: Site, clients: Clients, grants: Grants) -> None:
        self._site = site
        self._clients = clients
        self._grants = grants
        self._identity = Identity(site)
        self._assertions = Assertions(site.oauth("token"))

    def _client(self, request: Request, form: dict[str, str]) -> Client:
        """Return the client that authenticated; public ones only name themselves."""
        if "client_assertion" in form or "client_assertion_type" in form:
            return self._signed(request, form)
        client_id, secret = _offered(request.headers.get("authorization"), form)
        client = self._clients.get(client_id)
        if client is None or form.get("client_id", client_id) != client_id:
            raise OAuthRefusal("invalid_client", "The client is unknown.", status=401, headers=_CHALLENGE)
        public = client.public and not secret
        if not public and not client.knows_secret(secret):
            raise OAuthRefusal("invalid_client", "The client secret is wrong.", status=401, headers=_CHALLENGE)
        return client

    def _signed(self, request: Request, form: dict[str, str]) -> Client:
        """Return the client that signed an assertion."""
        if "authorization" in request.headers or "client_secret" in form:
            raise OAuthRefusal("invalid_request", "Authenticate in one way: with a secret, or with client_assertion.")
        assertion = form.get("client_assertion", "")
        try:
            client = self._clients.get(self._assertions.issuer(assertion))
        except ValueError:
            client = None
        if client is None or not client.keys or form.get("client_id", client.client_id) != client.client_id:
            wrong: str | None = "it names no client with keys"
        elif form.get("client_assertion_type") != ASSERTION_TYPE:
            wrong = f"its type is not {ASSERTION_TYPE}"
        else:
            wrong = self._assertions.wrong(assertion, client.client_id, client.keys)
        if wrong or client is None:
            raise OAuthRefusal("invalid_client", f"The client_assertion is not accepted: {wrong}.", status=401)
        return client

    async def jwks(self, _: Request) -> Response:
        """Tell the key that ID tokens are signed with.

        Parameters
        ----------
        _ : Request
            Any GET.
        """
        return json_answer(self._identity.jwks())

    async def token(self, request: Request) -> Response:
        """Exchange a code or a refresh token for tokens.

        Parameters
        ----------
        request : Request
            A form, with the client's authentication.

        Raises
        ------
        OAuthRefusal
            With the error code of RFC 6749, section 5.2.
        """
        form = await read_form(request)
        client = self._client(request, form)
        grant_type = _required(form, "grant_type")
        self._grants.profile.fail_at("refresh" if grant_type == "refresh_token" else "token")
        if grant_type == "authorization_code":
            code, redirect_uri = _required(form, "code"), _required(form, "redirect_uri")
            answer = self._grants.redeem(client, code, redirect_uri=redirect_uri, verifier=form.get("code_verifier"))
            held = self._grants.find(answer["access_token"])
            if held is not None and "openid" in held.scope.split():
                approval = held.approval
                answer["id_token"] = self._identity.token(client.client_id, approval.patient_id, approval.nonce)
        elif grant_type == "refresh_token":
            answer = self._grants.refresh(client, _required(form, "refresh_token"), form.get("scope"))
        else:
            text = "Only authorization_code and refresh_token are offered."
            raise OAuthRefusal("unsupported_grant_type", text)
        return json_answer(answer, headers=NO_STORE)

    async def revoke(self, request: Request) -> Response:
        """End a token; unknown ones are no error.

        Parameters
        ----------
        request : Request
            A form, with the client's authentication.

        Raises
        ------
        OAuthRefusal
            `invalid_client`, or `invalid_request`.
        """
        form = await read_form(request)
        client = self._client(request, form)
        self._grants.revoke(client, _required(form, "token"))
        return Response(status_code=200, headers=NO_STORE)

    async def introspect(self, request: Request) -> Response:
        """Tell a registered, confidential client what a token is good for.

        Parameters
        ----------
        request : Request
            A form, with the client's authentication.

        Raises
        ------
        OAuthRefusal
            `invalid_client`, or `invalid_request`.
        """
        form = await read_form(request)
        client = self._client(request, form)
        if client.public:
            raise OAuthRefusal(
                "invalid_client", "Only clients with a secret or a key may ask.", status=401, headers=_CHALLENGE
            )
        held = self._grants.find(_required(form, "token"))
        answer: dict[str, Any] = {"active": held is not None}
        if held is not None:
            answer |= {
                "scope": held.scope,
                "client_id": held.approval.client_id,
                "patient": held.approval.patient_id,
                "sub": held.approval.patient_id,
                "iss": self._site.fhir_url,
                "iat": int(held.issued_at),
            }
            if held.kind == "access":
                answer |= {"token_type": "Bearer", "exp": int(held.expires_at)}
        return json_answer(answer, headers=NO_STORE)

    async def register(self, request: Request) -> Response:
        """Register an app.

        Parameters
        ----------
        request : Request
            Client metadata as JSON.

        Raises
        ------
        OAuthRefusal
            With the error code of RFC 7591, section 3.2.2.
        """
        try:
            metadata = msgspec.json.decode(await request.body())
        except (msgspec.DecodeError, UnicodeDecodeError):
            metadata = None
        if not isinstance(metadata, dict):
            raise OAuthRefusal("invalid_client_metadata", "The body must be a JSON object.")
        return json_answer(self._clients.register(metadata), 201, headers=NO_STORE)


def _required(form: dict[str, str], name: str) -> str:
    if name not in form:
        raise OAuthRefusal("invalid_request", f"{name} is missing.")
    return form[name]
