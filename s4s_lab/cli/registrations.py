"""Which client `s4s connect` is: as told by its options, by a file, or by the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from s4s_lab.errors import UsageError
from s4s_lab.smart import redirect_uri_here
from s4s_lab.values import S4S_SCOPE, Registration

_AT_THE_KEYBOARD = Path("-")


@dataclass(frozen=True)
class Told:
    """What the options say of the client.

    Parameters
    ----------
    client_id : str or None
        As registered.
    secret_file : Path or None
        Holds its secret; `-` asks for it at the keyboard.
    registration_file : Path or None
        Holds all of it.
    redirect_port : int or None
        Where the browser returns to on this machine.
    scope : str or None
        What to ask for.
    """

    client_id: str | None
    secret_file: Path | None
    registration_file: Path | None
    redirect_port: int | None
    scope: str | None

    @property
    def redirect_uri(self) -> str:
        """Where the browser returns to, if no registration says so."""
        port = self.redirect_port
        return redirect_uri_here() if port is None else f"http://127.0.0.1:{port}/callback"

    def registration(self) -> Registration | None:
        """Return the client; None when nothing is told, and one has to be registered.

        Raises
        ------
        UsageError
            If what is told does not go together, or a file cannot be read.
        """
        if self.client_id is not None and self.registration_file is not None:
            raise UsageError("Both --client-id and --registration name a client.", hint="Give one of them.")
        if self.client_id is None and self.secret_file is not None:
            raise UsageError("There is a client secret but no client id.", hint="Give --client-id.")
        if self.client_id is not None:
            return self._by_id(self.client_id)
        found = Registration.from_file(self.registration_file) if self.registration_file else None
        found = found or Registration.from_environment()
        if found is None and self.scope is not None:
            raise UsageError("--scope is for a client that is registered.", hint="Give --client-id or --registration.")
        if found is None:
            return None
        port = self.redirect_port
        return replace(
            found,
            scope=self.scope or found.scope,
            redirect_uri=found.redirect_uri if port is None else self.redirect_uri,
        )

    def _by_id(self, client_id: str) -> Registration:
        scope = self.scope or S4S_SCOPE
        if self.secret_file == _AT_THE_KEYBOARD:
            return Registration.ask(client_id, redirect_uri=self.redirect_uri, scope=scope)
        around = self._around(client_id) | {"S4S_REDIRECT_URI": self.redirect_uri, "S4S_SCOPE": scope}
        if self.secret_file is not None:
            around |= {"S4S_CLIENT_SECRET_FILE": str(self.secret_file)}
        found = Registration.from_environment(around)
        assert found is not None  # noqa: S101  for the type checker: its client id is there
        return found

    def _around(self, client_id: str) -> dict[str, str]:
        """Return what the environment says of this client: nothing, when it is about another one."""
        about = os.environ.get("S4S_CLIENT_ID") or client_id
        return {"S4S_CLIENT_ID": client_id} | (
            {name: value for name, value in os.environ.items() if name.startswith("S4S_") and name != "S4S_CLIENT_ID"}
            if about == client_id
            else {}
        )
