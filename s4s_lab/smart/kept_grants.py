"""What is written of a grant: as JSON, with all that opens its connection again without a person."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import msgspec

from s4s_lab.errors import GrantExpired
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.secrets_in_json import hide, reveal
from s4s_lab.values import Registration

_FORMAT = 1


@dataclass(frozen=True)
class GrantOrigin:
    """Where a grant comes from: all that reopens its connection without a person.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL.
    token_endpoint : str
        The one that gave the grant; its refresh token goes to no other origin.
    registration : Registration
        The client that the grant is bound to.
    participant_id : str or None
        The study's own pseudonym.
    allowed_origins : frozenset of str
        What the user allowed besides the server itself.
    """

    fhir_url: str
    token_endpoint: str
    registration: Registration
    participant_id: str | None = None
    allowed_origins: frozenset[str] = frozenset()


@dataclass(frozen=True)
class KeptGrant:
    """A grant with its origin.

    Parameters
    ----------
    format : int
        Of the JSON.
    origin : GrantOrigin
        Where it comes from.
    grant : Grant
        The newest one.
    """

    format: int
    origin: GrantOrigin
    grant: Grant


@dataclass(frozen=True)
class Pointer:
    """What a file says whose grant lies in the system's keyring.

    Parameters
    ----------
    format : int
        Of the JSON.
    keyring : str
        Name of the entry.
    """

    format: int
    keyring: str


@dataclass(frozen=True)
class Ended:
    """What a file says whose grant was given back on purpose.

    Parameters
    ----------
    format : int
        Of the JSON.
    disconnected_at : datetime
        When.
    """

    format: int
    disconnected_at: datetime


def encode(origin: GrantOrigin, grant: Grant) -> bytes:
    """Return a grant as JSON, its secrets in the clear.

    Parameters
    ----------
    origin : GrantOrigin
        Where it comes from.
    grant : Grant
        The newest one.
    """
    return msgspec.json.format(msgspec.json.encode(KeptGrant(_FORMAT, origin, grant), enc_hook=reveal), indent=1)


def encode_pointer(entry: str) -> bytes:
    """Return what a file says whose grant lies in the keyring.

    Parameters
    ----------
    entry : str
        Name of the entry.
    """
    return msgspec.json.format(msgspec.json.encode(Pointer(_FORMAT, entry)), indent=1)


def encode_ended(disconnected_at: datetime) -> bytes:
    """Return what a file says whose grant was given back.

    Parameters
    ----------
    disconnected_at : datetime
        When; aware.
    """
    return msgspec.json.format(msgspec.json.encode(Ended(_FORMAT, disconnected_at)), indent=1)


def decode(content: bytes, where: str) -> KeptGrant | Pointer | Ended:
    """Return what was kept.

    Parameters
    ----------
    content : bytes
        From a file or the keyring.
    where : str
        For messages.

    Raises
    ------
    GrantExpired
        If it is damaged, or was written by another version.
    """
    kept: KeptGrant | Pointer | Ended
    try:
        kept = _other(content) or msgspec.json.decode(content, type=KeptGrant, dec_hook=hide)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise GrantExpired(f"{where} holds no grant that can be read.") from None
    if kept.format != _FORMAT:
        raise GrantExpired(f"{where} was written by another version.")
    return kept


def _other(content: bytes) -> Pointer | Ended | None:
    with suppress(msgspec.ValidationError):
        return msgspec.json.decode(content, type=Pointer)
    with suppress(msgspec.ValidationError):
        return msgspec.json.decode(content, type=Ended)
    return None
