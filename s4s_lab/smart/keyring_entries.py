"""Secrets in the system's keyring, where there is one; never in a place that only looks like one."""

from __future__ import annotations

import secrets
from types import ModuleType

from s4s_lab.errors import GrantExpired, UsageError

_SERVICE = "s4s-lab"
_HINT = "Leave keyring out: the grant is then kept in its file, which nobody else can read."
_NO_KEYRINGS = ("keyring.backends.fail", "keyring.backends.null")


def require_keyring() -> None:
    """Find out whether secrets can be kept here, before a participant is asked for one.

    Raises
    ------
    UsageError
        If the keyring package or a keyring is missing, or does not give back what it was given.
    """
    name, probe = f"probe-{secrets.token_hex(8)}", secrets.token_hex(8)
    write_entry(name, probe.encode())
    kept = read_entry(name)
    delete_entry(name)
    if kept != probe.encode():
        raise UsageError("The keyring here does not give back what it was given.", hint=_HINT)


def read_entry(name: str) -> bytes:
    """Return what is kept under a name.

    Parameters
    ----------
    name : str
        As given to `write_entry`.

    Raises
    ------
    GrantExpired
        If nothing is kept there.
    UsageError
        If there is no keyring here.
    """
    keyring = _keyring()
    try:
        kept = keyring.get_password(_SERVICE, name)
    except Exception as error:  # back ends raise what they like, RuntimeError of a D-Bus session for one
        raise _unusable(error) from None
    if kept is None:
        raise GrantExpired("The grant is no longer in the keyring.")
    return str(kept).encode()


def write_entry(name: str, content: bytes) -> None:
    """Keep something under a name, in place of what was there.

    Parameters
    ----------
    name : str
        Of this program's own.
    content : bytes
        Text in UTF-8.

    Raises
    ------
    UsageError
        If there is no keyring here, or it does not take it.
    """
    keyring = _keyring()
    try:
        keyring.set_password(_SERVICE, name, content.decode())
    except Exception as error:  # back ends raise what they like, RuntimeError of a D-Bus session for one
        raise _unusable(error) from None


def delete_entry(name: str) -> None:
    """Delete what is kept under a name; nothing there is no error.

    Parameters
    ----------
    name : str
        As given to `write_entry`.

    Raises
    ------
    UsageError
        If there is no keyring here, or it does not let go.
    """
    keyring = _keyring()
    try:
        if keyring.get_password(_SERVICE, name) is not None:
            keyring.delete_password(_SERVICE, name)
    except Exception as error:  # back ends raise what they like, RuntimeError of a D-Bus session for one
        raise _unusable(error) from None


def _unusable(error: Exception) -> UsageError:
    # Its own words may quote what it was to keep.
    return UsageError(f"The keyring here cannot be used ({type(error).__name__}).", hint=_HINT)


def _keyring() -> ModuleType:
    try:
        import keyring
    except ModuleNotFoundError:
        raise UsageError(
            "Grants in the keyring need the package keyring.", hint='Install it: pip install "s4s-lab[keyring]".'
        ) from None
    if type(keyring.get_keyring()).__module__ in _NO_KEYRINGS:
        raise UsageError("There is no keyring on this machine.", hint=_HINT)
    return keyring
