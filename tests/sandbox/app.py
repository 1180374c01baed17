"""A research app as far as a server sees one: plain HTTP, none of the client's code."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from s4s_lab.sandbox import Sandbox
from s4s_lab.sandbox.browser import answer_consent

PARTICIPANT = 0


@dataclass
class App:
    """One app at one server, with the demo registration."""

    server: Sandbox
    http: httpx2.Client
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def root(self) -> str:
        return self.server.fhir_url.removesuffix("/fhir")

    @property
    def credentials(self) -> tuple[str, str]:
        registration = self.server.registration
        assert registration.client_secret is not None
        return registration.client_id, registration.client_secret.reveal()

    def asked(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a right authorization request, with some changed or left out (None)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        right: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.server.registration.client_id,
            "redirect_uri": self.server.registration.redirect_uri,
            "scope": self.server.registration.scope,
            "state": "a-state-of-the-app",
            "aud": self.server.fhir_url,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (right | changes).items() if value is not None}

    def authorize_url(self, **changes: str | None) -> str:
        return f"{self.root}/oauth/authorize?" + urlencode(self.asked(**changes))

    def answer(
        self, decision: str = "approve", participant: int = PARTICIPANT, **changes: str | None
    ) -> dict[str, str]:
        """Go through the consent page; what the redirect carries."""
        choice = {"decision": decision, "participant": self.server.participants[participant].patient_id}
        return query_of(answer_consent(self.authorize_url(**changes), choice))

    def token(self, form: dict[str, str | None], *, auth: tuple[str, str] | None = None) -> httpx2.Response:
        sent = {name: value for name, value in form.items() if value is not None}
        return self.http.post(f"{self.root}/oauth/token", data=sent, auth=auth or self.credentials)

    def exchange(self, code: str, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.server.registration.redirect_uri,
            "code_verifier": self.verifier,
        }
        return self.token(form | changes)

    def refresh(self, refresh_token: str, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self.token(form | changes)

    def tokens(self, participant: int = PARTICIPANT, **changes: str | None) -> dict[str, Any]:
        """Launch as a participant; what the token endpoint answers."""
        answered = self.exchange(self.answer("approve", participant, **changes)["code"])
        assert answered.status_code == 200, answered.text
        tokens: dict[str, Any] = answered.json()
        return tokens

    def reader(self, participant: int = PARTICIPANT, **changes: str | None) -> Reader:
        """Launch as a participant; what may now be read."""
        tokens = self.tokens(participant, **changes)
        return Reader(self, self.server.participants[participant].patient_id, tokens["access_token"])


@dataclass
class Reader:
    """An app with a token."""

    app: App
    patient_id: str
    access_token: str

    def get(self, url: str, accept: str | None = None, **parameters: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.access_token}"} | ({"Accept": accept} if accept else {})
        address = url if url.startswith("http") else f"{self.app.server.fhir_url}/{url}"
        return self.app.http.get(address, params=parameters or None, headers=headers)

    def search(self, resource_type: str, **parameters: str) -> dict[str, Any]:
        """One page of a search."""
        answered = self.get(resource_type, **parameters)
        assert answered.status_code == 200, answered.text
        bundle: dict[str, Any] = answered.json()
        return bundle

    def resources(self, resource_type: str, **parameters: str) -> list[dict[str, Any]]:
        """Every match of a search, page after page."""
        bundle = self.search(resource_type, **parameters)
        found = matches(bundle)
        while following := link(bundle, "next"):
            bundle = self.get(following).json()
            found += matches(bundle)
        return found

    def study_url(self, study: dict[str, Any]) -> str:
        return f"{self.app.server.wado_url}/studies/{study['uid'].removeprefix('urn:oid:')}"


def matches(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle.get("entry", []) if entry["search"]["mode"] == "match"]


def link(bundle: dict[str, Any], relation: str) -> str | None:
    return next((one["url"] for one in bundle["link"] if one["relation"] == relation), None)


def query_of(url: str) -> dict[str, str]:
    """The query of a URL; a name that comes twice is a fault."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert len(pairs) == len(dict(pairs)), url
    return dict(pairs)
