"""Reads of single resources: where references lead, what is gone, what is refused."""

from __future__ import annotations

import pytest

from s4s_lab.errors import GrantExpired, OriginRefused, PatientMismatch, UnexpectedAnswer, UsageError
from s4s_lab.fhir import Entry, Gone, image_addresses, read
from tests.wire.fhir.conftest import TOKEN, by_target, signing, study, talking, targets
from tests.wire.net.servers import answers, reply, serving

RAW = b'{ "resourceType": "Endpoint",\n "id": "e1", "address": "https://pacs.example/wado" }'
OK = reply(200, "Content-Type: application/fhir+json", body=RAW)


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("Endpoint/e1", "/fhir/Endpoint/e1"), (" Endpoint/e1 ", "/fhir/Endpoint/e1"),
        ("Endpoint/e1/_history/2", "/fhir/Endpoint/e1/_history/2"), ("{url}/fhir/Endpoint/e1", "/fhir/Endpoint/e1"),
        ("{url}/fhir/Endpoint/e1/_history/2?x=y", "/fhir/Endpoint/e1/_history/2"),
        ("{url}/other/Endpoint/e1/", "/other/Endpoint/e1"), ("{url}/Endpoint/e1", "/Endpoint/e1"),
    ],
)  # fmt: skip
def test_a_reference_is_read_where_it_leads(reference: str, target: str) -> None:
    with talking(answers(OK)) as (server, client):
        entry = read(client, f"{server.url}/fhir/", reference.format(url=server.url))
    assert isinstance(entry, Entry)
    assert (entry.resource_type, entry.resource_id, entry.mode, entry.raw) == ("Endpoint", "e1", "match", RAW)
    assert entry.full_url == f"{server.url}{target}"
    assert targets(server) == [target]
    assert server.requests[0].headers["accept"].startswith("application/fhir+json, application/json+fhir")
    assert server.seen(TOKEN) == 1


def test_a_byte_order_mark_is_no_part_of_a_resource() -> None:
    with talking(answers(reply(200, body=b"\xef\xbb\xbf" + RAW))) as (server, client):
        entry = read(client, server.url, "Endpoint/e1")
    assert isinstance(entry, Entry)
    assert entry.raw == RAW


def test_two_byte_order_marks_are_no_resource() -> None:
    with (
        talking(answers(reply(200, body=2 * b"\xef\xbb\xbf" + RAW))) as (server, client),
        pytest.raises(UnexpectedAnswer, match="begins with a byte order mark"),
    ):
        read(client, server.url, "Endpoint/e1")


@pytest.mark.parametrize("status", [404, 410, 403])
def test_what_is_not_there_is_gone(status: int) -> None:
    with talking(answers(reply(status))) as (server, client):
        assert read(client, server.url, "ImagingStudy/1") == Gone(status)  # type: ignore[arg-type]  # a literal by value


def test_a_reference_to_another_host_is_refused_and_nothing_is_asked() -> None:
    with (
        serving(answers(OK)) as other,
        talking(answers(OK)) as (server, client),
        pytest.raises(OriginRefused, match="allow its origin"),
    ):
        read(client, f"{server.url}/fhir", f"{other.url}/fhir/Endpoint/e1")
    assert other.requests == []


def test_a_reference_to_an_allowed_host_is_read() -> None:
    with serving(answers(OK)) as other, talking(answers(OK), other.url) as (server, client):
        assert isinstance(read(client, f"{server.url}/fhir", f"{other.url}/r4/Endpoint/e1"), Entry)
    assert (targets(other), server.requests, other.seen(TOKEN)) == (["/r4/Endpoint/e1"], [], 1)


def test_a_read_that_is_redirected_away_is_refused() -> None:
    with (
        serving(answers(OK)) as other,
        talking(answers(reply(302, f"Location: {other.url}/"))) as (server, client),
        pytest.raises(OriginRefused, match="redirected"),
    ):
        read(client, server.url, "Endpoint/e1")
    assert other.seen(TOKEN) == 0


def test_a_read_that_is_redirected_to_another_tenant_of_the_host_is_refused() -> None:
    moved = reply(302, "Location: /other-tenant/Endpoint/e1")
    with talking(answers(moved, OK)) as (server, client), pytest.raises(OriginRefused, match="away from its base"):
        read(client, f"{server.url}/fhir", "Endpoint/e1")


@pytest.mark.parametrize(
    "reference",
    ["", "e1", "#e1", "urn:uuid:1", "Endpoint/", "Endpoint/..", "Endpoint/.", "Endpoint/a b", "../Endpoint/e1",
     "Endpoint/e1/x", "Endpoint?identifier=1", "Endpoint/e1?x", "mailto:x@example.org", "{url}", "{url}/", "http://[::1",
     "{url}/fhir", "javascript:x", "Patient/secret-id?x", "Patient/secret-id/x"],
)  # fmt: skip
def test_a_reference_that_cannot_be_read_is_not_asked_for(reference: str) -> None:
    with talking(answers(OK)) as (server, client), pytest.raises(UnexpectedAnswer, match="cannot be read") as caught:
        read(client, f"{server.url}/fhir", reference.format(url=server.url))
    assert server.requests == []
    assert "secret-id" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(500, body=b"{}"), "HTTP 500"),
        (reply(200, body=b'{"resourceType": "Patient"}'), "answered with Patient"),
        (reply(200, body=b"[]"), "no FHIR resource"),
        (reply(200, body=b"<html>"), "web page"),
        (reply(204), "nothing"),
        (reply(200, body=b'{"resourceType": "Endpoint", "x": NaN}'), "no FHIR JSON"),
    ],
)
def test_what_is_no_such_resource_is_refused(answer: bytes, reason: str) -> None:
    with talking(answers(answer)) as (server, client), pytest.raises(UnexpectedAnswer, match=reason):
        read(client, server.url, "Endpoint/e1")


@pytest.mark.parametrize("found", ['"e2"', '"E1"', "null", "1"])
@pytest.mark.parametrize(("kind", "error"), [("Endpoint", UnexpectedAnswer), ("Patient", PatientMismatch)])
def test_another_resource_than_the_one_asked_for_is_refused(
    kind: str, error: type[UnexpectedAnswer], found: str
) -> None:
    body = f'{{"resourceType": "{kind}", "id": {found}}}'.encode()
    with talking(answers(reply(200, body=body))) as (server, client), pytest.raises(error, match="another") as caught:
        read(client, server.url, f"{kind}/e1")
    assert caught.type is error


def test_a_read_without_authorization_says_to_connect_again() -> None:
    with talking(answers(reply(401))) as (server, client), pytest.raises(GrantExpired, match="Connect again"):
        read(client, server.url, "Patient/secret-id")


def test_an_unencrypted_server_is_not_asked() -> None:
    with signing("http://ehr.example") as client, pytest.raises(UsageError, match="not encrypted"):
        read(client, "http://ehr.example/fhir", "Endpoint/e1")


@pytest.mark.clause("S4S-12", "S4S-13")
def test_a_study_leads_to_the_address_of_its_images() -> None:
    uid = "2.16.124.113543.6003.1154777499.30246.19789.3503430045"
    named = {**study(1), "uid": f"urn:oid:{uid}", "endpoint": [{"reference": "Endpoint/e1"}]}
    with talking(by_target({"/fhir/Endpoint/e1": RAW})) as (server, client):

        def lookup(reference: str) -> dict[str, object] | None:
            entry = read(client, f"{server.url}/fhir", reference)
            return entry.resource if isinstance(entry, Entry) else None

        (address,) = image_addresses(named, lookup)
    assert f"{address.wado_base}/studies/{address.study_uid}" == f"https://pacs.example/wado/studies/{uid}"
