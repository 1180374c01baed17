"""FHIR over HTTP: what a server declares, searches page by page, reads, outcomes, addresses of images."""

from s4s_lab.fhir.capability import Capability
from s4s_lab.fhir.content import content_hash
from s4s_lab.fhir.endpoints import ImageAddress, endpoint_references, image_addresses
from s4s_lab.fhir.outcomes import outcome_text
from s4s_lab.fhir.pages import Entry, Page
from s4s_lab.fhir.reading import Gone, read
from s4s_lab.fhir.references import patient_reference_of, study_uid_of
from s4s_lab.fhir.searching import search

__all__ = [
    "Capability",
    "Entry",
    "Gone",
    "ImageAddress",
    "Page",
    "content_hash",
    "endpoint_references",
    "image_addresses",
    "outcome_text",
    "patient_reference_of",
    "read",
    "search",
    "study_uid_of",
]
