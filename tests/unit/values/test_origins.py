"""Origins: one spelling for each, and nothing of a query in a message."""

from __future__ import annotations

import pytest

from s4s_lab.errors import UsageError
from s4s_lab.values.origins import base_url, is_loopback, origin_of, require_secure, without_query


@pytest.mark.parametrize(
    "url",
    [
        "https://EHR.example/fhir",
        "https://ehr.example:443",
        "HTTPS://ehr.example./x?patient=1",
        "https://u:p@ehr.example/",
    ],
)
def test_spellings_of_one_origin_are_one(url: str) -> None:
    assert origin_of(url) == "https://ehr.example:443"


@pytest.mark.parametrize(
    "url",
    [
        "http://ehr.example",
        "https://ehr.example:8443",
        "https://ehr.example.evil.test",
        "https://ehr.example@evil.test",
    ],
)
def test_other_scheme_port_or_host_is_another_origin(url: str) -> None:
    assert origin_of(url) != "https://ehr.example:443"


@pytest.mark.parametrize(
    "url",
    ["", "ehr.example/fhir", "/fhir", "ftp://ehr.example", "https://", "https://ehr.example:IGNORED_FIELD/x",
     "https://ehr.example:0", "https://ehr.example:99999", "https://ehr.exa mple", "https:\\\\evil.test", "mailto:a@b",
     "https://[::1"]
)  # fmt: skip
def test_what_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no http or https address"):
        origin_of(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:8083/v1", "http://[::1]/", "http://127.9.9.9"])
def test_this_very_machine_is_known_and_may_go_unencrypted(url: str) -> None:
    assert is_loopback(url)
    assert require_secure(url) == url


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://localhost.evil.test", "http://127.0.0.1.evil.test"])
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    assert not is_loopback(url)
    with pytest.raises(UsageError, match="not encrypted"):
        require_secure(url)


def test_a_base_url_loses_slash_query_and_fragment() -> None:
    assert base_url("https://ehr.example/fhir//?a=1#b") == "https://ehr.example/fhir"
    assert base_url("https://ehr.example") == "https://ehr.example"


def test_a_message_shows_no_query_and_no_user() -> None:
    shown = without_query("https://user:word@ehr.example/ImagingStudy?patient=smart-1288992#x")
    assert shown == "https://ehr.example/ImagingStudy?…"
    assert without_query("https://[::1?patient=secret") == "https://[::1"
