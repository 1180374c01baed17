"""Pull 100,000 resources from a static local server: time against fetching and decoding alone, and peak memory.

`python -m benchmarks.bench_pull [--resources 10000 50000 100000] [--repeat 3]`; each measurement is a process of its
own, and the ratios are medians over the repetitions at the largest size.

fetch   this package's HTTP client and paging, every resource decoded, nothing kept: what a pull cannot do without
plain   httpx2 and `orjson.loads` (`json.loads` where orjson is not installed) in a loop over the same pages
pull    `s4s_lab.pull` into a new dataset: the log, the tables and the ledger; printed in two parts
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.pages import PATIENT, TYPES, pages_of

FOLDER = Path(tempfile.gettempdir()) / "s4s-bench"
Result = dict[str, float]


def fetch(fhir_url: str) -> Result:
    """Fetch and decode every page, and keep nothing."""
    from s4s_lab.fhir import search
    from s4s_lab.net import HttpClient

    count = 0
    with HttpClient() as client:
        for kind in TYPES:
            for page in search(client, fhir_url, kind, {"patient": PATIENT}):
                count += sum("resourceType" in entry.resource for entry in page.entries)
    return {"resources": count}


def plain(fhir_url: str) -> Result:
    """Do the same with the libraries alone."""
    import httpx2

    loads: Callable[[bytes], Any] = json.loads
    with suppress(ImportError):
        loads = importlib.import_module("orjson").loads
    count = 0
    with httpx2.Client() as client:
        for kind in TYPES:
            url: str | None = f"{fhir_url}/{kind}?patient={PATIENT}"
            while url:
                bundle = loads(client.get(url).content)
                count += len(bundle["entry"])
                url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    return {"resources": count}


def pull(fhir_url: str) -> Result:
    """Pull into a new dataset; then once more, from a server where nothing changed."""
    from s4s_lab import open_dataset
    from s4s_lab import pull as pull_into

    link = connection(fhir_url)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        data = open_dataset(Path(folder) / "dataset")
        tables: Result = {}
        refresh = data.refresh

        def timed(*arguments: Any) -> None:
            tables["log_peak_mb"] = peak_mb()
            with timing(tables, "tables_"):
                refresh(*arguments)

        data.refresh = timed  # type: ignore[method-assign] # split what one verb does
        report = pull_into(link, data, types=TYPES)
        assert report.outcome == "done", report
        data.refresh = refresh  # type: ignore[method-assign]
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        return {"resources": sum(item.new for item in report.types), "kept_mb": size / 1e6, **tables}


def connection(fhir_url: str, patient_id: str = PATIENT) -> Any:
    """Return a connection as a launch would give it."""
    from s4s_lab.connection import Connection
    from s4s_lab.fhir import Capability
    from s4s_lab.smart import Grant, MemoryGrants, SmartConfiguration
    from s4s_lab.values import S4S_SCOPE, Registration, Secret
    from s4s_lab.values.instants import utc_now

    statement = {
        "resourceType": "CapabilityStatement",
        "fhirVersion": "3.0.1",
        "rest": [{"mode": "server", "resource": [{"type": name} for name in TYPES]}],
    }
    configuration = SmartConfiguration(
        fhir_url=fhir_url,
        authorization_endpoint=f"{fhir_url}/authorize",
        token_endpoint=f"{fhir_url}/token",
        source="metadata",
        capability_statement=statement,
    )
    grant = Grant(Secret("token"), None, S4S_SCOPE, patient_id, utc_now() + timedelta(hours=9), 1)
    return Connection(
        fhir_url=fhir_url,
        patient_id=patient_id,
        capability=Capability.from_json(statement),
        configuration=configuration,
        registration=Registration("app", Secret("secret")),
        grants=MemoryGrants(grant),
    )


CONTENDERS = {"fetch": fetch, "plain": plain, "pull": pull}
# What each imports, before the clock starts: a session imports once, whatever it pulls.
IMPORTS = {
    "fetch": ("s4s_lab.fhir", "s4s_lab.net"),
    "plain": ("httpx2", "json"),
    "pull": ("s4s_lab.sync", "s4s_lab.lake", "s4s_lab.connection"),
}


def peak_mb() -> float:
    """Return the peak resident size of this process [MB]."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


@contextmanager
def timing(into: Result, prefix: str = "") -> Iterator[None]:
    """Note wall and processor time of a block [s]."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    into[f"{prefix}wall_s"] = time.perf_counter() - wall
    into[f"{prefix}cpu_s"] = time.process_time() - processor


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Run the static server in a process of its own, and give its port."""
    command = [sys.executable, "-m", "benchmarks.static_server", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        assert server.stdin is not None
        server.stdin.close()


def measured(contender: str, fhir_url: str) -> Result:
    """Run a contender in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_pull", "--run", contender, fhir_url]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def run(contender: str, fhir_url: str) -> None:
    """Run a contender in this process, and print what it took, without imports, as JSON."""
    result: Result = {}
    for module in IMPORTS[contender]:
        importlib.import_module(module)
    with timing(result):
        result |= CONTENDERS[contender](fhir_url)
    print(json.dumps(result | {"peak_mb": peak_mb()}))


def show(contender: str, result: Result) -> None:
    """Print one measurement as a line."""
    parts = [f"{result['resources']:>9,.0f} {contender:<6} {result['wall_s']:7.2f} s wall {result['cpu_s']:7.2f} s CPU"]
    parts.append(f"{result['peak_mb']:6.0f} MB peak")
    if contender == "pull":
        wall, cpu = result["tables_wall_s"], result["tables_cpu_s"]
        to_log = f"{result['wall_s'] - wall:.2f} s wall {result['cpu_s'] - cpu:.2f} s CPU"
        parts.append(f"to the log {to_log} {result['log_peak_mb']:.0f} MB")
        parts.append(f"tables {wall:.2f} s wall {cpu:.2f} s CPU, {result['kept_mb']:.0f} MB kept")
    print(", ".join(parts), flush=True)


def main() -> None:
    """Measure every contender at every size, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, nargs="+", default=[10_000, 50_000, 100_000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--run", nargs=2, metavar=("CONTENDER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(*options.run)
        return
    folder = pages_of(max(options.resources), FOLDER)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{max(options.resources):,} resources in {size / 1e6:.0f} MB of pages")
    ratios: dict[str, list[float]] = {}
    peaks: dict[int, Result] = {}
    with serving(folder) as port:
        for resources in sorted(options.resources):
            fhir_url = f"http://127.0.0.1:{port}/{resources // len(TYPES)}/fhir"
            for _ in range(options.repeat):
                results = {name: measured(name, fhir_url) for name in CONTENDERS}
                for name, result in results.items():
                    show(name, result)
                if resources == max(options.resources):
                    _compare(results, ratios)
            peaks[resources] = results["pull"]
    for resources, result in peaks.items():
        to_log, whole = result["log_peak_mb"], result["peak_mb"]
        print(f"peak memory of a pull of {resources:>9,}: {to_log:.0f} MB to the log, {whole:.0f} MB with tables")
    for what, several in ratios.items():
        print(f"{what}: {statistics.median(several):.2f}")


def _compare(results: dict[str, Result], ratios: dict[str, list[float]]) -> None:
    """Add one repetition's ratios; the one that counts comes last."""
    whole = results["pull"]
    for peer in ("fetch", "plain"):
        for kind in ("cpu_s", "wall_s"):
            base, to_log = results[peer][kind], whole[kind] - whole[f"tables_{kind}"]
            for what, took in (("pull with tables", whole[kind]), ("pull to the log", to_log)):
                ratios.setdefault(f"{what} / {peer}, {kind[:-2]} time", []).append(took / base)


if __name__ == "__main__":
    main()
