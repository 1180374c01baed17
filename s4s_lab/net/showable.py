"""What a trace may show of a URL or a header: words of the standards and harmless values; all else by its shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

HIDDEN: Final = "{hidden}"
_MOST_PARAMETERS = 40
_MOST_CHARACTERS = 200

_TYPE_NAMES = """
Account AllergyIntolerance Appointment Basic Binary Bundle CapabilityStatement CarePlan CareTeam Claim ClaimResponse
Composition Condition Conformance Coverage Device DiagnosticReport DocumentReference Encounter Endpoint
ExplanationOfBenefit Group HealthcareService ImagingManifest ImagingObjectSelection ImagingStudy Immunization
InsurancePlan List Location Media Medication MedicationRequest MedicationStatement Observation OperationOutcome
Organization Patient Person Practitioner PractitionerRole Procedure ProcedureRequest RelatedPerson ServiceRequest
"""
_PATH_WORDS = """
.well-known smart-configuration openid-configuration metadata fhir FHIR api API rest open hapi-fhir-jpaserver
r2 r3 r4 r4b r5 R2 R3 R4 dstu2 DSTU2 stu3 STU3 v1 v2 v3 v4 baseDstu2 baseDstu3 baseR4
wado wado-rs WADO-RS $wado-rs dicom-web dicomweb DICOMweb dicomWeb dcm4chee-arc aets rs rendered bulkdata thumbnail
auth oauth oauth2 authorize token register introspect revoke manage connect _search _history $everything
"""
_TYPES = frozenset(_TYPE_NAMES.split())
_WORDS = frozenset(_PATH_WORDS.split())
_AFTER = {"_history": "{version}", "studies": "{uid}", "series": "{uid}", "instances": "{uid}", "frames": "{frames}"}
_KNOWN = _TYPES | _WORDS | _AFTER.keys()

_TYPE = rf"(?:{'|'.join(sorted(_TYPES))})"
_PARAMETERS = {
    "_lastUpdated": r"(?:eq|ne|gt|lt|ge|le|sa|eb|ap)?\d{4}(?:-\d\d(?:-\d\d(?:T[\d:.]{4,16}(?:Z|[+-]\d\d:\d\d)?)?)?)?",
    "_since": r"\d{4}-\d\d-\d\d(?:T[\d:.]{4,16}(?:Z|[+-]\d\d:\d\d)?)?",
    "_count": r"\d{1,6}",
    "_offset": r"\d{1,6}",
    "_getpagesoffset": r"\d{1,6}",
    "_summary": "true|text|data|count|false",
    "_total": "none|estimate|accurate",
    "_format": r"(?:application/|text/)?(?:fhir[+]|json[+])?(?:json|xml|fhir|turtle|ndjson)",
    "_pretty": "true|false",
    "_sort": r"-?_(?:lastUpdated|id|count)",
    "_include": rf"{_TYPE}:(?:[*]|[a-z][a-z-]{{0,30}})(?::{_TYPE})?",
    "_revinclude": rf"{_TYPE}:(?:[*]|[a-z][a-z-]{{0,30}})(?::{_TYPE})?",
    "includefield": r"all|[0-9A-F]{8}",
}
_FIXED = {"patient": "{patient}", "subject": "{patient}", "beneficiary": "{patient}", "_id": "{id}"}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,23}(?::[A-Za-z-]{1,24})?", re.ASCII)

REQUEST_HEADERS = ("accept", "accept-encoding", "authorization", "content-type", "user-agent")
RESPONSE_HEADERS = (
    "content-encoding", "content-length", "content-type", "date", "etag", "retry-after", "server", "transfer-encoding",
    "www-authenticate",
)  # fmt: skip
_UNREADABLE = re.compile(r"[^\x20-\x7e]")
_MEDIA_TYPE = re.compile(
    r"""[*]/[*] | multipart/(?:related|mixed|form-data) | text/(?:html|plain|xml|json|css)
    | image/(?:jpeg|jp2|jls|png|gif|dicom-rle) | video/(?:mpeg|mp4)
    | application/(?:fhir[+])?(?:json|xml)(?:[+]fhir)? | application/dicom(?:[+](?:json|xml))?
    | application/(?:octet-stream|problem[+]json|x-www-form-urlencoded|pdf|zip|fhir[+]ndjson)""",
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)
_MEDIA_PARAMETERS = {
    "charset": re.compile(r"\"?(?:utf-?8|us-ascii|iso-8859-\d{1,2}|windows-\d{4})\"?", re.ASCII | re.IGNORECASE),
    "fhirversion": re.compile(r"\"?\d\.\d\"?", re.ASCII),
    "q": re.compile(r"[01](?:\.\d{1,3})?", re.ASCII),
}
_ETAG = re.compile(r"(?:W/)?\"?\d{1,6}\"?", re.ASCII)
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z-]{1,20})(?:\s|$)", re.ASCII)
_CHALLENGE_ERROR = re.compile(r"\berror=\"?([a-z_]{1,40})\"?(?=[,\s]|$)", re.ASCII)
_DATE_OR_NUMBER = re.compile(r"[\d.+-]{1,16}|[A-Za-z]{3,9},? [\w :,+-]{10,40}|[a-z]{1,12}", re.ASCII)
_CODINGS = re.compile(r"(?:(?:identity|gzip|x-gzip|deflate|br|zstd|compress|chunked)(?:, ?)?){1,6}", re.ASCII)
_PRODUCTS = re.compile(r"[A-Za-z][A-Za-z _-]{0,30}(?:/[\w.-]{1,20})?(?: [(][\w ;.,:/-]{0,40}[)])?", re.ASCII)


def traced_url(url: str) -> str:
    """Return a URL with its origin, the words of its path that every server shares, and its harmless parameters.

    Ids, UIDs and all that is not known become fixed words: `{id}`, `{uid}`, `{version}`, `{patient}`, `{hidden}`.

    Parameters
    ----------
    url : str
        Any text.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return HIDDEN
    if host is None:
        return HIDDEN
    shown_host = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{shown_host}" + (f":{port}" if port else "")
    return origin + _path(parts.path) + (f"?{_query(parts.query)}" if parts.query else "")


def kind_of(url: str) -> str:
    """Return what a URL asks for: a resource type, `studies`, or nothing that is known.

    Parameters
    ----------
    url : str
        Any text.
    """
    path = url.partition("?")[0].partition("#")[0]
    known = [segment for segment in path.split("/") if segment in _TYPES or segment in _AFTER]
    return known[0] if known else ""


def _path(path: str) -> str:
    shown, previous = [], ""
    for segment in path.split("/"):
        shown.append(_segment(segment, previous))
        previous = segment
    return "/".join(shown)


def _segment(segment: str, previous: str) -> str:
    if previous in _AFTER and segment:
        return _AFTER[previous]
    if previous in _TYPES and segment and segment[0] not in "_$":
        return "{id}"
    return segment if segment in _KNOWN or not segment else HIDDEN


def _query(query: str) -> str:
    shown = [_parameter(*pair.partition("=")) for pair in query.split("&")[:_MOST_PARAMETERS]]
    return "&".join(shown)


def _parameter(name: str, _: str, value: str) -> str:
    pattern = _PARAMETERS.get(name)
    if pattern and re.fullmatch(pattern, unquote(value), re.ASCII):
        return f"{name}={unquote(value)}"
    known = name.partition(":")[0]
    if known in _FIXED and _PLAIN_NAME.fullmatch(name):
        return f"{name}={_FIXED[known]}"
    # What has no value, or ends like base64, may be an opaque word all of it.
    if not value.strip("=") or not _PLAIN_NAME.fullmatch(name):
        return HIDDEN
    return f"{name}={HIDDEN}"


def traced_headers(headers: Iterable[tuple[str, str]], kept: tuple[str, ...]) -> dict[str, str]:
    """Return the headers of a short list, each with what is harmless in its value.

    Parameters
    ----------
    headers : iterable of tuple of str and str
        Names in any case; repeated ones are joined by commas.
    kept : tuple of str
        `REQUEST_HEADERS` or `RESPONSE_HEADERS`.
    """
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() in kept:
            found.setdefault(name.lower(), []).append(_header(name.lower(), value))
    return {name: ", ".join(values)[:_MOST_CHARACTERS] for name, values in found.items()}


def _header(name: str, value: str) -> str:
    text = _UNREADABLE.sub("?", value.strip()[:_MOST_CHARACTERS])
    if name in ("content-type", "accept"):
        return ", ".join(map(_media_type, text.split(",")))
    if name == "authorization":
        return f"{_scheme(text)} {HIDDEN}"
    if name == "www-authenticate":
        error = _CHALLENGE_ERROR.search(text)
        return _scheme(text) + (f' error="{error[1]}"' if error else "")
    return text if _HARMLESS[name].fullmatch(text) else HIDDEN


_HARMLESS: Mapping[str, re.Pattern[str]] = {
    "accept-encoding": _CODINGS,
    "content-encoding": _CODINGS,
    "content-length": re.compile(r"-?\d{1,20}", re.ASCII),
    "date": _DATE_OR_NUMBER,
    "etag": _ETAG,
    "retry-after": _DATE_OR_NUMBER,
    "server": _PRODUCTS,
    "transfer-encoding": _CODINGS,
    "user-agent": _PRODUCTS,
}


def _scheme(text: str) -> str:
    match = _SCHEME.match(text)
    return match[1] if match and match[1].lower() in ("bearer", "basic", "digest", "negotiate") else HIDDEN


def _media_type(text: str) -> str:
    main, *parameters = [part.strip() for part in text.split(";")]
    shown = [main if _MEDIA_TYPE.fullmatch(main) else HIDDEN]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        shown.append(parameter if _harmless_parameter(name.lower(), value) else f"{_parameter_name(name)}{HIDDEN}")
    return "; ".join(shown)


def _harmless_parameter(name: str, value: str) -> bool:
    if name == "type":
        return _MEDIA_TYPE.fullmatch(value.strip('"')) is not None
    return name in _MEDIA_PARAMETERS and _MEDIA_PARAMETERS[name].fullmatch(value) is not None


def _parameter_name(name: str) -> str:
    return f"{name}=" if name.lower() in ("boundary", "type", *_MEDIA_PARAMETERS) else ""
