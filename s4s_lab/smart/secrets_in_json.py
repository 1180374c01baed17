"""Secrets in JSON: hidden from the moment they are read, in the clear only where they are written to be kept."""

from __future__ import annotations

from s4s_lab.values import Secret


def reveal(value: object) -> str:
    """Write a secret: an `enc_hook` for files that nobody else can read.

    Parameters
    ----------
    value : object
        What msgspec does not know.

    Raises
    ------
    NotImplementedError
        If it is no secret.
    """
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"{type(value).__name__} is not kept")


def hide(kind: type, value: object) -> Secret:
    """Read a secret: a `dec_hook`.

    Parameters
    ----------
    kind : type
        What is wanted.
    value : object
        What is there.

    Raises
    ------
    ValueError
        If a secret is not wanted, or is no text.
    """
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"a {kind.__name__.lower()} has to be text")
