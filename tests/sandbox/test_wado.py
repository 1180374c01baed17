"""WADO-RS: the wait, the multipart answer, what can be asked for, byte for byte."""

from __future__ import annotations

import email.parser
import email.policy
import io
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from s4s_lab import sandbox
from tests.sandbox.app import App, Reader

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
Part = tuple[dict[str, str], bytes]


def parts_of(answered: httpx2.Response) -> list[Part]:
    """The parts of a multipart answer as the standard library's email parser sees them."""
    assert answered.status_code == 200, answered.text
    head = f"Content-Type: {answered.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answered.content)
    assert not message.defects
    parts = []
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts.append(({name.lower(): str(value) for name, value in part.items()}, content))
    return parts


def header(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def of_modality(reader: Reader, code: str) -> dict[str, Any]:
    return next(one for one in reader.resources("ImagingStudy") if one["modalityList"][0]["code"] == code)


def series_uids(study: dict[str, Any]) -> list[str]:
    return [one["uid"].removeprefix("urn:oid:") for one in study["series"]]


@pytest.fixture(scope="module")
def study(reader: Reader) -> dict[str, Any]:
    return of_modality(reader, "CT")


@pytest.mark.clause("S4S-12", "S4S-13")
def test_every_study_resolves_to_an_endpoint_whose_address_and_uid_give_its_images(app: App) -> None:
    forms = set()
    for participant in range(len(app.server.participants)):
        reader = app.reader(participant)
        for study in reader.resources("ImagingStudy"):
            reference = study["endpoint"][0]["reference"]
            forms.add(reference[0])
            inside = {f"#{one['id']}": one for one in study.get("contained", ())}
            endpoint = inside.get(reference) or reader.get(reference).json()
            assert endpoint["resourceType"] == "Endpoint"
            assert endpoint["connectionType"]["code"] == "dicom-wado-rs"
            assert endpoint["extension"][0]["valueBoolean"] is True
            assert study["uid"].startswith("urn:oid:")
            url = f"{endpoint['address']}/studies/{study['uid'].removeprefix('urn:oid:')}"
            assert app.http.head(url, headers={"Authorization": f"Bearer {reader.access_token}"}).status_code == 200
    assert forms == {"#", "E"}


@pytest.mark.clause("S4S-14")
def test_a_study_comes_as_multipart_with_everything_the_imaging_study_lists(
    reader: Reader, study: dict[str, Any]
) -> None:
    answered = reader.get(reader.study_url(study), "multipart/related; type=application/dicom")
    assert answered.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert answered.headers["transfer-encoding"] == "chunked"
    listed = {
        (one["uid"], instance["uid"], instance["number"], instance["sopClass"])
        for one in study["series"]
        for instance in one["instance"]
    }
    received = set()
    for headers, content in parts_of(answered):
        dataset = header(content)
        syntax = dataset.file_meta.TransferSyntaxUID
        assert headers["content-type"].replace('"', "") == f"application/dicom; transfer-syntax={syntax}"
        assert int(headers["content-length"]) == len(content)
        assert headers["content-location"].endswith(f"/instances/{dataset.SOPInstanceUID}")
        assert f"urn:oid:{dataset.StudyInstanceUID}" == study["uid"]
        uids = (dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.SOPClassUID)
        series, instance, sop_class = (f"urn:oid:{uid}" for uid in uids)
        received.add((series, instance, int(dataset.InstanceNumber), sop_class))
    assert received == listed
    assert len(received) == study["numberOfInstances"]


def test_series_and_instances_are_the_same_bytes(reader: Reader, study: dict[str, Any]) -> None:
    url = reader.study_url(study)
    whole = {part[0]["content-location"]: part[1] for part in parts_of(reader.get(url, ACCEPT))}
    by_series: dict[str, bytes] = {}
    for uid in series_uids(study):
        by_series |= {
            part[0]["content-location"]: part[1] for part in parts_of(reader.get(f"{url}/series/{uid}", ACCEPT))
        }
    assert by_series == whole
    location, content = next(iter(whole.items()))
    assert [part[1] for part in parts_of(reader.get(location, ACCEPT))] == [content]


def test_a_third_party_client_reads_a_study(reader: Reader, study: dict[str, Any]) -> None:
    client = DICOMwebClient(reader.app.server.wado_url, headers={"Authorization": f"Bearer {reader.access_token}"})
    uid = study["uid"].removeprefix("urn:oid:")
    datasets = client.retrieve_study(uid)
    assert len(datasets) == study["numberOfInstances"]
    assert {one.SeriesInstanceUID for one in datasets} == set(series_uids(study))
    metadata = client.retrieve_study_metadata(uid)
    assert {one["00080018"]["Value"][0] for one in metadata} == {one.SOPInstanceUID for one in datasets}
    assert all("7FE00010" not in one for one in metadata)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("multipart/related; type=application/dicom", 200),
        ('multipart/related; type="application/dicom"', 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 200),
        ("multipart/related; transfer-syntax=1.2.840.10008.1.2.1; type=application/dicom", 200),
        ("multipart/related", 200),
        ("*/*", 200),
        ('application/json, multipart/related;type="application/dicom";q=0.2', 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90', 406),
        ('multipart/related; type="application/octet-stream"', 406),
        ("application/dicom", 406),
        ("application/json", 406),
        ('multipart/related; type="application/dicom"; q=0', 406),
    ],
)
@pytest.mark.clause("S4S-14")
def test_an_accept_header_is_judged(reader: Reader, study: dict[str, Any], accept: str, status: int) -> None:
    answered = reader.get(reader.study_url(study), accept)
    assert answered.status_code == status
    if status == 406:
        assert answered.headers["content-type"] == "text/plain; charset=utf-8"
        assert answered.text.endswith(".\n")


def test_a_compressed_study_is_not_passed_off_as_something_else(reader: Reader) -> None:
    rle, explicit = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1"
    study = of_modality(reader, "US")
    url = reader.study_url(study)
    base = 'multipart/related; type="application/dicom"; transfer-syntax='
    assert {header(part[1]).file_meta.TransferSyntaxUID for part in parts_of(reader.get(url, base + rle))} == {rle}
    refused = reader.get(url, base + explicit)
    assert refused.status_code == 406
    assert rle in refused.text
    assert reader.get(url, f"{base}{explicit}, {base}*").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/studies/1.2.3", 404),
        ("/studies/not-a-uid", 400),
        ("/studies/1.2.3/series/1.2/instances/..", 404),
        ("/studies/1..2", 400),
        ("/studies/" + "1." * 40 + "1", 400),
        ("/studies/%00", 400),
        ("/studies", 404),
        ("/instances/1.2.3", 404),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_a_sentence(reader: Reader, path: str, status: int) -> None:
    answered = reader.get(reader.app.server.wado_url + path)
    assert answered.status_code == status
    assert answered.text


def test_metadata_is_dicom_json_of_what_was_asked(reader: Reader, study: dict[str, Any]) -> None:
    url = f"{reader.study_url(study)}/series/{series_uids(study)[1]}/metadata"
    answered = reader.get(url, "application/dicom+json")
    assert answered.headers["content-type"] == "application/dicom+json"
    told = answered.json()
    assert len(told) == study["series"][1]["numberOfInstances"]
    assert {one["0020000E"]["Value"][0] for one in told} == {series_uids(study)[1]}
    assert reader.get(url, "application/dicom+xml").status_code == 406


@pytest.fixture
def slow(http: httpx2.Client) -> Iterator[App]:
    with sandbox.start(retrieve_s=1.2) as running:
        yield App(running, http)


@pytest.mark.clause("S4S-5")
def test_the_first_request_is_told_to_wait_and_later_ones_are_served(slow: App) -> None:
    reader = slow.reader()
    study, other = reader.resources("ImagingStudy")[:2]
    begun = time.monotonic()
    first = reader.get(reader.study_url(study))
    assert (first.status_code, first.headers["retry-after"]) == (503, "2")
    assert first.headers["content-type"].startswith("text/plain")
    within = reader.get(f"{reader.study_url(study)}/series/{series_uids(study)[0]}")
    assert within.status_code == 503
    time.sleep(max(0.0, begun + 0.4 - time.monotonic()))
    assert reader.get(f"{reader.study_url(study)}/metadata").headers["retry-after"] == "1"
    time.sleep(max(0.0, begun + 1.3 - time.monotonic()))
    assert reader.get(reader.study_url(study)).status_code == 200
    assert reader.get(f"{reader.study_url(study)}/series/{series_uids(study)[0]}").status_code == 200
    assert reader.get(reader.study_url(other)).status_code == 503


def test_what_is_refused_does_not_begin_a_retrieval(slow: App) -> None:
    reader, stranger = slow.reader(0), slow.reader(1)
    url = reader.study_url(reader.resources("ImagingStudy")[0])
    assert stranger.get(url).status_code == 404
    assert reader.get(url, "image/png").status_code == 406
    assert reader.get(url).headers["retry-after"] == "2"
