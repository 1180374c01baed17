"""Orthanc as the image archive: every study comes back byte for byte as it was handed over."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from benchmarks.bench_wado import STUDY, study_files
from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
from s4s_lab.dicom.listing import listed_series
from s4s_lab.errors import NotRetrievable
from s4s_lab.net import HttpClient
from tests.peers.orthanc import Held, Orthanc


def test_every_study_is_complete_and_every_file_byte_for_byte_its_source(
    orthanc: Orthanc, held: Held, tmp_path: Path
) -> None:
    cache = DicomCache(tmp_path / "dicom")
    with HttpClient() as client:
        for study_uid, files in held.items():
            request = StudyRequest(
                orthanc.wado_base, study_uid, len(files), "https://ehr.example/fhir", "98890234", None
            )
            retrieval = retrieve_study(client, cache, request)
            assert (retrieval.state, retrieval.instances, retrieval.issues) == ("complete", len(files), ()), study_uid
    cached: Held = {}
    for row in cache.instances().to_pylist():
        digest = hashlib.sha256((tmp_path / row["path"]).read_bytes()).hexdigest()
        cached.setdefault(row["study_uid"], {})[row["instance_uid"]] = digest
    assert cached == held
    assert sum(map(len, held.values())) > 50


def test_the_count_of_orthancs_own_catalogue_agrees(orthanc: Orthanc, held: Held, tmp_path: Path) -> None:
    status, studies = orthanc.ask("/dicom-web/studies?includefield=00201208")
    assert status == 200
    counts = {study["0020000D"]["Value"][0]: study["00201208"]["Value"][0] for study in studies}
    assert counts == {study_uid: len(files) for study_uid, files in held.items()}


def test_a_study_that_orthanc_does_not_have_is_not_retrievable(orthanc: Orthanc, tmp_path: Path) -> None:
    request = StudyRequest(orthanc.wado_base, "1.2.3.4.5", None, "https://ehr.example/fhir", "98890234", None)
    with HttpClient() as client, pytest.raises(NotRetrievable):
        retrieve_study(client, DicomCache(tmp_path / "dicom"), request)


def test_a_large_ct_comes_back_byte_for_byte(orthanc: Orthanc, tmp_path: Path) -> None:
    """Three series of 200 slices are 315 MB; by default a twentieth of that."""
    made = study_files(tmp_path, 200 if os.environ.get("S4S_FULL") == "1" else 10)
    for path in made:
        assert orthanc.store(path.read_bytes())
    cache = DicomCache(tmp_path / "dicom")
    request = StudyRequest(orthanc.wado_base, STUDY, len(made), "https://ehr.example/fhir", "BENCH", None)
    with HttpClient() as client:
        retrieval = retrieve_study(client, cache, request)
    assert (retrieval.state, retrieval.new, retrieval.issues) == ("complete", len(made), ())
    sources = {digest(path): path for path in made}
    stored = {digest(path): path for path in cache.root.rglob("*.dcm")}
    assert stored.keys() == sources.keys()
    assert len(stored) == len(made)
    assert cache.verify().findings == ()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_fetching_again_brings_nothing_new(orthanc: Orthanc, held: Held, tmp_path: Path) -> None:
    cache = DicomCache(tmp_path / "dicom")
    study_uid, files = max(held.items(), key=lambda study: len(study[1]))
    request = StudyRequest(orthanc.wado_base, study_uid, len(files), "https://ehr.example/fhir", "98890234", None)
    with HttpClient() as client:
        first, second = (retrieve_study(client, cache, request) for _ in range(2))
    assert (first.new, second.new, second.state) == (len(files), 0, "complete")


def test_orthancs_own_list_completes_a_study_that_the_record_does_not_describe(
    orthanc: Orthanc, held: Held, tmp_path: Path
) -> None:
    cache = DicomCache(tmp_path / "dicom")
    study_uid, files = max(held.items(), key=lambda study: len(study[1]))
    request = StudyRequest(orthanc.wado_base, study_uid, None, "https://ehr.example/fhir", "98890234", None)
    with HttpClient() as client:
        url = f"{orthanc.wado_base}/studies/{study_uid}"
        listed = listed_series(client, url, study_uid) or ()
        assert {uid for series in listed for uid in series.instances} == set(files)
        retrieve_study(client, cache, request)
        lost = sorted(cache.root.rglob("*.dcm"))[::3]
        for path in lost:
            path.unlink()
        came: list[int] = []
        retrieval = retrieve_study(client, cache, request, on_bytes=came.append)
    whole = sum(path.stat().st_size for path in cache.root.rglob("*.dcm"))
    assert (retrieval.state, retrieval.new, retrieval.instances) == ("complete", len(lost), len(files))
    assert sum(came) < whole * 2 / 3
    assert {digest(path) for path in cache.root.rglob("*.dcm")} == set(files.values())
