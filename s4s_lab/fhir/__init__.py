"""FHIR over HTTP: what a server declares, searches page by page, reads, outcomes, addresses of images."""

from s4s_lab.fhir.capability import Capability
from s4s_lab.fhir.content import canonical_hash, content_digest, content_hash
from s4s_lab.fhir.endpoints import ImageAddress, endpoint_references, image_addresses
from s4s_lab.fhir.outcomes import outcome_text
from s4s_lab.fhir.pages import Entry, Page
from s4s_lab.fhir.reading import Gone, read
from s4s_lab.fhir.references import PATIENT_ELEMENTS, patient_reference_of, study_uid_of
from s4s_lab.fhir.searching import search

__all__ = [
    "PATIENT_ELEMENTS",
    "Capability",
    "Entry",
    "Gone",
    "ImageAddress",
    "Page",
    "canonical_hash",
    "content_digest",
    "content_hash",
    "endpoint_references",
    "image_addresses",
    "outcome_text",
    "patient_reference_of",
    "read",
    "search",
    "study_uid_of",
]
