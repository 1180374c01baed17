"""A study from Orthanc, and from a static server, to hashed, verified, indexed files, against peers in the same run.

`python -m benchmarks.bench_wado [--slices 200] [--rounds 5] [--folder DIR]`; each measurement is a process of its own,
the contenders take turns, and every one starts with an empty folder.

s4s            `retrieve_study`: split, hashed, headers read, checked, indexed; every file on disk for good (fsync)
s4s-nosync     the same without waiting for the disk, which no user can choose; it shows what that costs
dicomweb       dicomweb-client's `iter_study`, each data set saved by `save_as`: neither hashed nor checked nor on disk
dicomweb-same  the same end as ours: each file saved, synced, hashed, a row of its header, the rows counted and kept
dicomweb-read  `iter_study` alone: nothing is kept
curl           the body to one file, neither split nor read

The study: a CT of three series, 512 × 512, 16 bits, made from a seed. MB/s are of the retrieval; CPU is the client's,
in the retrieval; "whole" is the whole process with the interpreter's start and all imports. Memory is what the download
adds to the process.
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
CONTENDERS = ("s4s", "s4s-nosync", "dicomweb", "dicomweb-same", "dicomweb-read", "curl")
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


class Meter:
    """Seconds and processor seconds of a block, its ended child processes included, and the memory that it added."""

    def __enter__(self) -> Meter:
        self._peak, self._cpu, self._began = _peak_mb(), sum(os.times()[:4]), time.perf_counter()
        return self

    def __exit__(self, *_error: object) -> None:
        seconds, cpu = time.perf_counter() - self._began, sum(os.times()[:4]) - self._cpu
        self.result: Result = {"seconds": seconds, "cpu": cpu, "added_mb": _peak_mb() - self._peak}


def ours(base: str, folder: Path, *, synced: bool) -> Result:
    """Retrieve the study into a cache."""
    from s4s_lab.dicom import DicomCache, StudyRequest, retrieve_study
    from s4s_lab.net import HttpClient

    if not synced:
        os.fsync = lambda _descriptor: None
    cache = DicomCache(folder / "cache")
    with Meter() as meter, HttpClient() as client:
        found = retrieve_study(client, cache, StudyRequest(base, STUDY, None, "https://ehr.example/fhir", "BENCH"))
    assert found.state == "complete"
    names = sorted(cache.instances()["sha256"].to_pylist())
    return meter.result | {"digest": _number("".join(names))}


def _row(data_set: Dataset, path: Path) -> dict[str, str]:
    """Return a file's header as a row, with the file's hash, the file on disk for good."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        row = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return row | {element.keyword: str(element.value) for element in data_set if element.keyword != "PixelData"}


def dicomweb(base: str, folder: Path, *, kept: str) -> Result:
    """Retrieve the study by dicomweb-client, and keep of each data set nothing, its file, or all that we keep."""
    client_module: Any = importlib.import_module("dicomweb_client.api")
    client = client_module.DICOMwebClient(base)
    rows: list[dict[str, str]] = []
    count = 0
    with Meter() as meter:
        for data_set in client.iter_study(STUDY):
            count += 1
            path = folder / f"{count}.dcm"
            if kept != "nothing":
                data_set.save_as(path)
            if kept == "all":
                rows.append(_row(data_set, path))
        if kept == "all":
            assert len({row["SOPInstanceUID"] for row in rows}) == count
            (folder / "index.json").write_text(json.dumps(rows))
    return meter.result | {"count": count}


def curl(base: str, folder: Path) -> Result:
    """Fetch the body to one file by curl."""
    command = ["curl", "-sf", "-H", 'Accept: multipart/related; type="application/dicom"; transfer-syntax=*']
    with Meter() as meter:
        subprocess.run([*command, "-o", str(folder / "body"), f"{base}/studies/{STUDY}"], check=True)
    return meter.result


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def measured(contender: str, base: str, folder: Path) -> Result:
    """Run one contender in a process of its own, in an empty folder."""
    place = Path(tempfile.mkdtemp(dir=folder, prefix="run-"))
    command = [sys.executable, "-m", "benchmarks.bench_wado", "--run", contender, base, str(place)]
    # What the one before left to be written is not this one's to wait for.
    os.sync()
    began = time.perf_counter()
    result: Result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result["whole"] = time.perf_counter() - began
    for path in place.rglob("*"):
        # Emptied, not removed: for minutes ext4 searches past inodes that were just freed, at the next one's cost.
        if path.is_file():
            os.truncate(path, 0)
    return result


def run(contender: str, base: str, folder: Path) -> Result:
    """Run one contender in this process."""
    if contender == "curl":
        return curl(base, folder)
    if contender.startswith("s4s"):
        return ours(base, folder, synced=contender == "s4s")
    kept = {"dicomweb": "files", "dicomweb-same": "all", "dicomweb-read": "nothing"}
    return dicomweb(base, folder, kept=kept[contender])


def compare(server: str, base: str, files: list[Path], folder: Path, rounds: int) -> dict[str, Result]:
    """Measure all contenders in turns, print what came, and return the medians of each."""
    size = sum(path.stat().st_size for path in files) / 1e6
    expected = _number("".join(sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)))
    results: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        first = number % len(CONTENDERS)
        for name in CONTENDERS[first:] + CONTENDERS[:first]:
            results[name].append(measured(name, base, folder))
    medians = {}
    print(f"{server}: {len(files)} files, {size:.0f} MB, median of {rounds}")
    for name, found in results.items():
        # Bytes are kept as the archive has them.
        assert all(one.get("digest", expected) == expected for one in found), name
        assert all(one.get("count", len(files)) == len(files) for one in found), name
        middle = {what: statistics.median(one[what] for one in found) for what in ("seconds", "cpu", "whole")}
        medians[name] = middle
        added = max(one["added_mb"] for one in found)
        speed = f"{size / middle['seconds']:5.0f} MB/s, best {size / min(one['seconds'] for one in found):.0f}"
        print(f"  {name:13} {speed}, CPU {middle['cpu']:.2f} s, whole {middle['whole']:.2f} s, adds {added:.0f} MB")
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


def _ratios(medians: dict[str, Result], name: str) -> Iterator[str]:
    for peer in CONTENDERS[2:]:
        against = [medians[peer][what] / medians[name][what] for what in ("seconds", "whole", "cpu")]
        yield f"{against[0]:.2f} × {peer} (whole process {against[1]:.2f}, CPU {against[2]:.2f})"


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
    for server, found in medians.items():
        for name in ("s4s", "s4s-nosync"):
            print(f"{server}, {name}: {'; '.join(_ratios(found, name))}")


if __name__ == "__main__":
    main()
