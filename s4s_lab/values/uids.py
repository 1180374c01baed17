"""DICOM UIDs: with and without `urn:oid:`, checked before any path is built from one."""

from __future__ import annotations

import re

from s4s_lab.errors import BadUid

MAX_LENGTH = 64
# Leading zeros are against PS3.5 yet occur in real archives; they cannot leave a folder, so they pass here.
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_URN = re.compile(r"urn:oid:", re.IGNORECASE)


def is_uid(text: str) -> bool:
    """Say whether `text` has the form of a bare DICOM UID: ASCII digits and single dots, 64 characters at most.

    Parameters
    ----------
    text : str
        Without `urn:oid:`.

    References
    ----------
    DICOM PS3.5, section 9.1.
    """
    return len(text) <= MAX_LENGTH and _UID.fullmatch(text) is not None


def bare_uid(text: str) -> str:
    """Return `text` without `urn:oid:` and surrounding white space; nothing else is checked or changed.

    Parameters
    ----------
    text : str
        A UID as FHIR or DICOM writes it.

    References
    ----------
    S4S imaging page: "assume this uid was urn:oid:2.16.124…", used in the address without the prefix.
    """
    return _URN.sub("", text.strip(), count=1) if _URN.match(text.strip()) else text.strip()


def checked_uid(text: str) -> str:
    """Return the bare UID in `text`.

    Parameters
    ----------
    text : str
        A UID as FHIR or DICOM writes it, or anything that somebody sent in its place.

    Raises
    ------
    BadUid
        If what remains is no UID.
    """
    given: object = text
    if not isinstance(given, str):
        raise BadUid(f"{given!r} is no DICOM UID.", hint="Give it as text, such as '1.2.840.113619.2.1'.")
    uid = bare_uid(text)
    if not is_uid(uid):
        shown = uid if len(uid) <= MAX_LENGTH else uid[:MAX_LENGTH] + "…"
        raise BadUid(f"{shown!r} is no DICOM UID: digits and single dots are allowed, {MAX_LENGTH} characters at most.")
    return uid
