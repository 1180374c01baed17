"""Whatever a server writes into a next link, it is followed to the server itself or not at all."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

import httpx2
from hypothesis import example, given
from hypothesis import strategies as st

from s4s_lab.errors import OriginRefused
from s4s_lab.fhir.links import absolute, below, search_url

REQUEST = "https://ehr.example/fhir/ImagingStudy?patient=1"
BASE = "https://ehr.example/fhir"

pieces = st.sampled_from(
    ["https:", "http:", "//", "/", "\\", "ehr.example", "evil.example", "fhir", "@", ":", "443", "..", ".", "%2e",
     "%2f", "?", "#", ";", "[", "]", " ", "\t", "user", "%", "é", "①", "_getpages=1", "ImagingStudy"]
)  # fmt: skip
links = st.text(max_size=30) | st.lists(pieces, max_size=12).map("".join)


@given(links)
@example("https://ehr.example:443/fhir?page=2")
@example("https://ehr.example/fhir/..;/admin")
def test_a_link_that_is_followed_stays_at_home(link: str) -> None:
    try:
        target = below(BASE, absolute(REQUEST, link) or "", 1)
    except OriginRefused:
        return
    # The judge is another reader of URLs, and another one of paths.
    parsed = httpx2.URL(target)
    assert (parsed.scheme, parsed.host.rstrip("."), parsed.port) == ("https", "ehr.example", None)
    assert parsed.userinfo == b""
    path = posixpath.normpath(unquote(parsed.path))
    assert path == "/fhir" or path.startswith("/fhir/")


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_a_search_says_exactly_what_was_asked(parameters: dict[str, str]) -> None:
    url = httpx2.URL(search_url(BASE, "ImagingStudy", parameters))
    assert url.path == "/fhir/ImagingStudy"
    assert dict(url.params) == parameters
