"""The STU3 FHIR server: metadata, read, search."""

from s4s_lab.sandbox.fhir.capability import capability_statement
from s4s_lab.sandbox.fhir.service import FhirService

__all__ = ["FhirService", "capability_statement"]
