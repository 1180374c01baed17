"""Who may see what: no token, wrong tokens, other patients, narrow scopes."""

from __future__ import annotations

import logging
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from tests.sandbox.app import App, Reader

TYPES = ("ImagingStudy", "ExplanationOfBenefit", "Coverage", "DiagnosticReport", "Patient")


def test_nothing_of_a_patient_is_to_be_had_without_a_token(app: App, reader: Reader) -> None:
    study = reader.resources("ImagingStudy")[0]
    for url in (f"{app.server.fhir_url}/ImagingStudy", f"{app.server.fhir_url}/Endpoint", reader.study_url(study)):
        answered = app.http.get(url)
        assert answered.status_code == 401
        assert answered.headers["www-authenticate"] == 'Bearer realm="S4S Lab sandbox"'
        assert answered.json()["issue"][0]["code"] == "login"


@pytest.mark.parametrize("value", ["Bearer wrong", "Basic eDp5", "Bearer", "Token x"])
def test_a_wrong_token_is_refused(app: App, value: str) -> None:
    answered = app.http.get(f"{app.server.fhir_url}/Patient", headers={"Authorization": value})
    assert answered.status_code == 401
    assert ("invalid_token" in answered.headers["www-authenticate"]) == (value == "Bearer wrong")


def test_a_token_is_taken_from_the_header_only(app: App, reader: Reader) -> None:
    # By a client that logs no addresses: this one holds what no address should.
    with closing(HTTPConnection(urlsplit(app.server.fhir_url).netloc)) as plain:
        plain.request("GET", f"/fhir/Patient?access_token={reader.access_token}")
        assert plain.getresponse().status == 401


def test_a_refresh_token_opens_nothing(app: App) -> None:
    headers = {"Authorization": f"Bearer {app.tokens()['refresh_token']}"}
    assert app.http.get(f"{app.server.fhir_url}/Patient", headers=headers).status_code == 401


@pytest.mark.parametrize("resource_type", TYPES)
def test_a_patient_sees_everything_of_its_own_and_nothing_of_others(app: App, resource_type: str) -> None:
    own, other = app.reader(0), app.reader(1)
    ids = {one["id"] for one in own.resources(resource_type)}
    foreign = {one["id"] for one in other.resources(resource_type)}
    assert ids
    assert foreign
    assert not ids & foreign
    for resource_id in foreign:
        answered = own.get(f"{resource_type}/{resource_id}")
        assert answered.status_code == 403
        assert answered.json()["issue"][0]["code"] == "forbidden"
        assert own.search(resource_type, _id=resource_id)["total"] == 0


@pytest.mark.parametrize(
    ("resource_type", "name"),
    [("ImagingStudy", "patient"), ("ExplanationOfBenefit", "patient"), ("Coverage", "beneficiary")],
)
def test_asking_for_another_patient_is_forbidden(app: App, reader: Reader, resource_type: str, name: str) -> None:
    other = app.server.participants[1].patient_id
    for value in (other, f"Patient/{other}", f"{reader.patient_id},{other}", "nobody"):
        answered = reader.get(resource_type, **{name: value})
        assert answered.status_code == 403
        assert answered.headers["content-type"] == "application/fhir+json"


def test_images_of_others_are_not_found(app: App) -> None:
    own, other = app.reader(0), app.reader(1)
    study = other.resources("ImagingStudy")[0]
    assert other.get(other.study_url(study)).status_code == 200
    for path in ("", "/metadata", f"/series/{study['series'][0]['uid'].removeprefix('urn:oid:')}"):
        assert own.get(own.study_url(study) + path).status_code == 404


ROUTES = {
    "search": "ImagingStudy",
    "read": "ImagingStudy/{study}",
    "claims": "ExplanationOfBenefit",
    "claim": "ExplanationOfBenefit/{claim}",
    "endpoint": "Endpoint/wado-rs",
    "images": "{images}",
    "metadata": "{images}/metadata",
}
# What each scope opens, by SMART's rules for versions 1 and 2.
OPENED = {
    "patient/*.read": set(ROUTES),
    "patient/*.rs": set(ROUTES),
    "patient/*.*": set(ROUTES),
    "patient/*.r": {"read", "claim", "endpoint", "images", "metadata"},
    "patient/*.s": {"search", "claims"},
    "patient/ImagingStudy.read": {"search", "read", "endpoint", "images", "metadata"},
    "patient/ImagingStudy.s": {"search"},
    "patient/ImagingStudy.r": {"read", "endpoint", "images", "metadata"},
    "patient/ExplanationOfBenefit.rs": {"claims", "claim"},
    "patient/Endpoint.read": {"endpoint"},
    "launch/patient": set(),
}


@pytest.mark.parametrize("scope", OPENED)
def test_a_scope_opens_what_it_says(app: App, reader: Reader, scope: str) -> None:
    narrow = app.reader(scope=scope)
    study = reader.resources("ImagingStudy")[0]
    claim = reader.resources("ExplanationOfBenefit")[0]["id"]
    opened = set()
    for name, route in ROUTES.items():
        answered = narrow.get(route.format(study=study["id"], claim=claim, images=reader.study_url(study)))
        assert answered.status_code in (200, 403), answered.text
        if answered.status_code == 200:
            opened.add(name)
        else:
            assert 'error="insufficient_scope"' in answered.headers["www-authenticate"]
    assert opened == OPENED[scope]


def test_a_page_of_one_patient_is_not_shown_to_another(app: App) -> None:
    own, other = app.reader(0), app.reader(1)
    following = next(one["url"] for one in own.search("ImagingStudy", _count="1")["link"] if one["relation"] == "next")
    assert own.get(following).status_code == 200
    assert other.get(following).status_code == 410
    assert app.reader(0, scope="patient/Patient.read").get(following).status_code == 403


def test_the_server_answers_to_its_own_name_only(app: App) -> None:
    port = app.root.rpartition(":")[2]
    for host, status in (
        ("evil.example", 421),
        (f"evil.example:{port}", 421),
        (f"localhost:{port}", 200),
        ("127.0.0.1", 200),
    ):
        answered = app.http.get(f"{app.server.fhir_url}/metadata", headers={"Host": host})
        assert answered.status_code == status
        assert "access-control-allow-origin" not in answered.headers


def test_no_address_is_logged_even_where_every_logger_is_heard(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(access, "handlers", [caplog.handler])
    with closing(HTTPConnection(urlsplit(app.server.fhir_url).netloc)) as plain:
        plain.request("GET", "/fhir/Patient?code=of-somebody")
        assert plain.getresponse().status == 401
    assert "of-somebody" not in caplog.text
