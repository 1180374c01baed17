"""What is quoted of a server's own words, and what is said of a link that is refused: no ids, no secrets."""

from __future__ import annotations

import pytest

from s4s_lab.errors import OriginRefused
from s4s_lab.fhir.links import below
from s4s_lab.fhir.outcomes import quoted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("no patient canary-77 in index; token=canary-1", "no patient … in index; token=…"),
        ("Patient with id 'canary-77' is not known", "Patient with id '…' is not known"),
        ("GET https://ehr.example/Patient/canary-77/y?token=canary", "GET https://ehr.example/Patient/…"),
        ("see http://ehr.example:80/fhir/ImagingStudy/canary-7", "see http://ehr.example:80/fhir/ImagingStudy/{id}"),
        ("ImagingStudy?patient:Patient=canary-77&code=canary", "ImagingStudy?patient:Patient=…&code=…"),
        ("access_token=canary client_secret = canary", "access_token=… client_secret = …"),
        ("client_assertion=canary, Authorization: Bearer canary", "client_assertion=…, Authorization: Bearer …"),
        ("Unknown search parameter for patient data", "Unknown search parameter for patient data"),
        ("The patient is not in scope (code 403).", "The patient is not in scope (code 403)."),
    ],
)
def test_words_of_a_server_are_quoted_without_ids_and_secrets(words: str, said: str) -> None:
    assert quoted(words) == said


@pytest.mark.parametrize("link", ["https://ehr.example/x/canary-77/y?z", "https://canary@other.example/fhir/canary"])
def test_of_a_refused_link_only_the_origin_is_named(link: str) -> None:
    with pytest.raises(OriginRefused, match=r"https://(ehr|other)\.example:443\.") as caught:
        below("https://ehr.example/fhir", link, 1)
    assert "canary" not in str(caught.value)
