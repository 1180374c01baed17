"""What a trace shows of URLs and headers, case by case."""

from __future__ import annotations

import pytest

from s4s_lab.net.showable import REQUEST_HEADERS, RESPONSE_HEADERS, kind_of, traced_headers, traced_url

BASE = "https://ehr.example/fhir"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"{BASE}/metadata", f"{BASE}/metadata"),
        (f"{BASE}/.well-known/smart-configuration", f"{BASE}/.well-known/smart-configuration"),
        (f"{BASE}/Patient/smart-1288992", f"{BASE}/Patient/{{id}}"),
        (f"{BASE}/Endpoint/wado-rs", f"{BASE}/Endpoint/{{id}}"),
        (f"{BASE}/Patient/studies", f"{BASE}/Patient/{{id}}"),
        (f"{BASE}/Patient/_history?_count=5", f"{BASE}/Patient/_history?_count=5"),
        (f"{BASE}/Endpoint/7/_history/3", f"{BASE}/Endpoint/{{id}}/_history/{{version}}"),
        (f"{BASE}/ImagingStudy?patient=7&_summary=count", f"{BASE}/ImagingStudy?patient={{patient}}&_summary=count"),
        (f"{BASE}/Coverage?beneficiary:Patient=7", f"{BASE}/Coverage?beneficiary:Patient={{patient}}"),
        (f"{BASE}/ImagingStudy?_include=ImagingStudy:endpoint", f"{BASE}/ImagingStudy?_include=ImagingStudy:endpoint"),
        (f"{BASE}/X?_lastUpdated=gt2016-04-16", f"{BASE}/{{hidden}}?_lastUpdated=gt2016-04-16"),
        (f"{BASE}/X?_lastUpdated=alice", f"{BASE}/{{hidden}}?_lastUpdated={{hidden}}"),
        (f"{BASE}?_getpages=9b&_getpagesoffset=20", f"{BASE}?_getpages={{hidden}}&_getpagesoffset=20"),
        (f"{BASE}?page=2016&ct=YWxpY2U%3D", f"{BASE}?page={{hidden}}&ct={{hidden}}"),
        (f"{BASE}?YWxpY2U=", f"{BASE}?{{hidden}}"),
        (f"{BASE}?_lastUpdated=gt2016-04-01T02%3A52%3A32.000Z", f"{BASE}?_lastUpdated=gt2016-04-01T02:52:32.000Z"),
        ("https://ehr.example/v/r3/sim/eyJhIjoiYiJ9/fhir", "https://ehr.example/{hidden}/r3/{hidden}/{hidden}/fhir"),
        ("https://pacs.example/wado/studies/1.2/series/3.4", "https://pacs.example/wado/studies/{uid}/series/{uid}"),
        ("https://user:pass@ehr.example/fhir#frag", BASE),
        ("http://[::1]:80/fhir", "http://[::1]:80/fhir"),
        ("https://ehr.example:port/fhir", "{hidden}"),
        ("alice", "{hidden}"),
    ],
)  # fmt: skip
def test_urls_are_shown_by_their_shape(url: str, shown: str) -> None:
    assert traced_url(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Retry-After", "120", "120"),
        ("Retry-After", "1.5", "1.5"),
        ("Retry-After", "soon", "soon"),
        ("Retry-After", "Fri, 15 Apr 2016 10:00:00 GMT", "Fri, 15 Apr 2016 10:00:00 GMT"),
        ("Content-Type", "application/fhir+json; charset=UTF-8", "application/fhir+json; charset=UTF-8"),
        ("Content-Type", 'multipart/related; type="application/dicom"; boundary=x7',
         'multipart/related; type="application/dicom"; boundary={hidden}'),
        ("Content-Length", "31", "31"),
        ("ETag", 'W/"3"', 'W/"3"'),
        ("ETag", 'W/"alice"', "{hidden}"),
        ("Server", "nginx/1.25.3", "nginx/1.25.3"),
        ("WWW-Authenticate", 'Bearer error="insufficient_scope", scope="x"', 'Bearer error="insufficient_scope"'),
        ("WWW-Authenticate", "eyJhbGciOi", "{hidden}"),
        ("Transfer-Encoding", "chunked", "chunked"),
    ],
)  # fmt: skip
def test_headers_of_an_answer_are_shown_as_far_as_they_are_harmless(name: str, value: str, shown: str) -> None:
    assert traced_headers([(name, value)], RESPONSE_HEADERS) == {name.lower(): shown}


def test_headers_of_a_request_are_shown_without_credentials() -> None:
    sent = [("Authorization", "Bearer s3cret"), ("Accept", "application/fhir+json, */*;q=0.1"), ("Cookie", "s3cret")]
    assert traced_headers(sent, REQUEST_HEADERS) == {
        "authorization": "Bearer {hidden}",
        "accept": "application/fhir+json, */*; q=0.1",
    }


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"{BASE}/ImagingStudy?patient=7", "ImagingStudy"),
        (f"{BASE}/Endpoint/Patient", "Endpoint"),
        ("https://pacs.example/wado/studies/1.2/series/3.4", "studies"),
        (f"{BASE}?_getpages=x/Patient", ""),
    ],
)
def test_what_a_url_asks_for_is_told_by_its_path(url: str, kind: str) -> None:
    assert kind_of(url) == kind
