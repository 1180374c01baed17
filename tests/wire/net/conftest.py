"""A clock that only sleeping moves, and certificates of an authority that the client is told to trust."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from s4s_lab.net import HttpClient, Limits, Patience, Wait
from tests.wire.net.servers import Script, Server, serving


@dataclass
class Slept:
    """Waits that were asked for, none of them spent."""

    waits: list[Wait] = field(default_factory=list)

    def patience(self, budget_s: float = 1800.0) -> Patience:
        return Patience(budget_s=budget_s, on_wait=self.waits.append, sleep=lambda _: None)

    @property
    def seconds(self) -> list[float]:
        return [wait.seconds for wait in self.waits]


@pytest.fixture
def slept() -> Slept:
    return Slept()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that SSL_CERT_FILE names."""
    authority = trustme.CA()
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return authority


@contextmanager
def talking(
    script: Script, patience: Patience | None = None, limits: Limits | None = None
) -> Iterator[tuple[Server, HttpClient]]:
    """Serve a script, and open a client that trusts nobody with anything."""
    with (
        serving(script) as server,
        HttpClient(patience=patience or Patience(), limits=limits or Limits()) as client,
    ):
        yield server, client


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Give the TLS settings of a server called `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
