"""Archives that mean harm: every answer ends in an error of ours or in quarantine, soon, and inside the cache."""

from __future__ import annotations

import hashlib
import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from s4s_lab.dicom import DicomCache, retrieve_study
from s4s_lab.errors import S4SError
from s4s_lab.net import HttpClient
from tests.unit.dicom.multipart_bodies import body_of
from tests.unit.dicom.samples import DEFLATED, STUDY, dicom_file, element, identity, image_file
from tests.wire.dicom.archive import BOUNDARY, Archive, answer, archive, study_answer

GOOD = image_file("1.9.1")
DELIMITER = b"\r\n--" + BOUNDARY
BAD_UIDS = [
    "../../x", "../../../../../../../../tmp/x", "/etc/cron.d/x", "..", ".", "~root", "a/b", "1.2/../../x", "1.2\0.dcm",
    "1.2\\..\\x", "C:\\x", "1" * 65, "1.2.840." + "9" * 300, "-rf", "1..2", "1.2.", "%2e%2e%2fx", "1.2\n", "con", "१.२",
]  # fmt: skip


CLIMBS = [climb * depth + end for climb in ("../", "..\\", "%2e%2e/", "....//") for depth in (1, 3, 9) for end in
          ("x", "etc/passwd", "index.sqlite", "tmp/x\0")]  # fmt: skip
HOSTILE_UIDS = [*BAD_UIDS, *CLIMBS]


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("uid", BAD_UIDS)
@pytest.mark.parametrize("where", ["study", "series", "instance"])
def test_no_uid_of_a_file_leads_out_of_the_cache(
    client: HttpClient, cache: DicomCache, tmp_path: Path, uid: str, where: str
) -> None:
    uids = {"instance": "1.9.2", "study": STUDY, "series": "1.8"} | {where: uid.encode().decode("latin-1")}
    bad = dicom_file(identity(uids["instance"], study=uids["study"], series=uids["series"]))
    with archive(study_answer([GOOD, bad])) as server:
        retrieval = retrieve_study(client, cache, server.request())
    (kept,) = cache.root.rglob("1.9.1.dcm")
    (aside,) = cache.root.rglob("quarantine/*.dcm")
    assert (kept.read_bytes(), aside.read_bytes()) == (GOOD, bad)
    assert aside.stem == hashlib.sha256(bad).hexdigest()
    assert "quarantine" in retrieval.issues[0]
    assert {path.split("/")[0] for path in everything(tmp_path)} == {"dataset"}
    assert len(list(cache.root.rglob("*.dcm"))) == 2


def test_two_hundred_hostile_uids_leave_no_file_outside_the_cache(
    client: HttpClient, cache: DicomCache, tmp_path: Path
) -> None:
    parts = [GOOD]
    for number, uid in enumerate(HOSTILE_UIDS):
        hostile = uid.encode().decode("latin-1")
        parts += [
            dicom_file(identity(hostile, series=f"1.8.{number}")),
            dicom_file(identity(f"1.9.{number}", study=hostile)),
            dicom_file(identity(f"1.7.{number}", series=hostile)),
        ]
    assert len(parts) > 200
    before = everything(tmp_path)
    with archive(study_answer(parts)) as server:
        retrieval = retrieve_study(client, cache, server.request())
    inside = {path.relative_to(tmp_path).as_posix() for path in cache.root.rglob("*.dcm")}
    assert retrieval.instances == 1
    assert len({name for name in inside if "/quarantine/" in name}) == len(set(parts)) - 1
    inner = cache.root.relative_to(tmp_path).as_posix()
    new = everything(tmp_path) - before - {"dataset", inner}
    assert all(name.startswith(f"{inner}/") for name in new)
    assert {Path(name).name for name in new if name.endswith(".dcm")} - {"1.9.1.dcm"} == {
        f"{hashlib.sha256(part).hexdigest()}.dcm" for part in parts[1:]
    }


def bomb() -> bytes:
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    blank = element(0x00090010, b"OB", bytes(1 << 20))
    start = squeeze.compress(identity("1.9.2"))
    return (
        dicom_file(b"", syntax=DEFLATED).removesuffix(b"\3\0") + start + squeeze.compress(blank * 100) + squeeze.flush()
    )


def body(*pieces: bytes) -> bytes:
    return answer(b"".join(pieces))


deep = element(0x00081140, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), length=0xFFFFFFFF)
HOSTILE: dict[str, bytes | Iterable[bytes]] = {
    "headers without an end": [body(DELIMITER, b"\r\nX: "), *[b"x" * 8192] * 100],
    "a thousand header lines": body(DELIMITER, b"\r\n", b"X: y\r\n" * 1000, b"\r\n"),
    "a preamble without an end": [body(), *[b"x" * 8192] * 100],
    "a boundary of 300 characters": answer(GOOD, content_type="multipart/related; boundary=" + "x" * 300),
    "a first line without an end": [answer(b"--", content_type="multipart/related"), *[b"x" * 8192] * 100],
    "a content type of quotes": answer(GOOD, content_type='multipart/related; boundary="' + '";"' * 5000),
    "nothing but boundaries": body(*[DELIMITER] * 1000),
    "a boundary padded without an end": body(DELIMITER, b" " * 100_000),
    "nested sequences": study_answer([dicom_file(deep * 5000)]),
    "a value of 4 GiB": study_answer([dicom_file(element(0x00080005, b"UT", b"x", length=0xFFFFFFFE))]),
    "a million elements": study_answer([dicom_file(element(0x00090010, b"CS", "") * 1_000_000)]),
    "a deflated data set that is none": study_answer([dicom_file(b"", syntax=DEFLATED) + b"\xff" * 999]),
    "another study": study_answer([image_file("1.9", study="1.2.3")]),
    "a program": study_answer([b"MZ" + bytes(1000)]),
    "an archive": study_answer([b"PK\3\4" + bytes(1000)]),
    "a web page as a part": study_answer([b"<html>log in</html>"]),
    "only zeros": study_answer([bytes(100_000)]),
    "a chunk that is none": body().replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"zz\r\nx",
    "a length below zero": answer(GOOD, headers=["Content-Length: -1"]),
    "a status that is none": b"HTTP/1.1 abc OK\r\n\r\n",
    "no HTTP": b"\x16\x03\x01" * 100,
    "silence": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_ends_soon_and_completes_nothing(
    client: HttpClient, cache: DicomCache, tmp_path: Path, name: str
) -> None:
    began = time.monotonic()
    with archive(HOSTILE[name]) as server:
        outcome = outcome_of(client, cache, server)
    assert outcome.startswith(("error", "partial, 0 instances, 2"))
    assert time.monotonic() - began < 20
    assert {path.split("/")[0] for path in everything(tmp_path)} == {"dataset"}
    assert not list(tmp_path.rglob("*.part"))


def outcome_of(client: HttpClient, cache: DicomCache, server: Archive) -> str:
    try:
        retrieval = retrieve_study(client, cache, server.request(expected=1))
    except S4SError as error:
        return f"error: {error}"
    return f"{retrieval.state}, {retrieval.instances} instances, {len(retrieval.issues)} issues"


def test_a_deflated_bomb_is_kept_as_it_came_and_never_unfolded(client: HttpClient, cache: DicomCache) -> None:
    data = bomb()
    with archive(study_answer([data])) as server:
        retrieval = retrieve_study(client, cache, server.request())
    # Its header can be read, so it is a file like any other; 100 MiB of it stay folded on disk.
    assert (retrieval.state, retrieval.bytes) == ("complete", len(data))
    assert len(data) < 1 << 20
    assert "read in part" in cache.instances()["parse_issues"].to_pylist()[0][0]


def test_one_bad_part_never_costs_the_others(client: HttpClient, cache: DicomCache) -> None:
    parts = [GOOD, b"odd", dicom_file(b""), image_file("../x"), image_file("1.9.2"), b"", image_file("1.9.3")]
    with archive(answer(body_of(parts, boundary=BOUNDARY))) as server:
        retrieval = retrieve_study(client, cache, server.request(expected=7))
    assert (retrieval.state, retrieval.instances, len(retrieval.issues)) == ("partial", 3, 5)
    assert retrieval.issues[-1] == "7 instances were expected, 3 came"
