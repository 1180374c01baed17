"""A study from Orthanc, and from a static server, to hashed, verified, indexed files, against peers in the same run.

`python -m benchmarks.bench_wado [--slices 200] [--rounds 5] [--folder DIR]`; each measurement is a process of its own,
the contenders take turns, and every one starts with an empty folder.

s4s         `retrieve_study`: split, hashed, headers read, checked, indexed; every file on disk for good (fsync)
s4s-nosync  the same without waiting for the disk, which no user can choose; it shows what that costs
dicomweb    dicomweb-client's `iter_study`, each data set saved
curl        the body to one file, neither split nor read

The study: a CT of three series, 512 × 512, 16 bits, made from a seed. Memory is what the download adds to the process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.peers.orthanc import running_orthanc

STUDY = "1.2.826.0.1.3680043.8.498.70"
BOUNDARY = b"8f1b6e0c2d"
CONTENDERS = ("s4s", "s4s-nosync", "dicomweb", "curl")
Result = dict[str, float]


def ct_slice(series: int, number: int, noise: np.random.Generator) -> Dataset:
    """Make one slice: a disc of water in air, with noise."""
    rows = np.hypot(*np.mgrid[-256:256, -256:256])
    pixels = np.where(rows < 150 + series * 20, 0, -1000) + noise.normal(0, 20, rows.shape)
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = CTImageStorage, f"{STUDY}.{series}.{number}"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY, f"{STUDY}.{series}"
    data_set.PatientID, data_set.PatientName, data_set.Modality = "BENCH", "Bench^Mark", "CT"
    data_set.StudyDate, data_set.SeriesNumber, data_set.InstanceNumber = "20260102", series, number
    data_set.ImagePositionPatient, data_set.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    data_set.PixelSpacing, data_set.SliceThickness = [0.7, 0.7], 1
    data_set.Rows, data_set.Columns, data_set.SamplesPerPixel = 512, 512, 1
    data_set.PhotometricInterpretation, data_set.PixelRepresentation = "MONOCHROME2", 1
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 16, 15
    data_set.RescaleSlope, data_set.RescaleIntercept = 1, 0
    data_set.PixelData = pixels.astype("<i2").tobytes()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data_set


def study_files(folder: Path, slices: int) -> list[Path]:
    """Make the study's files where they are missing."""
    noise = np.random.default_rng(20)
    made = []
    for series in (1, 2, 3):
        for number in range(1, slices + 1):
            path = folder / f"{series}-{number}.dcm"
            if not path.is_file():
                ct_slice(series, number, noise).save_as(path, enforce_file_format=True)
            made.append(path)
    return made


def _serve(listener: socket.socket, body: Path) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, body.open("rb") as file, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            connection.sendall(
                b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type="application/dicom"; boundary=' + BOUNDARY
                + f"\r\nContent-Length: {body.stat().st_size}\r\nConnection: close\r\n\r\n".encode()
            )  # fmt: skip
            connection.sendfile(file)


def serve_static(body: Path) -> None:
    """Serve one body on a free port of 127.0.0.1, which is written to standard output, until standard input closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=_serve, args=(listener, body), daemon=True).start()
        sys.stdin.read()


@contextlib.contextmanager
def static(files: list[Path], folder: Path) -> Iterator[str]:
    """Run the static server in a process of its own, and give its base address."""
    body = folder / "body"
    with body.open("wb") as whole:
        for path in files:
            data = path.read_bytes()
            whole.write(b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n")
            whole.write(f"Content-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n")
        whole.write(b"--" + BOUNDARY + b"--\r\n")
    command = [sys.executable, "-m", "benchmarks.bench_wado", "--serve", str(body)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not tell the peak of memory")


def ours(base: str, folder: Path, *, synced: bool) -> Result:
    """Retrieve the study into a cache."""
    from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
    from s4s_lab.net import HttpClient

    if not synced:
        os.fsync = lambda _descriptor: None
    cache = DicomCache(folder / "cache")
    before, began = _peak_mb(), time.perf_counter()
    with HttpClient() as client:
        found = retrieve_study(client, cache, StudyRequest(base, STUDY, None, "https://ehr.example/fhir", "BENCH"))
    seconds, added = time.perf_counter() - began, _peak_mb() - before
    assert found.state == "complete"
    names = sorted(cache.instances()["sha256"].to_pylist())
    return {"seconds": seconds, "added_mb": added, "digest": _number("".join(names))}


def dicomweb(base: str, folder: Path) -> Result:
    """Retrieve the study by dicomweb-client, and save each data set."""
    client_module: Any = importlib.import_module("dicomweb_client.api")
    client = client_module.DICOMwebClient(base)
    before, began = _peak_mb(), time.perf_counter()
    count = 0
    for data_set in client.iter_study(STUDY):
        data_set.save_as(folder / f"{count}.dcm", enforce_file_format=True)
        count += 1
    return {"seconds": time.perf_counter() - began, "added_mb": _peak_mb() - before, "count": count}


def curl(base: str, folder: Path) -> Result:
    """Fetch the body to one file by curl."""
    command = ["curl", "-sf", "-H", 'Accept: multipart/related; type="application/dicom"; transfer-syntax=*']
    began = time.perf_counter()
    subprocess.run([*command, "-o", str(folder / "body"), f"{base}/studies/{STUDY}"], check=True)
    return {"seconds": time.perf_counter() - began}


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def measured(contender: str, base: str, folder: Path) -> Result:
    """Run one contender in a process of its own, in an empty folder."""
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    command = [sys.executable, "-m", "benchmarks.bench_wado", "--run", contender, base, str(place)]
    result: Result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def run(contender: str, base: str, folder: Path) -> Result:
    """Run one contender in this process."""
    if contender == "dicomweb":
        return dicomweb(base, folder)
    if contender == "curl":
        return curl(base, folder)
    return ours(base, folder, synced=contender == "s4s")


def compare(server: str, base: str, files: list[Path], folder: Path, rounds: int) -> dict[str, float]:
    """Measure all contenders in turns, print what came, and return the median seconds of each."""
    size = sum(path.stat().st_size for path in files) / 1e6
    expected = _number("".join(sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)))
    results: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            results[name].append(measured(name, base, folder))
    medians = {}
    print(f"{server}: {len(files)} files, {size:.0f} MB, median of {rounds}")
    for name, found in results.items():
        medians[name] = statistics.median(one["seconds"] for one in found)
        added = max(one.get("added_mb", 0.0) for one in found)
        memory = f", adds {added:.0f} MB" if added else ""
        print(f"  {name:11} {size / medians[name]:5.0f} MB/s{memory}")
        # Bytes are kept as the archive has them.
        assert all(one.get("digest", expected) == expected for one in found), name
    return medians


def main() -> None:
    """Measure, and print the ratios last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=200, help="slices in each of three series")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder when not told")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_static(arguments.serve)
    elif arguments.run:
        contender, base, place = arguments.run
        print(json.dumps(run(contender, base, Path(place))))
    else:
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="s4s-bench-wado-") as place:
            _report(Path(place), arguments.slices, arguments.rounds)


def _report(folder: Path, slices: int, rounds: int) -> None:
    (folder / "files").mkdir()
    files = study_files(folder / "files", slices)
    medians = {}
    with running_orthanc(shutil.which("Orthanc", path="/usr/sbin:/usr/bin") or "Orthanc", folder) as orthanc:
        for path in files:
            assert orthanc.store(path.read_bytes())
        medians["Orthanc"] = compare("Orthanc", orthanc.wado_base, files, folder, rounds)
    with static(files, folder) as base:
        medians["static server"] = compare("static server", base, files, folder, rounds)
    for server, seconds in medians.items():
        for name in ("s4s", "s4s-nosync"):
            against = seconds["dicomweb"] / seconds[name], seconds["curl"] / seconds[name]
            print(f"{server}, {name}: {against[0]:.2f} × dicomweb-client, {against[1]:.2f} × curl")


if __name__ == "__main__":
    main()
