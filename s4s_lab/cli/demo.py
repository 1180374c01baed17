"""`s4s demo`: the whole journey on the embedded sandbox, as a user would go it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from matplotlib.figure import Figure

from s4s_lab import sandbox
from s4s_lab.cli.fetch import show_fetch
from s4s_lab.cli.options import DatasetFolder, JsonOutput
from s4s_lab.cli.output import command, emit, say, show
from s4s_lab.connection import Connection, prepare_launch
from s4s_lab.errors import DatasetError
from s4s_lab.explore import montage, timeline
from s4s_lab.lake import Dataset, open_dataset
from s4s_lab.sync import FetchReport, PullReport, fetch, pull
from s4s_lab.sync.pulling import PullMode

DEFAULT = Path("data/demo")


def register(app: typer.Typer) -> None:
    """Hang the command on `app`."""
    app.command(
        "demo",
        help="Go the whole way on the embedded sandbox: launch, pulls, images, tables, a plot.",
        epilog="Example: s4s demo --dataset data/demo",
    )(command(run))


@dataclass
class Journey:
    """What the demo did so far; `tell` is silent when the result is asked for as JSON."""

    tell: Callable[[str], None]
    quiet: bool
    pulls: list[PullReport] = field(default_factory=list)
    fetches: list[FetchReport] = field(default_factory=list)


def run(dataset: DatasetFolder = DEFAULT, json_output: JsonOutput = False) -> None:
    """Go the whole way."""
    began = time.monotonic()
    journey = Journey((lambda _: None) if json_output else say, json_output)
    data = open_dataset(_fresh(dataset))
    with sandbox.start(redirect_uri=f"http://127.0.0.1:{_free_port()}/callback") as server:
        journey.tell(f"A reference S4S server runs at {server.fhir_url} with {len(server.participants)} participants.")
        links = _connected(server, data, journey)
        _pull_all(journey, links, data, "first", "1. First pull: the whole record")
        change = server.change(0)
        journey.tell(
            f"\nThe record of {server.participants[0].name} changes: {len(change.added)} resources are new, "
            f"{len(change.changed)} changed, {len(change.removed)} fell out."
        )
        _pull_all(journey, links, data, "update", "2. Update: what changed since lastCheck")
        _pull_all(journey, links, data, "broad", "3. Broad pull: what updates cannot show")
        _fetch_all(journey, links, data)
        plots = [_plot(data)]
    tables = data.tables().to_pylist()
    seconds = round(time.monotonic() - began, 2)
    if json_output:
        emit(_as_json(data, journey, tables, plots, seconds))
        return
    show("\nTables", ["table", "rows"], [[row["name"], row["rows"]] for row in tables])
    say(f"\nDataset  {data.path()}\nImages   {data.path() / 'dicom'}\nPlot     {plots[0]}\nTook     {seconds:.1f} s")
    say(f"\nNext: s4s tables --dataset {data.path()} imaging_study")


def _fresh(wanted: Path) -> Path:
    """Return the folder for the demo's dataset: the wanted one, or the next free number when a demo was there."""
    if wanted != DEFAULT:
        if wanted.exists() and any(wanted.iterdir()):
            raise DatasetError(f"{wanted} is not empty.", hint="Give the demo a folder of its own.")
        return wanted
    candidates = (DEFAULT if number == 1 else DEFAULT.with_name(f"demo-{number}") for number in range(1, 10_000))
    return next(folder for folder in candidates if not folder.exists())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connected(server: sandbox.Sandbox, data: Dataset, journey: Journey) -> list[Connection]:
    """Launch once for each participant: discovery, registration, consent over HTTP, redirect, token exchange."""
    links = []
    for participant in server.participants:
        with closing(prepare_launch(server.fhir_url, redirect_uri=server.registration.redirect_uri)) as launch:
            server.approve(launch, participant.patient_id)
            link = launch.wait(30)
        record = data.connection(link.fhir_url, link.patient_id)
        links.append(link.kept_at(record.grants_path))
        journey.tell(f"  {participant.name} approved: {link.scope}")
    return links


def _pull_all(journey: Journey, links: list[Connection], data: Dataset, mode: PullMode, title: str) -> None:
    reports = [pull(link, data, mode=mode) for link in links]
    journey.pulls.extend(reports)
    if not journey.quiet:
        _show_together(title, reports)


def _show_together(title: str, reports: list[PullReport]) -> None:
    """Write the pulls of all participants as one table, one row a resource type."""
    names = ["new", "changed", "unchanged", "fallen_out"]
    totals: dict[str, list[int]] = {}
    for item in (item for report in reports for item in report.types):
        row = totals.setdefault(item.resource_type, [0] * len(names))
        totals[item.resource_type] = [total + getattr(item, name) for total, name in zip(row, names, strict=True)]
    show(f"\n{title}", ["type", *names], [[kind, *counts] for kind, counts in totals.items()])
    for report in reports:
        for text in report.warnings:
            say(f"  note: {text}")


def _fetch_all(journey: Journey, links: list[Connection], data: Dataset) -> None:
    began = time.monotonic()
    reports = [fetch(link, data) for link in links]
    journey.fetches.extend(reports)
    if not journey.quiet:
        everything = FetchReport(tuple(study for report in reports for study in report.studies))
        show_fetch(everything, f"\n4. Images: every study by WADO-RS, in {time.monotonic() - began:.0f} s")
        journey.tell("Each answer was 503 at first, as a PACS takes its time; the study was asked for again when told.")


def _plot(data: Dataset) -> Path:
    """Draw studies by modality and year above slices of the study with the most images."""
    figure = Figure(figsize=(8, 8.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.35))
    timeline(data.table("imaging_study"), ax=upper)
    largest = str(data.table("dicom_instance")["study_uid"].value_counts().index[0])
    montage(data, largest, ax=lower)
    target = data.path() / "demo.png"
    figure.savefig(target, dpi=120)
    target.chmod(0o600)
    return target


def _as_json(
    data: Dataset, journey: Journey, tables: list[dict[str, Any]], plots: list[Path], seconds: float
) -> dict[str, Any]:
    studies = [study for report in journey.fetches for study in report.studies]
    return {
        "dataset": str(data.path()),
        "tables": {row["name"]: row["rows"] for row in tables},
        "pulls": [report.to_json() for report in journey.pulls],
        "images": {
            "studies": len(studies),
            "instances": sum(study.instances for study in studies),
            "bytes": sum(study.bytes for study in studies),
        },
        "plots": [str(path) for path in plots],
        "seconds": seconds,
    }
