"""Tables declared as SQL on FHIR ViewDefinitions: resources in, Arrow tables out. Pure: no network, no dataset.

References
----------
SQL on FHIR v2 (HL7): ViewDefinition.
"""

from __future__ import annotations

from s4s_lab.views.bundles import Document, Subject, checked_resource, decode, subjects_of
from s4s_lab.views.coding import CodedSchema, coded_of, decoded, repeating
from s4s_lab.views.columns import Column
from s4s_lab.views.heads import Provenance
from s4s_lab.views.loading import View, data_dictionary, load_view, packaged_views, read_view, table_schema
from s4s_lab.views.resources import FhirVersion, fhir_version_of, resource_key
from s4s_lab.views.running import run_coded, run_views

__all__ = [
    "CodedSchema",
    "Column",
    "Document",
    "FhirVersion",
    "Provenance",
    "Subject",
    "View",
    "checked_resource",
    "coded_of",
    "data_dictionary",
    "decode",
    "decoded",
    "fhir_version_of",
    "load_view",
    "packaged_views",
    "read_view",
    "repeating",
    "resource_key",
    "run_coded",
    "run_views",
    "subjects_of",
    "table_schema",
]
