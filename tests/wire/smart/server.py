"""A small SMART server, written from the standards alone: no code shared with the package, every request checked."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from s4s_lab.values import Registration, Secret

CLIENT_ID = "app one"
CLIENT_SECRET = "s4s_sandbox_secret_:/+ü%"
PATIENT = "smart-1288992"
OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


CAPABILITIES = (
    "launch-standalone",
    "context-standalone-patient",
    "client-confidential-symmetric",
    "client-public",
    "permission-patient",
    "permission-offline",
    "permission-v1",
)


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


@dataclass(frozen=True)
class Canned:
    """An answer that is given instead of the real one."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def statement_with(**endpoints: str) -> dict[str, Any]:
    """A CapabilityStatement as the S4S page asks for it: nested oauth-uris."""
    inner = [{"url": name, "valueUri": url} for name, url in endpoints.items()]
    security = {"extension": [{"url": OAUTH_URIS, "extension": inner}]}
    rest = [{"mode": "server", "security": security}]
    return {"resourceType": "CapabilityStatement", "fhirVersion": "3.0.1", "rest": rest}


class SmartServer:
    """Starts with both documents in agreement; tests bend what they are about."""

    def __init__(self, *, context: ssl.SSLContext | None = None, origin: str | None = None) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        self.origin = origin or f"http://127.0.0.1:{self.port}"
        self.fhir_url = f"{self.origin}/fhir"
        endpoints = {"authorize": f"{self.origin}/authorize", "token": f"{self.origin}/token"}
        self.well_known: dict[str, Any] | None = {
            "authorization_endpoint": endpoints["authorize"],
            "token_endpoint": endpoints["token"],
            "registration_endpoint": f"{self.origin}/register",
            "capabilities": list(CAPABILITIES),
            "code_challenge_methods_supported": ["S256"],
        }
        self.statement: dict[str, Any] | None = statement_with(**endpoints)
        self.asked: list[Asked] = []
        self.canned: dict[str, deque[Canned]] = defaultdict(deque)
        self.denies = False
        self.token_extras: dict[str, Any] = {"expires_in": 3600, "patient": PATIENT}
        self.rotates = True
        self.slow_s = 0.0
        self.hold = threading.Event()
        self.hold.set()
        self._codes: dict[str, dict[str, str]] = {}
        self._counter = 0
        self._lock = threading.Lock()
        self.access_tokens: set[str] = set()
        self.refresh_token: str | None = None
        self.registration = Registration(CLIENT_ID, Secret(CLIENT_SECRET), scope=_S4S_SCOPE)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._http.shutdown()
        self._http.server_close()

    def asked_for(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    def answer(self, asked: Asked) -> Canned:
        if self.canned[asked.path]:
            return self.canned[asked.path].popleft()
        if asked.path == "/fhir/.well-known/smart-configuration":
            return _document(self.well_known)
        if asked.path == "/fhir/metadata":
            return _document(self.statement)
        if asked.path == "/authorize":
            return self._authorize(asked.query)
        if asked.path == "/token" and asked.method == "POST":
            return self._token(asked)
        if asked.path.startswith("/fhir/"):
            token = asked.headers.get("authorization", "").removeprefix("Bearer ")
            return _json(200, {"resourceType": "Patient"}) if token in self.access_tokens else Canned(401)
        return Canned(404)

    def _authorize(self, query: dict[str, str]) -> Canned:
        answer = {"state": query["state"]}
        if self.denies:
            answer["error"] = "access_denied"
        else:
            answer["code"] = code = f"s4s_sandbox_code_{len(self._codes)}"
            self._codes[code] = query
        return Canned(302, headers={"Location": f"{query['redirect_uri']}?{urlencode(answer)}"})

    def _token(self, asked: Asked) -> Canned:
        if not _authenticated(asked):
            return _json(401, {"error": "invalid_client", "error_description": "client authentication failed"})
        self.hold.wait()
        with self._lock:
            if asked.form["grant_type"] == "refresh_token":
                valid = asked.form["refresh_token"] == self.refresh_token and "scope" not in asked.form
            else:
                valid = _redeems(asked.form, self._codes.pop(asked.form["code"], None))
            return self._grant() if valid else _json(400, {"error": "invalid_grant"})

    def _grant(self) -> Canned:
        self._counter += 1
        tokens = {"access_token": f"s4s_sandbox_access_{self._counter}", "token_type": "bearer", "scope": _S4S_SCOPE}
        if self.rotates or self.refresh_token is None:
            tokens["refresh_token"] = self.refresh_token = f"s4s_sandbox_refresh_{self._counter}"
        self.access_tokens = {tokens["access_token"]}
        return _json(200, {name: value for name, value in (tokens | self.token_extras).items() if value is not None})


_S4S_SCOPE = "patient/*.read launch/patient offline_access"


def _json(status: int, body: object) -> Canned:
    return Canned(status, json.dumps(body).encode())


def _document(document: dict[str, Any] | None) -> Canned:
    return Canned(404) if document is None else _json(200, document)


def _authenticated(asked: Asked) -> bool:
    """RFC 6749, section 2.3.1: id and secret are form-urlencoded, then joined for HTTP Basic."""
    scheme, _, encoded = asked.headers.get("authorization", "").partition(" ")
    client_id, _, secret = base64.b64decode(encoded).decode("ascii").partition(":")
    return scheme == "Basic" and (unquote_plus(client_id), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)


def _redeems(form: dict[str, str], asked_for: dict[str, str] | None) -> bool:
    """RFC 7636, section 4.6: BASE64URL(SHA256(verifier)) is the challenge; RFC 6749, 4.1.3: the same redirect URI."""
    digest = hashlib.sha256(form.get("code_verifier", "").encode("ascii")).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
    return (
        asked_for is not None
        and asked_for["code_challenge_method"] == "S256"
        and asked_for["code_challenge"] == challenge
        and asked_for["redirect_uri"] == form["redirect_uri"]
    )


def _handler(server: SmartServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            """Keep quiet."""

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_form = self.headers.get("Content-Type") == "application/x-www-form-urlencoded"
            form = dict(parse_qsl(body.decode(), strict_parsing=True)) if is_form else {"body": body.decode()}
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, query, headers, form)
            server.asked.append(asked)
            time.sleep(server.slow_s)
            answer = server.answer(asked)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

    return Handler
