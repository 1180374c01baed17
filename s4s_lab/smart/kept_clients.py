"""Registrations that this program made itself, kept per issuer: a server meets one client, not one more a launch."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs
from filelock import FileLock, Timeout

from s4s_lab.errors import DatasetBusy, UsageError
from s4s_lab.net import HttpClient
from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.smart.registering import Registered, register_anew
from s4s_lab.smart.secrets_in_json import hide, reveal
from s4s_lab.values import S4S_SCOPE, Registration
from s4s_lab.values.origins import is_loopback
from s4s_lab.values.private_files import read_private, remove_private, replace_private, require_private_folder

# Longer than one request for a registration may take.
_LOCK_TIMEOUT_S = 150.0


def clients_folder(fhir_url: str) -> Path | None:
    """Return where registrations with a server are kept: below `S4S_HOME`, else in the user's state folder.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL. Servers of this very machine forget their clients when they stop, so theirs are kept only where
        `S4S_HOME` is set.
    """
    home = os.environ.get("S4S_HOME")
    if home:
        return Path(home) / "clients"
    return None if is_loopback(fhir_url) else platformdirs.user_state_path("s4s-lab") / "clients"


@dataclass(frozen=True)
class KeptClient:
    """The place of one registration.

    Parameters
    ----------
    path : Path or None
        Its file, of mode 0600 in a folder of mode 0700; None: it is not kept.
    """

    path: Path | None

    @classmethod
    def of(cls, configuration: SmartConfiguration, redirect_uri: str, scope: str = S4S_SCOPE) -> KeptClient:
        """Return the place for a server and what a client is registered for there.

        Parameters
        ----------
        configuration : SmartConfiguration
            Of the server; its issuer, else its token endpoint, tells servers apart.
        redirect_uri, scope : str
            As registered.
        """
        folder = clients_folder(configuration.fhir_url)
        issuer = configuration.issuer or configuration.token_endpoint
        key = hashlib.sha256("\n".join((issuer, redirect_uri, scope)).encode()).hexdigest()[:32]
        return cls(folder / f"{key}.json" if folder else None)

    def registered(
        self, client: HttpClient, configuration: SmartConfiguration, redirect_uri: str, scope: str = S4S_SCOPE
    ) -> Registration:
        """Return the kept registration while it lasts; else register, once for all who ask, and keep what comes of it.

        Parameters
        ----------
        client : HttpClient
            Needs no credentials.
        configuration : SmartConfiguration
            Of the server.
        redirect_uri, scope : str
            To be registered.

        Raises
        ------
        UsageError
            If it cannot be kept; the server is not asked then.
        DatasetBusy
            If another process keeps the place locked.
        S4SError
            As `register`.
        """
        with self._locked():
            kept = self._read()
            # A secret that ends during the launch would be found out only after the participant's consent.
            if kept is not None and (kept.expires_at == 0 or kept.expires_at > time.time() + 3600):
                return kept.registration
            made = register_anew(client, configuration, redirect_uri=redirect_uri, scope=scope)
            self._write(made)
            return made.registration

    def drop(self, registration: Registration) -> None:
        """Forget a registration, because the server has; not another one that was made meanwhile.

        Parameters
        ----------
        registration : Registration
            The one that the server does not know.

        Raises
        ------
        UsageError, DatasetBusy
            As `registered`.
        """
        if self.path is None:
            return
        with self._locked():
            kept = self._read()
            if kept is not None and kept.registration.client_id == registration.client_id:
                remove_private(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self.path is None:
            yield
            return
        lock = FileLock(self.path.with_suffix(".lock"), mode=0o600)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_private_folder(self.path.parent)
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except Timeout:
            raise DatasetBusy(f"Another process keeps {self.path.name} locked.") from None
        except OSError as error:
            raise self._unkept(error) from None
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> Registered | None:
        if self.path is None:
            return None
        try:
            return msgspec.json.decode(read_private(self.path), type=Registered, dec_hook=hide)
        except (FileNotFoundError, UsageError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _write(self, made: Registered) -> None:
        if self.path is None:
            return
        try:
            replace_private(self.path, msgspec.json.encode(made, enc_hook=reveal))
        except OSError as error:
            raise self._unkept(error) from None

    def _unkept(self, error: OSError) -> UsageError:
        where = self.path.parent if self.path else ""
        said = f"The registration cannot be kept in {where}: {error.strerror}."
        return UsageError(said, hint="Set S4S_HOME to a folder of yours.")
