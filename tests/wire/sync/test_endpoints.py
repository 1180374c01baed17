"""Endpoints that come with studies: included or read, each once, kept or found gone; contained ones stay inside."""

from __future__ import annotations

from typing import Any

import pytest

from s4s_lab import Dataset, pull
from s4s_lab.connection import Connection
from tests.wire.sync.conftest import TYPES
from tests.wire.sync.server import FhirServer, study
from tests.wire.sync.test_pull import LONG_AGO, now, only, studies


def endpoint(key: str, **changes: Any) -> dict[str, Any]:
    content = {"resourceType": "Endpoint", "id": key, "status": "active", "address": f"https://pacs.example/{key}"}
    return content | changes


def referring(number: int, *references: str, **changes: Any) -> dict[str, Any]:
    return study(number, LONG_AGO, endpoint=[{"reference": text} for text in references], **changes)


def rows(data: Dataset) -> dict[str, str]:
    table = data.table("imaging_endpoint")
    return dict(zip(table["resource_id"], table["address"], strict=True))


def test_an_endpoint_that_studies_refer_to_is_read_once(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(referring(1, "Endpoint/e1"), referring(2, "Endpoint/e1", f"{server.url}/Endpoint/e1"), endpoint("e1"))
    pull(link, data, types=TYPES)
    assert rows(data) == {"e1": "https://pacs.example/e1"}
    assert server.asked("/Endpoint/") == ["/fhir/Endpoint/e1"]


def test_an_included_endpoint_is_kept_and_not_asked_for(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(referring(1, "Endpoint/e1"), referring(2, "Endpoint/e2"), endpoint("e2"))
    server.include = [endpoint("e1")]
    pull(link, data, types=TYPES)
    assert set(rows(data)) == {"e1", "e2"}
    assert server.asked("/Endpoint/") == ["/fhir/Endpoint/e2"]


def test_an_included_endpoint_that_no_study_names_is_kept_as_well(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(referring(1))
    server.include = [endpoint("e9")]
    pull(link, data, types=TYPES)
    assert set(rows(data)) == {"e9"}


def test_a_contained_endpoint_stays_in_its_study_and_is_never_asked_for(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(referring(1, "#e1", contained=[endpoint("e1")]))
    pull(link, data, types=TYPES)
    assert rows(data) == {}
    assert data.table("imaging_study")["endpoint_references"].tolist() == [["#e1"]]
    assert server.asked("/Endpoint/") == []


def test_an_update_asks_for_no_endpoint_that_is_here_unless_something_changed(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(referring(1, "Endpoint/e1", meta=study(1, now())["meta"]), endpoint("e1"))
    pull(link, data, types=TYPES)
    pull(link, data, types=TYPES)
    server.requests.clear()
    result = only(pull(link, data, types=TYPES))
    assert (result.unchanged, result.requests, len(server.requests)) == (1, 1, 1)
    server.put(referring(1, "Endpoint/e1", meta=study(1, now())["meta"], description="changed"))
    server.put(endpoint("e1", address="https://pacs.example/moved"))
    pull(link, data, types=TYPES)
    assert rows(data) == {"e1": "https://pacs.example/moved"}


def test_a_broad_pull_finds_that_an_endpoint_moved_or_is_gone(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(referring(1, "Endpoint/e1", "Endpoint/e2"), endpoint("e1"), endpoint("e2"))
    pull(link, data, types=TYPES)
    server.put(endpoint("e1", address="https://pacs.example/moved"))
    del server.resources["e2"]
    pull(link, data, mode="broad", types=TYPES)
    assert rows(data) == {"e1": "https://pacs.example/moved"}
    gone = data.table("imaging_endpoint", fallen_out=True)
    assert set(gone[gone["fell_out_at"].notna()]["resource_id"]) == {"e2"}


def test_an_endpoint_that_is_gone_is_marked_once(server: FhirServer, link: Connection, data: Dataset) -> None:
    server.put(referring(1, "Endpoint/e1"), endpoint("e1"))
    pull(link, data, types=TYPES)
    del server.resources["e1"]
    pull(link, data, mode="broad", types=TYPES)
    before = data.log.version
    pull(link, data, mode="broad", types=TYPES)
    assert data.log.version == before


@pytest.mark.parametrize("status", [501, 507])
def test_an_endpoint_that_the_server_fails_at_comes_with_a_later_pull(
    server: FhirServer, link: Connection, data: Dataset, status: int
) -> None:
    server.put(referring(1, "Endpoint/e1"), endpoint("e1"))
    server.failing = {"Endpoint/e1": status}
    first = only(pull(link, data, types=TYPES))
    assert (first.outcome, first.last_check, studies(data)) == ("done", None, ["s1"])
    server.failing.clear()
    assert only(pull(link, data, types=TYPES)).last_check is not None
    assert set(rows(data)) == {"e1"}


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_an_endpoint_that_is_refused_is_passed_over(
    server: FhirServer, link: Connection, data: Dataset, status: int
) -> None:
    server.put(referring(1, "Endpoint/e1"))
    server.failing = {"Endpoint/e1": status}
    result = only(pull(link, data, types=TYPES))
    assert result.last_check is not None
    assert any("Endpoint" in text for text in result.warnings)


def test_an_endpoint_that_is_here_and_cannot_be_read_once_holds_nothing_up(
    server: FhirServer, link: Connection, data: Dataset
) -> None:
    server.put(referring(1, "Endpoint/e1"), endpoint("e1"))
    pull(link, data, types=TYPES)
    server.failing = {"Endpoint/e1": 501}
    server.put(referring(2, "Endpoint/e1"))
    result = only(pull(link, data, mode="broad", types=TYPES))
    assert result.last_check is not None
    assert result.next_broad is not None
    assert (result.next_broad - now()).days >= 6
    assert set(rows(data)) == {"e1"}
