"""The client's reading of WADO-RS metadata, against the reference server."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import httpx2

from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
from s4s_lab.dicom.listing import listed_series
from s4s_lab.net import HttpClient
from s4s_lab.values.origins import origin_of
from tests.sandbox.app import Reader
from tests.sandbox.test_wado import of_modality


class Bearer(httpx2.Auth):
    """Signs with a token that does not change."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def test_the_servers_list_is_its_records_and_fills_holes_by_instance(reader: Reader, tmp_path: Path) -> None:
    study = of_modality(reader, "CT")
    study_uid = study["uid"].removeprefix("urn:oid:")
    base = reader.app.server.wado_url
    expected = {
        one["uid"].removeprefix("urn:oid:"): {each["uid"].removeprefix("urn:oid:") for each in one["instance"]}
        for one in study["series"]
    }
    cache = DicomCache(tmp_path / "dicom")
    request = StudyRequest(base, study_uid, None, reader.app.server.fhir_url, reader.patient_id, None)
    with HttpClient(auth=Bearer(reader.access_token), auth_origins=frozenset({origin_of(base)})) as client:
        listed = listed_series(client, f"{base}/studies/{study_uid}", study_uid) or ()
        assert {series.series_uid: set(series.instances) for series in listed} == expected
        retrieve_study(client, cache, request)
        whole = {path.name: path.read_bytes() for path in cache.root.rglob("*.dcm")}
        next(cache.root.rglob("*.dcm")).unlink()
        again = retrieve_study(client, cache, request)
    assert (again.state, again.new) == ("complete", 1)
    assert {path.name: path.read_bytes() for path in cache.root.rglob("*.dcm")} == whole
