"""The clauses of the S4S imaging page, numbered by us, and the page that says which tests prove them."""

from __future__ import annotations

from collections.abc import Mapping

Proofs = dict[str, set[str]]

CLAUSES: Mapping[str, str] = {
    "S4S-1": "`GET /metadata` returns a FHIR capability statement with SMART extensions for OAuth",
    "S4S-2": "confidential clients: a `client_id` and a `client_secret` authenticate the app to the EHR",
    "S4S-3": "standalone launch: the participant starts in the research app and is sent on to “connect to my EHR”",
    "S4S-4": "scopes `patient/*.read launch/patient offline_access` are asked for, and the patient's FHIR id is learnt",
    "S4S-5": "a `503` with `Retry-After` in seconds may answer any request; it is waited out before asking again",
    "S4S-6": "on first-connection: `GET /ImagingStudy?patient={patientId}`",
    "S4S-7": "on periodic-update: `GET /ImagingStudy?patient={patientId}&_lastUpdated=gt{lastCheck}`",
    "S4S-8": "on first-connection: `GET /ExplanationOfBenefit?patient={patientId}`",
    "S4S-9": "on periodic-update: `GET /ExplanationOfBenefit?patient={patientId}&_lastUpdated=gt{lastCheck}`",
    "S4S-10": "the broad queries are repeated now and then, to discover what may have fallen out of the record",
    "S4S-11": "`lastCheck` is a FHIR instant with milliseconds and a time zone",
    "S4S-12": "each ImagingStudy gives a `uid` and an `endpoint` that resolves to an Endpoint with the WADO address",
    "S4S-13": "the `uid` is written `urn:oid:…` and used bare in `{address}/studies/{uid}`",
    "S4S-14": "`GET {address}/studies/{uid}`, `Accept: multipart/related; type=application/dicom`, gives the images",
    "S4S-15": "the use case is aligned with FHIR STU3; requests accept FHIR JSON",
    "S4S-16": "encouraged, not required: OpenID Connect single sign-on, EHR launch, public clients",
}

_INTRODUCTION = """\
# Conformance to the S4S imaging page

Each clause of the imaging use case of the Sync for Science API documentation, in its order and in short words, with the
tests that prove it over the wire. This page is made from the tests' own markers by `make conformance`; a test compares
the two. A clause without a test is **open**.

| clause | says | proved by |
|---|---|---|
"""


def conformance_page(proofs: Proofs) -> str:
    """Return the page as Markdown: one row a clause, one test a line.

    Parameters
    ----------
    proofs : dict of str to set of str
        The names of the tests by clause number.
    """
    unknown = sorted(set(proofs) - set(CLAUSES))
    if unknown:
        raise ValueError(f"no such clause: {', '.join(unknown)}")
    rows = []
    for number, text in CLAUSES.items():
        tests = "<br>".join(f"`{name}`" for name in sorted(proofs.get(number, ()))) or "**open**"
        rows.append(f"| {number} | {text} | {tests} |\n")
    return _INTRODUCTION + "".join(rows)
