"""Every real file over the wire: what can be filed is kept byte for byte, the rest is set aside, nothing is lost."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache, retrieve_study
from s4s_lab.net import HttpClient
from tests.wire.dicom.archive import archive, study_answer

Studies = dict[str, list[tuple[str, bytes]]]


@pytest.fixture(scope="module")
def studies(test_data: Path) -> Studies:
    """Instance UID and content of every file by study UID, as the manifest tells them; strays under the empty text."""
    with (test_data / "dicom-manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    found: Studies = {}
    for row in rows:
        study_uid = "" if "no-preamble" in row["notes"] else row["study_uid"]
        found.setdefault(study_uid, []).append((row["sop_uid"], (test_data / "dicom" / row["file"]).read_bytes()))
    return found


def kept_and_set_aside(files: Iterable[tuple[str, bytes]]) -> tuple[dict[str, bytes], set[bytes]]:
    """The first file of each instance, and all that differ from it: counted without our code."""
    kept: dict[str, bytes] = {}
    others = set()
    for instance_uid, data in files:
        if kept.setdefault(instance_uid, data) != data:
            others.add(data)
    return kept, others


def test_every_real_study_is_kept_byte_for_byte(client: HttpClient, cache: DicomCache, studies: Studies) -> None:
    expected: dict[tuple[str, str], str] = {}
    expected_aside: set[bytes] = set()
    for study_uid, files in studies.items():
        if not study_uid:
            continue
        kept, others = kept_and_set_aside(files)
        expected |= {(study_uid, uid): hashlib.sha256(data).hexdigest() for uid, data in kept.items()}
        expected_aside |= others
        with archive(study_answer([data for _, data in files])) as server:
            retrieval = retrieve_study(client, cache, server.request(study_uid=study_uid, expected=len(kept)))
        assert (retrieval.state, retrieval.instances) == ("complete", len(kept)), study_uid
        assert bool(retrieval.issues) == (len(files) > len(kept))
    on_disk = {
        (row["study_uid"], row["instance_uid"]): hashlib.sha256(
            (cache.root.parent / row["path"]).read_bytes()
        ).hexdigest()
        for row in cache.instances().to_pylist()
    }
    assert on_disk == expected
    assert {path.read_bytes() for path in cache.root.rglob("quarantine/*.dcm")} == expected_aside
    assert (len(studies) - 1, len(expected)) == (53, 111)


def test_files_that_cannot_be_filed_are_set_aside_and_cost_nothing(
    client: HttpClient, cache: DicomCache, studies: Studies
) -> None:
    strays = [data for _, data in studies[""]]
    study_uid, files = next((uid, files) for uid, files in studies.items() if len(files) == 11)
    parts = [*strays[:8], *(data for _, data in files), *strays[8:]]
    with archive(study_answer(parts)) as server:
        retrieval = retrieve_study(client, cache, server.request(study_uid=study_uid, expected=11))
    assert (retrieval.state, retrieval.instances, len(retrieval.issues)) == ("complete", 11, 15)
    assert {path.read_bytes() for path in cache.root.rglob("quarantine/*.dcm")} == set(strays)


def test_ten_names_of_one_instance_become_one_file_with_a_note_each(
    client: HttpClient, cache: DicomCache, test_data: Path
) -> None:
    parts = [path.read_bytes() for path in sorted((test_data / "dicom" / "s4s-sample-patients").glob("IM-*.dcm"))]
    with archive(study_answer(parts)) as server:
        uid = "1.3.12.2.1107.5.1.4.54023.30000004093013443132800000021"
        retrieval = retrieve_study(client, cache, server.request(study_uid=uid, expected=10))
    assert (len(parts), retrieval.state, retrieval.instances) == (10, "partial", 1)
    assert len([issue for issue in retrieval.issues if "repeats instance" in issue]) == 9
