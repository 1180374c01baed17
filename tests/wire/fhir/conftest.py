"""A client that signs with a canary, and FHIR answers that scripts are made of."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

import httpx2

from s4s_lab.net import HttpClient, Limits, Patience
from s4s_lab.values.origins import origin_of
from tests.wire.net.conftest import Slept, authority, no_proxies, server_context, slept
from tests.wire.net.servers import Request, Script, Server, reply, serving, tunnel_to

__all__ = ["Slept", "authority", "no_proxies", "server_context", "serving", "slept", "tunnel_to"]

TOKEN = "canary-7f31c0ffee"
PATIENT = "smart-1288992"


class Signed(httpx2.Auth):
    """Signs every request that it is shown."""

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        yield request


def signing(*urls: str, patience: Patience | None = None) -> HttpClient:
    """Open a client that signs requests to the origins of these URLs."""
    return HttpClient(
        auth=Signed(),
        auth_origins=frozenset(map(origin_of, urls)),
        patience=patience or Patience(sleep=lambda _: None),
        limits=Limits(read_s=5.0),
    )


@contextmanager
def talking(script: Script, *allowed: str) -> Iterator[tuple[Server, HttpClient]]:
    """Serve a script, and open a client that signs requests to it."""
    with serving(script) as server, signing(server.url, *allowed) as client:
        yield server, client


def bundle(*resources: object, next_url: str | None = None, **rest: object) -> bytes:
    """Give a searchset of these resources."""
    links = [{"relation": "next", "url": next_url}] if next_url is not None else []
    entries = [{"resource": resource} for resource in resources]
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries, **rest}).encode()


def study(number: int) -> dict[str, object]:
    """Give the smallest ImagingStudy."""
    return {"resourceType": "ImagingStudy", "id": str(number), "patient": {"reference": f"Patient/{PATIENT}"}}


def outcome(severity: str, words: str) -> dict[str, object]:
    """Give an OperationOutcome with one issue."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": "processing", "diagnostics": words}],
    }


def by_target(answers: Mapping[str, bytes]) -> Script:
    """Answer each target with its own bytes: a whole HTTP answer, or the body of a 200; 404 for every other."""

    def script(request: Request, connection: socket.socket) -> None:
        answer = answers.get(request.target)
        if answer is None:
            answer = reply(404, body=json.dumps(outcome("error", f"{request.target} is not known")).encode())
        whole = answer.startswith(b"HTTP/")
        connection.sendall(answer if whole else reply(200, "Content-Type: application/fhir+json", body=answer))

    return script


def targets(server: Server) -> list[str]:
    """Give what a server was asked for, in order."""
    return [request.target for request in server.requests]
