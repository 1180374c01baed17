"""Which references name an Endpoint of the server itself."""

from __future__ import annotations

import pytest

from s4s_lab.sync.endpoints import endpoint_id

BASE = "https://ehr.example/fhir"


@pytest.mark.parametrize(
    "text", ["Endpoint/e1", f"{BASE}/Endpoint/e1", "Endpoint/e1/_history/3", f"{BASE}/Endpoint/e1/_history/2"]
)
def test_a_reference_to_the_server_itself_gives_the_id(text: str) -> None:
    assert endpoint_id(text, BASE) == "e1"


@pytest.mark.parametrize(
    "text",
    ["#e1", "", "Endpoint/", "Patient/e1", "https://other.example/fhir/Endpoint/e1", f"{BASE}er/Endpoint/e1",
     "https://pacs.example/studies/1.2", "urn:uuid:5"]
)  # fmt: skip
def test_another_servers_endpoint_is_never_taken_for_ours(text: str) -> None:
    assert endpoint_id(text, BASE) is None
