"""The apps an authorization server knows, and how they register themselves."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from s4s_lab.sandbox.authorization.assertions import PublicKey, public_keys
from s4s_lab.sandbox.authorization.issued import issue
from s4s_lab.sandbox.authorization.scopes import grantable
from s4s_lab.sandbox.web import OAuthRefusal
from s4s_lab.values import S4S_SCOPE, Secret

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
MAX_CLIENTS = 1000
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Client:
    """One registered app.

    Parameters
    ----------
    client_id : str
        As assigned.
    name : str
        As shown on the consent page.
    redirect_uris : tuple of str
        Where the browser may be sent back to.
    secret : Secret or None
        None for public clients, and those with keys.
    keys : mapping of str to public key
        By `kid`; empty for clients without keys.
    """

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    secret: Secret | None
    keys: Mapping[str, PublicKey] = field(default_factory=dict, hash=False)

    @property
    def public(self) -> bool:
        """Whether it cannot prove who it is."""
        return self.secret is None and not self.keys

    def knows_secret(self, offered: str) -> bool:
        """Say whether this is the client's secret.

        Parameters
        ----------
        offered : str
            As it came.
        """
        return self.secret is not None and hmac.compare_digest(self.secret.reveal().encode(), offered.encode())

    def may_return_to(self, redirect_uri: str) -> bool:
        """Say whether the browser may be sent to `redirect_uri`.

        The text must be a registered one; public clients may use any port of a registered loopback address.

        Parameters
        ----------
        redirect_uri : str
            As asked.

        References
        ----------
        RFC 6749, section 3.1.2.3; RFC 8252, section 7.3.
        """
        if redirect_uri in self.redirect_uris:
            return True
        return self.public and any(_same_but_port(redirect_uri, known) for known in self.redirect_uris)


def _same_but_port(offered: str, registered: str) -> bool:
    try:
        one, other = urlsplit(offered), urlsplit(registered)
        port = one.port
    except ValueError:
        return False
    if other.scheme != "http" or other.hostname not in _LOOPBACK or port is None:
        return False
    shown = f"[{other.hostname}]" if ":" in other.hostname else other.hostname
    return one == other._replace(netloc=f"{shown}:{port}")


def _plain(uri: object) -> bool:
    """Say whether this is text of printable ASCII without a fragment."""
    return isinstance(uri, str) and "#" not in uri and all(32 < ord(c) < 127 for c in uri)


def _usable_redirect(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        # Reading the port checks it.
        _ = parts.port
    except ValueError:
        return False
    if parts.username is not None:
        return False
    if parts.scheme in ("http", "https"):
        return bool(parts.hostname) and (parts.scheme == "https" or parts.hostname in (*_LOOPBACK, "localhost"))
    # RFC 8252, section 7.1: a private-use scheme is a domain name in reverse, so `javascript:` and the like never pass.
    return "." in parts.scheme


class Clients:
    """Every registered app, safe to use from several threads."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()

    def add(self, client: Client) -> Client:
        """Keep a client; the oldest dynamic one gives way when there are too many.

        Parameters
        ----------
        client : Client
            The first one that is kept stays.
        """
        with self._lock:
            if len(self._clients) >= MAX_CLIENTS:
                # The first one is the demo client, which stays.
                del self._clients[list(self._clients)[1]]
            self._clients[client.client_id] = client
        return client

    def get(self, client_id: str | None) -> Client | None:
        """Return the client of an id, or None.

        Parameters
        ----------
        client_id : str or None
            As it came.
        """
        with self._lock:
            return self._clients.get(client_id or "")

    def register(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Register an app and return its registration as RFC 7591 wants it answered.

        Parameters
        ----------
        metadata : mapping
            The client metadata that the app sent.

        Raises
        ------
        OAuthRefusal
            If the metadata cannot be accepted.

        References
        ----------
        RFC 7591, sections 2 and 3.
        """
        redirect_uris = metadata.get("redirect_uris")
        if (
            not isinstance(redirect_uris, list)
            or not redirect_uris
            or not all(_plain(one) and _usable_redirect(one) for one in redirect_uris)
        ):
            raise OAuthRefusal(
                "invalid_redirect_uri",
                "redirect_uris must list https addresses, or http ones on 127.0.0.1, without a fragment.",
            )
        method = metadata.get("token_endpoint_auth_method", AUTH_METHODS[0])
        if method not in AUTH_METHODS:
            raise OAuthRefusal("invalid_client_metadata", f"token_endpoint_auth_method must be one of {AUTH_METHODS}.")
        scope = metadata.get("scope", S4S_SCOPE)
        name = metadata.get("client_name", "An app without a name")
        if not isinstance(scope, str) or not grantable(scope) or not isinstance(name, str):
            raise OAuthRefusal(
                "invalid_client_metadata", "scope and client_name must be text; no known scope is asked."
            )
        keys = _registered_keys(metadata) if method == "private_key_jwt" else {}
        secret = Secret(issue("secret")) if method.startswith("client_secret") else None
        client = Client(secrets.token_urlsafe(16), name[:200], tuple(redirect_uris), secret, keys)
        return self._registered(self.add(client), method, grantable(scope))

    def _registered(self, client: Client, method: str, scope: str) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "client_id": client.client_id,
            "client_id_issued_at": int(time.time()),
            "client_name": client.name,
            "redirect_uris": client.redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
            "scope": scope,
        }
        if client.secret is not None:
            answer |= {"client_secret": client.secret.reveal(), "client_secret_expires_at": 0}
        return answer


def _registered_keys(metadata: Mapping[str, Any]) -> dict[str, PublicKey]:
    try:
        return public_keys(metadata.get("jwks"))
    except ValueError as why:
        text = f"private_key_jwt needs jwks with public RSA (2048 bits) or EC P-384 keys, each with a kid: {why}."
        raise OAuthRefusal("invalid_client_metadata", text) from None
