"""What a research app is to a server: its client id, its secret or key, where the browser returns to."""

from __future__ import annotations

import getpass
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from s4s_lab.errors import UsageError
from s4s_lab.values.private_files import read_private
from s4s_lab.values.secret import Secret

S4S_SCOPE = "patient/*.read launch/patient offline_access"
DEMO_REDIRECT_URI = "http://127.0.0.1:8723/callback"
_MAX_SECRET_CHARACTERS = 65_536
_FIELDS = ("client_id", "client_secret", "redirect_uri", "scope", "private_key_file", "key_id", "pkce")
# Of a server's answer to a registration (RFC 7591), and like ours.
_OF_A_SERVER = ("redirect_uris", "client_name", "client_uri", "client_secret_expires_at", "client_id_issued_at")


def _typed(prompt: str) -> str:
    """Return what is typed without showing it; where there is no terminal, and so nothing to show, a line of stdin."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", getpass.GetPassWarning)
        return getpass.getpass(prompt)


def read_secret(path: Path) -> Secret:
    """Return the secret that a file holds, without the white space around it.

    Parameters
    ----------
    path : Path
        A text file, such as a container platform mounts.

    Raises
    ------
    UsageError
        If it cannot be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")[:_MAX_SECRET_CHARACTERS].strip()
    except OSError as error:
        raise UsageError(f"No secret can be read from {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"No secret can be read from {path}: it is no text.") from None
    if not text:
        raise UsageError(f"{path} holds no secret: it is empty.")
    return Secret(text)


@dataclass(frozen=True)
class PrivateKey:
    """A key by which a client proves who it is (`private_key_jwt`).

    Parameters
    ----------
    text : Secret
        RSA or EC P-384, as PEM or as a JSON Web Key.
    key_id : str or None
        The `kid` under which the server knows the public part; None: the JWK's own, or its thumbprint (RFC 7638).

    References
    ----------
    SMART App Launch 2.2, "Client authentication: asymmetric".
    """

    text: Secret
    key_id: str | None = None

    @classmethod
    def from_file(cls, path: Path, key_id: str | None = None) -> Self:
        """Read a key that nobody else can read.

        Parameters
        ----------
        path : Path
            Of mode 0600.
        key_id : str, optional
            The `kid` under which the server knows it.

        Raises
        ------
        UsageError
            If it cannot be read, or others can read it.
        """
        try:
            return cls(Secret(read_private(Path(path)).decode()), key_id)
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"No private key can be read from {path}.") from None


@dataclass(frozen=True)
class Registration:
    """A client as registered with one server.

    Parameters
    ----------
    client_id : str
        As assigned by the server.
    client_secret : Secret or None
        Present for clients that authenticate with a secret.
    redirect_uri : str
        Exactly as registered: the server compares the text. `http://127.0.0.1/callback`, without a port, of a public
        client: any port, chosen at each launch (RFC 8252, section 7.3).
    scope : str
        What to ask for; S4S needs `patient/*.read launch/patient offline_access`. `openid fhirUser` may be added.
    private_key : PrivateKey or None
        Present for clients that authenticate with a key; with neither key nor secret a client is public.
    pkce : bool
        Whether launches prove by PKCE that they began here. False is for a server that fails when it meets PKCE, and
        not for a public client, which has no other proof.

    Raises
    ------
    UsageError
        If a secret or key is bare text, which would be shown wherever the registration is, or a public client is to go
        without PKCE.

    References
    ----------
    S4S imaging page, "Authorization expectations", items 1 and 3. RFC 6749, section 2. RFC 9700, section 2.1.1.
    """

    client_id: str
    client_secret: Secret | None = None
    redirect_uri: str = DEMO_REDIRECT_URI
    scope: str = S4S_SCOPE
    private_key: PrivateKey | None = None
    pkce: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.client_secret, Secret | None):
            raise UsageError(
                "The client secret is bare text, which every repr and traceback would show.",
                hint="Use Registration.from_file, from_environment or ask, or wrap it: s4s_lab.values.Secret(text).",
            )
        if not isinstance(self.private_key, PrivateKey | None):
            raise UsageError("The private key is no PrivateKey.", hint="Use s4s_lab.values.PrivateKey.from_file(path).")
        if not (self.pkce or self.confidential):
            raise UsageError(
                "A public client cannot go without PKCE.", hint="Register with a secret or a key, or leave PKCE on."
            )

    @property
    def confidential(self) -> bool:
        """Whether the client authenticates, with a secret or a key."""
        return self.client_secret is not None or self.private_key is not None

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read a registration from a JSON file that nobody else can read.

        Parameters
        ----------
        path : Path or str
            An object with `client_id`, and what there is of `client_secret`, `redirect_uri`, `scope`,
            `private_key_file` (relative to the file), `key_id`, `pkce` (true or false); or an object that holds it as
            `registration`, such as the sandbox's ready-file.

        Raises
        ------
        UsageError
            If it cannot be used, or others can read it.
        """
        path = Path(path)
        try:
            found = json.loads(read_private(path))
        except UsageError:  # a ValueError too, which says that others can read it
            raise
        except (OSError, ValueError, RecursionError):
            raise UsageError(f"No registration can be read from {path}: no JSON file is there.") from None
        fields = found.get("registration", found) if isinstance(found, dict) else None
        if not isinstance(fields, dict):
            raise UsageError(f"{path} holds no registration.", hint='It needs a "client_id".')
        _require_known(fields, path)
        key_file = fields.get("private_key_file")
        key = PrivateKey.from_file(path.parent / key_file, fields.get("key_id")) if key_file else None
        secret = fields.get("client_secret")
        return cls._made(fields, Secret(secret) if secret else None, key, f"{path} holds")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self | None:
        """Read a registration from environment variables; None when S4S_CLIENT_ID is not among them.

        Parameters
        ----------
        environment : mapping of str to str, optional
            `S4S_CLIENT_ID`, and what there is of `S4S_CLIENT_SECRET_FILE` or `S4S_CLIENT_SECRET`,
            `S4S_CLIENT_KEY_FILE`, `S4S_CLIENT_KEY_ID`, `S4S_REDIRECT_URI`, `S4S_SCOPE`, `S4S_PKCE` (`0`: without);
            those of this process when it is left out.

        Raises
        ------
        UsageError
            If a file that is named cannot be read.
        """
        around = os.environ if environment is None else environment
        names = ("client_id", "client_secret", "client_secret_file", "client_key_file", "client_key_id")
        fields = {name: around.get(f"S4S_{name.upper()}") for name in (*names, "redirect_uri", "scope")}
        if not fields["client_id"]:
            return None
        secret_file, secret, key_file = (fields[f"client_{name}"] for name in ("secret_file", "secret", "key_file"))
        kept = read_secret(Path(secret_file)) if secret_file else Secret(secret) if secret else None
        key = PrivateKey.from_file(Path(key_file), fields["client_key_id"]) if key_file else None
        pkce = _switched(around.get("S4S_PKCE"), "S4S_PKCE")
        return cls._made(fields | {"pkce": pkce}, kept, key, "The environment has")

    @classmethod
    def ask(
        cls, client_id: str | None = None, *, redirect_uri: str = DEMO_REDIRECT_URI, scope: str = S4S_SCOPE
    ) -> Self:
        """Ask the person at the keyboard; the secret is not shown, and stands in no history.

        Parameters
        ----------
        client_id : str, optional
            Asked for when it is left out.
        redirect_uri, scope : str
            As registered.

        Raises
        ------
        UsageError
            If nothing was entered, or nobody is there to enter it.
        """
        try:
            client_id = client_id or input("Client id: ").strip()
            secret = _typed("Client secret (empty for a public client): ").strip()
        except EOFError:
            raise UsageError("Nobody is there to enter the client id and secret.") from None
        fields = {"client_id": client_id, "redirect_uri": redirect_uri, "scope": scope}
        return cls._made(fields, Secret(secret) if secret else None, None, "Nobody entered")

    @classmethod
    def _made(cls, fields: Mapping[str, Any], secret: Secret | None, key: PrivateKey | None, source: str) -> Self:
        if not fields.get("client_id"):
            raise UsageError(f"{source} no client id.")
        given = {name: fields[name] for name in ("redirect_uri", "scope") if fields.get(name)}
        return cls(fields["client_id"], secret, private_key=key, pkce=fields.get("pkce") is not False, **given)


def _require_known(fields: Mapping[str, Any], path: Path) -> None:
    """Refuse values of another kind, and names that are almost ours: a secret under a wrong name would be no secret.

    Others are let pass: a server's answer to a registration (RFC 7591) has many.
    """
    for name, value in fields.items():
        if name in _FIELDS and not isinstance(value, bool if name == "pkce" else str | None):
            kind = "true or false" if name == "pkce" else "a text"
            raise UsageError(f'{path} holds no registration: "{name}" is not {kind}.')
        meant = [] if name in _FIELDS or name in _OF_A_SERVER else get_close_matches(name, _FIELDS, 1, 0.75)
        if meant and meant[0] not in fields:
            raise UsageError(f'{path} says "{name}", which nothing is called.', hint=f'Is "{meant[0]}" meant?')


def _switched(text: str | None, name: str) -> bool:
    if text is None or text.strip().lower() in ("", "1", "true", "yes", "on"):
        return True
    if text.strip().lower() in ("0", "false", "no", "off"):
        return False
    raise UsageError(f"{name} is {text!r}, which is neither 1 nor 0.")
