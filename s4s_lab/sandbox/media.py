"""Accept headers: what a client can take, and whether that can be given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A value may be a quoted string, or bare; the S4S page writes `type=application/dicom`, whose `/` no token allows.
_PARAMETER = re.compile(r';\s*(?P<name>[^\s=;,"]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^;,"]*))')
_RANGE = re.compile(
    rf"\s*(?P<type>[^\s;,]+)\s*(?P<parameters>(?:{_PARAMETER.pattern.replace('?P<', '?P<_')}\s*)*)\s*(?:,|$)"
)

FHIR_JSON = "application/fhir+json"
_FHIR_NAMES = frozenset({FHIR_JSON, "application/json+fhir", "application/json", "text/json", "json"})
_ANY = frozenset({"*/*", "application/*", "*"})


@dataclass(frozen=True)
class MediaRange:
    """One range of an Accept header.

    Parameters
    ----------
    name : str
        Type and subtype in lower case, such as `multipart/related`.
    parameters : dict
        Lower-case names to values, without `q`.
    quality : float
        0 means "not this".
    """

    name: str
    parameters: dict[str, str]
    quality: float


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0


def parse_accept(header: str | None) -> list[MediaRange]:
    """Read an Accept header; none at all means anything.

    Parameters
    ----------
    header : str or None
        The header's value; what cannot be read in it is skipped.

    References
    ----------
    RFC 9110, section 12.5.1.
    """
    ranges = []
    for found in _RANGE.finditer(header or "*/*"):
        parameters = {
            one["name"].lower(): re.sub(r"\\(.)", r"\1", one["quoted"])
            if one["quoted"] is not None
            else one["bare"].strip()
            for one in _PARAMETER.finditer(found["parameters"])
        }
        quality = _quality(parameters.pop("q", "1"))
        ranges.append(MediaRange(found["type"].lower(), parameters, quality))
    return ranges


def takes_fhir_json(accept: str | None, format_parameter: str | None) -> bool:
    """Say whether a client takes FHIR JSON; `_format` counts before the header.

    Parameters
    ----------
    accept : str or None
        The Accept header.
    format_parameter : str or None
        The `_format` parameter.

    References
    ----------
    FHIR STU3, "RESTful API": content types and encodings.
    """
    if format_parameter is not None:
        return format_parameter.split(";", 1)[0].strip().replace(" ", "+").lower() in _FHIR_NAMES
    return any(one.quality > 0 and one.name in _FHIR_NAMES | _ANY for one in parse_accept(accept))


def judge_dicom(accept: str | None, stored: Iterable[str]) -> str | None:
    """Judge an Accept header for a WADO-RS retrieval; return why nothing of it can be given, or None.

    Files go out exactly as stored, so a transfer syntax may be asked for only when it is the stored one.

    Parameters
    ----------
    accept : str or None
        The Accept header; `type` may be quoted or bare.
    stored : iterable of str
        Transfer syntax UIDs of the files.

    References
    ----------
    DICOM PS3.18, section 8.7.3; S4S imaging page: `Accept: multipart/related; type=application/dicom`.
    """
    syntaxes = set(stored)
    reason = 'Only multipart/related; type="application/dicom" can be given.'
    for one in parse_accept(accept):
        if one.quality == 0 or one.name not in ("*/*", "multipart/*", "multipart/related"):
            continue
        if one.parameters.get("type", "application/dicom").lower() not in ("application/dicom", "*/*"):
            continue
        wanted = one.parameters.get("transfer-syntax", "*")
        if wanted == "*" or syntaxes <= {wanted}:
            return None
        reason = (
            f"The files are stored as {', '.join(sorted(syntaxes))} and are not converted to {wanted[:64]}; "
            "ask for transfer-syntax=*."
        )
    return reason
