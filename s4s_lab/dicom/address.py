"""Where a study is retrieved from, how it is asked for, and the folder its files go to."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from s4s_lab.values.origins import origin_of
from s4s_lab.values.uids import checked_uid

# Asked for one after the other while a server answers 400 or 406. `transfer-syntax=*` brings the archive's own bytes;
# without it a server may transcode. Some servers take the media type only quoted, others only as the S4S page has it.
ACCEPT: Final = (
    'multipart/related; type="application/dicom"; transfer-syntax=*',
    "multipart/related; type=application/dicom; transfer-syntax=*",
    "multipart/related; type=application/dicom",
    'multipart/related; type="application/dicom"',
)
_STUDY_TAIL = re.compile(r"/+studies(?:/+(?:urn:oid:)?[0-9.]+)?/*\Z", re.IGNORECASE)
_KEY_LENGTH = 16
# What signed addresses carry, as object stores and content networks name it. Some names are so short that they count
# only beside a signature.
_PASSING: Final = (
    r"x-(?:amz|goog)-.*|sig|signature|expires|policy|key-pair-id|googleaccessid|awsaccesskeyid|(?:access_)?token"
)
_PASSING_BESIDE_SIG: Final = r"s[deiprstv]|spr|sk(?:oid|tid|t|e|s|v)|ses|scid"


def _service(wado_base: str) -> tuple[str, str, str, str]:
    """Return scheme, host with port, path and query of the service, whatever form of its address was given."""
    origin_of(wado_base)
    parts = urlsplit(wado_base)
    path = _STUDY_TAIL.sub("", parts.path).rstrip("/")
    return parts.scheme, parts.netloc, path, parts.query


def study_url(wado_base: str, study_uid: str) -> str:
    """Return the address of a study at a WADO-RS service.

    Parameters
    ----------
    wado_base : str
        The address of an Endpoint: the service's base, with or without a trailing slash, or an address that already
        ends in `/studies` or `/studies/{uid}`. Its path (such as `$wado-rs`) and query stay as they are.
    study_uid : str
        With or without `urn:oid:`.

    Returns
    -------
    str
        `{base}/studies/{uid}`; joining twice changes nothing.

    Raises
    ------
    UsageError
        If `wado_base` is no http or https address.
    BadUid
        If `study_uid` is no UID.

    References
    ----------
    DICOM PS3.18, section 10.4. S4S imaging page: `GET {address}/studies/{uid}`, the uid without `urn:oid:`.
    """
    scheme, host, path, query = _service(wado_base)
    return urlunsplit((scheme, host, f"{path}/studies/{checked_uid(study_uid)}", query, ""))


def below(url: str, path: str) -> str:
    """Return an address further down: a series or an instance of a study.

    Parameters
    ----------
    url : str
        What `study_url` gave.
    path : str
        Begins with a slash; made of checked UIDs.

    References
    ----------
    DICOM PS3.18, section 10.4.1.1.
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + path))


def _unsigned(query: str) -> str:
    """Return a query without the parts that change each time an address is signed anew."""
    named = [(pair.partition("=")[0].lower(), pair) for pair in query.split("&")]
    has_sig = any(name == "sig" for name, _ in named)
    passing = re.compile(_PASSING + (f"|{_PASSING_BESIDE_SIG}" if has_sig else ""))
    return "&".join(pair for name, pair in named if not passing.fullmatch(name))


def archive_key(wado_base: str, patient_id: str) -> str:
    """Return the name of the folder for what one service holds of one patient.

    The same study from two services, or of two patients, never mixes; the name tells neither. An address that is signed
    anew each time it is looked up stays the same service's.

    Parameters
    ----------
    wado_base : str
        The service's address in any form that `study_url` takes; all forms give one key.
    patient_id : str
        The FHIR id of the patient.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    UsageError
        If `wado_base` is no http or https address.
    """
    _, _, path, query = _service(wado_base)
    identity = "\0".join((origin_of(wado_base), path, _unsigned(query), patient_id))
    return hashlib.sha256(identity.encode()).hexdigest()[:_KEY_LENGTH]
