"""Starting and stopping: the port, the archive, uvicorn on a thread of its own."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from s4s_lab.errors import NotReachable, UsageError
from s4s_lab.sandbox.app import Parts, build_app
from s4s_lab.sandbox.archive import Archive
from s4s_lab.sandbox.archive.folders import folder_archive
from s4s_lab.sandbox.archive.synthetic import synthetic_archive
from s4s_lab.sandbox.authorization import Client, Clients, Consent, Grants, Tokens
from s4s_lab.sandbox.authorization.issued import issue
from s4s_lab.sandbox.profiles import checked_profile
from s4s_lab.sandbox.site import Site
from s4s_lab.values import Registration, Secret

CLIENT_ID = "s4s-lab-demo"
CLIENT_NAME = "S4S Lab"
START_S = 30.0
STOP_S = 10.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERY = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, never a default


@dataclass(frozen=True)
class Settings:
    """What a sandbox is started with; the fields are the arguments of `start`.

    Parameters
    ----------
    host : str
        Address to listen at.
    port : int
        Port, 0 for any that is free.
    profile : str
        Whose behaviour is shown.
    seed : int
        For the invented people.
    fhir, dicom : Path or None
        Folders of real files.
    link : Path or None
        JSON file: DICOM PatientID to FHIR Patient id.
    redirect_uri : str
        Of the demo registration.
    retrieve_s : float
        How long the first retrieval of a study takes [s].
    """

    host: str
    port: int
    profile: str
    seed: int
    fhir: Path | None
    dicom: Path | None
    link: Path | None
    redirect_uri: str
    retrieve_s: float


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        Port, 0 for any that is free.

    Raises
    ------
    UsageError
        If the port is taken, or the address is none of this machine.
    """
    hint = "Try 127.0.0.1 and port 0."
    if not 0 <= port < 1 << 16:
        raise UsageError(f"{port} is no port.", hint=hint)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError):
        raise UsageError(f"{host!r}, port {port} is no address to listen at.", hint=hint) from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as cause:
        bound.close()
        text = f"The sandbox cannot listen at {host}, port {port}: {os.strerror(cause.errno or 0).lower()}."
        raise UsageError(text, hint="Choose another port, or 0 for any that is free.") from None
    return bound


def _site(host: str, port: int) -> Site:
    shown = "127.0.0.1" if host in _EVERY else host
    return Site(f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}")


def _hosts(host: str) -> frozenset[str] | None:
    """Return the host names that a server on a loopback address answers to; any, when it listens to the network."""
    return frozenset({"127.0.0.1", "localhost", "[::1]"}) if host in _LOOPBACK else None


def _archive(settings: Settings, site: Site) -> Archive:
    if settings.fhir is None and settings.dicom is None:
        if settings.link is not None:
            raise UsageError("A link file links DICOM files to FHIR patients.", hint="Give the folders too.")
        return synthetic_archive(settings.seed, site.wado_url)
    return folder_archive(settings.fhir, settings.dicom, settings.link, site.wado_url)


class _Unlogged(H11Protocol):
    """HTTP whose addresses, with codes and patient ids in them, reach no log, whoever listens to uvicorn's."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.access_log = False


class _Uvicorn(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        self.answers.set()


class Running:
    """One server on a thread of its own.

    Parameters
    ----------
    settings : Settings
        What it is started with.

    Raises
    ------
    UsageError
        If the settings cannot be used.
    NotReachable
        If the server does not come up.
    """

    def __init__(self, settings: Settings) -> None:
        profile, self.profile = checked_profile(settings.profile), settings.profile
        bound = bind(settings.host, settings.port)
        port = bound.getsockname()[1]
        self.site = _site(settings.host, port)
        try:
            self.archive = _archive(settings, self.site)
        except BaseException:
            bound.close()
            raise
        self.registration = Registration(CLIENT_ID, Secret(issue("secret")), settings.redirect_uri)
        clients, self.grants = Clients(), Grants(profile=profile)
        clients.add(Client(CLIENT_ID, CLIENT_NAME, (settings.redirect_uri,), self.registration.client_secret))
        self.consent = Consent(self.site, self.archive, clients, self.grants)
        tokens = Tokens(self.site, clients, self.grants)
        parts = Parts(self.site, self.archive, self.consent, tokens, self.grants, settings.retrieve_s)
        app = build_app(parts, _hosts(settings.host))
        config = uvicorn.Config(
            app,
            http=_Unlogged,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Uvicorn(config)
        self._thread = threading.Thread(target=self._server.run, args=([bound],), name="s4s-sandbox", daemon=True)
        self._thread.start()
        if not self._server.answers.wait(START_S):
            raise NotReachable("The sandbox did not come up.")

    def stop(self) -> None:
        """Stop answering; open answers get a second to end."""
        self._server.should_exit = True
        self._thread.join(STOP_S)


def write_ready_file(path: Path, content: dict[str, Any]) -> None:
    """Write what a running sandbox says of itself; the file appears complete, readable by its owner only.

    Parameters
    ----------
    path : Path
        Where.
    content : dict
        Fields of the ready-file.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, ensure_ascii=False)
            file.write("\n")
        Path(beside).replace(path)
    except OSError as cause:
        reason = os.strerror(cause.errno or 0).lower()
        raise UsageError(f"The ready-file {path} cannot be written: {reason}.", hint="Choose another place.") from None
