"""oidc-provider, an authorization server of another maker, on the loopback; and a person who consents there."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2

PEERS = Path(__file__).parent
NODE = PEERS / "node_modules" / "node" / "bin" / "node"
PROVIDER = PEERS / "node_modules" / "oidc-provider" / "package.json"
PATIENT = "p-of-the-provider"
STOP_S, MAX_STEPS = 10.0, 12


@dataclass(frozen=True)
class Provider:
    """A running provider.

    Parameters
    ----------
    port : int
        Where it listens.
    """

    port: int

    @property
    def issuer(self) -> str:
        """Its issuer identifier."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fhir_url(self) -> str:
        """The FHIR base URL behind it."""
        return f"{self.issuer}/fhir"

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return what it saw so far: each request to its token endpoint ("token"), each grant that it "revoked"."""
        seen: list[dict[str, Any]] = httpx2.get(f"{self.issuer}/events", trust_env=False).json()
        return [one for one in seen if one["event"] == event]


class _Page(HTMLParser):
    """The first form of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and self.action is None:
            self.action = given["action"]
        elif tag == "input" and given.get("name"):
            self.fields[given["name"]] = given.get("value") or "ann"


def consent(authorize_url: str, redirect_uri: str) -> str:
    """Log in and consent as a person does, and return where the app is sent; nothing is fetched there."""
    with httpx2.Client(trust_env=False, timeout=30) as http:
        answer = http.get(authorize_url)
        for _ in range(MAX_STEPS):
            if answer.has_redirect_location:
                target = urljoin(str(answer.url), answer.headers["location"])
                if target.startswith(redirect_uri):
                    return target
                answer = http.get(target)
                continue
            page = _Page(answer.text)
            assert page.action is not None, f"no form on the page: HTTP {answer.status_code}"
            answer = http.post(urljoin(str(answer.url), page.action), data=page.fields)
    raise AssertionError("the provider never sent the browser back")


@contextlib.contextmanager
def running_provider(
    clients: Sequence[Mapping[str, object]], log: Path, *, registers: Sequence[str] = ()
) -> Iterator[Provider]:
    """Run the provider for the block; it is ended by its own process id.

    `registers`: how clients that register themselves may prove who they are; none may when it is empty.
    """
    argument = json.dumps({"clients": clients, "patient": PATIENT, "registers": registers})
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [str(NODE), str(PEERS / "oidc.mjs"), argument], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, log.read_text(errors="replace")
        try:
            yield Provider(json.loads(first)["port"])
        finally:
            process.terminate()
            process.wait(STOP_S)
