"""The token goes to no foreign server, however an address is spelt or a redirect is laid."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s4s_lab.connection import Connection
from s4s_lab.dicom import study_url
from s4s_lab.errors import OriginRefused, S4SError
from s4s_lab.fhir import Capability, image_addresses, search
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart import Grant, MemoryGrants, SmartConfiguration
from s4s_lab.values import Registration, Secret
from tests.wire.net.servers import Request, Server, answers, reply, serving

TOKEN = "canary-of-the-access-token"
ONCE = Patience(budget_s=0)

# H is the server that the participant connected to, T another one: both are ports of this machine.
NEXT = [
    "http://127.0.0.1:T/fhir?page=2",
    "HTTP://127.0.0.1:T/fhir?page=2",
    "//127.0.0.1:T/fhir?page=2",
    "///127.0.0.1:T/fhir?page=2",
    "////127.0.0.1:T/fhir?page=2",
    "http:///127.0.0.1:T/fhir",
    "http:/127.0.0.1:T/fhir",
    "http:127.0.0.1:T/fhir",
    "http:\\\\127.0.0.1:T\\fhir",
    "\\\\127.0.0.1:T/fhir",
    "/\\127.0.0.1:T/fhir",
    "/\t/127.0.0.1:T/fhir",
    "\thttp://127.0.0.1:T/fhir",
    "\nhttp://127.0.0.1:T/fhir",
    " http://127.0.0.1:T/fhir ",
    "ht\ntp://127.0.0.1:T/fhir",
    "http://127.0.0.1:H@127.0.0.1:T/fhir",
    "http://127.0.0.1%3AH@127.0.0.1:T/fhir",
    "http://user:secret@127.0.0.1:T/fhir",
    "http://@127.0.0.1:T/fhir",
    "http://127.0.0.1:H\\@127.0.0.1:T/fhir",
    "http://127.0.0.1:T\\@127.0.0.1:H/fhir",
    "http://127.0.0.1:T#@127.0.0.1:H/fhir",
    "http://127.0.0.1:T?@127.0.0.1:H/fhir",
    "http://127.0.0.1:T/127.0.0.1:H/fhir",
    "http://localhost:T/fhir",
    "http://LOCALHOST.:T/fhir",
    "http://127.0.0.1.:T/fhir",
    "http://127.1:T/fhir",
    "http://0x7f.1:T/fhir",
    "http://2130706433:T/fhir",
    "http://017700000001:T/fhir",
    "http://[::ffff:127.0.0.1]:T/fhir",
    "http://[::1]:T/fhir",
    "http://%31%32%37.0.0.1:T/fhir",
    "http://①②⑦.⓪.⓪.①:T/fhir",
    "http://127。0。0。1:T/fhir",
    "http://127.0.0.1:0000T/fhir",
    "https://127.0.0.1:T/fhir",
    "http://127.0.0.1:H.ehr.invalid:T/fhir",
]

# What H, and then whoever is asked next, answers as Location.
REDIRECTS = [
    (301, ["http://127.0.0.1:T/x"]),
    (302, ["http://127.0.0.1:T/x"]),
    (303, ["//127.0.0.1:T/x"]),
    (307, ["http://localhost:T/x"]),
    (308, ["HTTP://127.0.0.1:T/x"]),
    (302, ["/y", "http://127.0.0.1:T/x"]),
    (302, ["/y", "/z", "http://127.0.0.1:T/x"]),
    (302, ["http://127.0.0.1:T/x", "http://127.0.0.1:T/y"]),
    (302, ["http://127.0.0.1:T/x", "http://127.0.0.1:H/y", "http://127.0.0.1:T/z"]),
    (302, ["http://127.0.0.1:H@127.0.0.1:T/x"]),
    (307, ["http://127.0.0.1:T/x", "http://127.0.0.1:T/x", "http://127.0.0.1:T/x", "http://127.0.0.1:T/x"]),
    (302, ["http:\\\\127.0.0.1:T/x"]),
]

WADO = [
    "http://127.0.0.1:T/wado",
    "http://127.0.0.1:T/wado/",
    "http://127.0.0.1:T/wado/studies/1.2.3",
    "HTTP://127.0.0.1:T/wado",
    "http://localhost:T/wado",
    "http://127.0.0.1.:T/wado",
    "http://127.0.0.1:H@127.0.0.1:T/wado",
    "http://127.1:T/wado",
    "http://[::1]:T/wado",
    "http://127.0.0.1:T/wado?next=http://127.0.0.1:H",
]


@pytest.fixture
def thief() -> Iterator[Server]:
    with serving(answers(reply(200, body=b"{}"))) as thief:
        yield thief


def _connection(home: Server) -> Connection:
    ends = datetime.now(UTC) + timedelta(hours=1)
    return Connection(
        fhir_url=f"{home.url}/fhir",
        patient_id="p",
        capability=Capability.from_json({}),
        configuration=SmartConfiguration(f"{home.url}/fhir", f"{home.url}/authorize", f"{home.url}/token"),
        registration=Registration("app"),
        grants=MemoryGrants(Grant(Secret(TOKEN), None, "patient/*.read", "p", ends, generation=1)),
    )


def _client(home: Server) -> HttpClient:
    return _connection(home).client(ONCE)


def _led(text: str, home: Server, thief: Server) -> str:
    """Put the ports in: the H and T that stand where a port does."""
    ports = {"H": str(home.port), "T": str(thief.port)}
    return re.sub(r"(?<=[:A0])([HT])(?=[^A-Z]|$)", lambda found: ports[found[1]], text)


@pytest.mark.parametrize("spelling", NEXT)
def test_a_next_link_elsewhere_is_not_followed_with_the_token(spelling: str, thief: Server) -> None:
    def pages(request: Request, connection: socket.socket) -> None:
        link = {"relation": "next" if "patient=" in request.target else "prev", "url": _led(spelling, home, thief)}
        body = json.dumps({"resourceType": "Bundle", "type": "searchset", "link": [link], "entry": []}).encode()
        connection.sendall(reply(200, "Content-Type: application/fhir+json", body=body))

    with serving(pages) as home, _client(home) as client:
        try:
            list(search(client, f"{home.url}/fhir", "ImagingStudy", {"patient": "p"}))
            refused = False
        except S4SError:
            refused = True
        # By RFC 3986 this one is a path at home, and was followed there.
        assert refused == (spelling != "http:127.0.0.1:T/fhir")
        assert home.seen(TOKEN) == len(home.requests) >= 1
    assert thief.seen(TOKEN) == 0
    assert thief.requests == []


@pytest.mark.parametrize(("status", "locations"), REDIRECTS)
def test_a_redirect_elsewhere_takes_no_token_along(status: int, locations: list[str]) -> None:
    left = list(locations)

    def onward(_: Request, connection: socket.socket) -> None:
        answer = reply(status, f"Location: {_led(left.pop(0), home, thief)}") if left else reply(200, body=b"{}")
        connection.sendall(answer)

    with serving(onward) as home, serving(onward) as thief, _client(home) as client:
        try:
            client.get(f"{home.url}/fhir/Patient/p", accept="*/*")
        except S4SError:
            assert left == [] or "@" in locations[0] or "\\" in locations[0]
        assert home.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert thief.seen(TOKEN) == 0
        # Once the chain has left, coming home brings nothing back.
        abroad = [at for at, location in enumerate(locations) if "T" in location]
        assert home.seen(TOKEN) <= 1 + abroad[0]


@pytest.mark.parametrize("address", WADO)
@pytest.mark.parametrize("required", [True, False])
def test_an_archive_elsewhere_gets_no_token_even_when_its_endpoint_demands_one(
    address: str, required: bool, thief: Server
) -> None:
    with serving(answers(reply(200))) as home, _client(home) as client:
        endpoint = _endpoint(_led(address, home, thief), required=required)
        study = {"resourceType": "ImagingStudy", "uid": "urn:oid:1.2.3", "endpoint": [{"reference": "#e"}]}
        found = image_addresses({**study, "contained": [endpoint]}, lambda _: None)
        assert [one.requires_access_token for one in found] == [required]
        for one in found:
            try:
                with client.stream(study_url(one.wado_base, one.study_uid), accept="*/*"):
                    pass
            except S4SError:
                continue
        client.get(f"{home.url}/fhir/Patient/p", accept="*/*")
        assert home.seen(TOKEN) == 1
    assert thief.seen(TOKEN) == 0


def _endpoint(address: str, *, required: bool) -> dict[str, Any]:
    url = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/requires-access-token"
    extension = {"url": url, "valueBoolean": required}
    kind = {"system": "http://hl7.org/fhir/endpoint-connection-type", "code": "dicom-wado-rs"}
    return {
        "resourceType": "Endpoint",
        "id": "e",
        "extension": [extension],
        "connectionType": kind,
        "address": address,
    }


def test_there_are_as_many_ways_as_are_claimed() -> None:
    assert (len(set(NEXT)), len(REDIRECTS), len(set(WADO))) == (40, 12, 10)


def test_an_origin_that_the_user_allowed_gets_the_token(thief: Server) -> None:
    with serving(answers(reply(200))) as home:
        allowing = Connection(**{**vars(_connection(home)), "allowed_origins": frozenset({thief.url})})
        with allowing.client(ONCE) as client:
            client.get(f"{thief.url}/wado/studies/1.2.3", accept="*/*")
    assert thief.seen(TOKEN) == 1


def test_a_next_link_out_of_the_base_is_refused_at_home_too() -> None:
    def pages(_: Request, connection: socket.socket) -> None:
        link = {"relation": "next", "url": f"{home.url}/elsewhere?page=2"}
        body = json.dumps({"resourceType": "Bundle", "type": "searchset", "link": [link], "entry": []}).encode()
        connection.sendall(reply(200, "Content-Type: application/fhir+json", body=body))

    with serving(pages) as home, _client(home) as client, pytest.raises(OriginRefused):
        list(search(client, f"{home.url}/fhir", "ImagingStudy", {"patient": "p"}))
