"""Bundles to Parquet tables, against fhir-pyrate, fhiry, and msgspec's bare typed decode in the same run.

`python -m benchmarks.bench_tables [--mb 200] [--rounds 3] [--peers PYTHON] [--big 2000]`; every measurement is a
process of its own, the contenders take turns; CPU seconds (user and system) without imports. Last it prints the ratios.

s4s       the packaged views as they are, all of their columns
columns   the same views with the columns that every contender gives, and no others
decode    only the decoder that the views' compiler made: exactly the elements that they read, no tables
peers     fhir-pyrate and fhiry: see `benchmarks/peers_tables.py`; `--peers` names the Python that has them

A contender counts only when row counts and order-free checksums of the common columns are those of `s4s`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.bundles import write_bundles
from benchmarks.peers_tables import COLUMNS, TABLES, peak_mb

Result = dict[str, float]
RESOURCES = {"img": "ImagingStudy", "eob": "ExplanationOfBenefit"}
FLOORS = {"img": 8.0, "eob": 11.0}


def _common_only(table: str) -> object:
    """Return the packaged view with the common columns alone."""
    from s4s_lab.views import load_view
    from s4s_lab.views.columns import columns_of
    from s4s_lab.views.definition import Select, read_definition

    view = load_view(table)
    key = {"resource": view.resource_type, "select": [{"column": [
        {"name": "resource_id", "path": "getResourceKey()", "type": "id"}]}]}  # fmt: skip
    wanted = set(COLUMNS[table].split())

    def pruned(select: Select) -> Select:
        inner = [pruned(one) for one in select.selects]
        return replace(
            select,
            columns=tuple(one for one in select.columns if one.name in wanted),
            selects=tuple(one for one in inner if next(one.all_columns(), None) or one.iteration == "forEach"),
            union=tuple(pruned(one) for one in select.union),
        )

    plans = {
        version: replace(plan, selects=(*read_definition(key).selects, *map(pruned, plan.selects)))
        for version, plan in view.plans.items()
    }
    return replace(view, packaged=False, plans=plans, columns=columns_of(plans))


def _views(contender: str, kind: str) -> list[object]:
    from s4s_lab.views import load_view

    return [_common_only(one) if contender == "columns" else load_view(one) for one in TABLES[kind]]


def tables(contender: str, kind: str, files: Sequence[Path], out: Path) -> None:
    """Write the tables as a user would."""
    from s4s_lab.explore.tabulating import tabulate_to

    tabulate_to(list(files), _views(contender, kind), {name: out / f"{name}.parquet" for name in TABLES[kind]})


def decode(_contender: str, kind: str, files: Sequence[Path], _out: Path) -> None:
    """Decode every Bundle by the projection of the views and keep nothing; the cyclic collector is off."""
    import gc

    from s4s_lab.views.projected.projection import projection_of

    decode_bundle = projection_of(RESOURCES[kind], tuple(_views("s4s", kind))).decode_bundle
    gc.disable()
    for file in files:
        decode_bundle(file.read_bytes())


def two_processes(kind: str, folder: Path, out: Path) -> float:
    """Return how many times sooner two processes over two halves are done than one over all, each at its best."""
    seconds: dict[int, float] = {}
    for count in (1, 2) * 3:
        command = [sys.executable, "-m", "benchmarks.bench_tables", "--run", "s4s", kind, str(folder)]
        for part in range(count):
            (out / f"{count}-{part}").mkdir(parents=True, exist_ok=True)
        running = [
            subprocess.Popen([*command, str(out / f"{count}-{part}"), str(part), str(count)], stdout=subprocess.PIPE)
            for part in range(count)
        ]
        took = max(json.loads(one.communicate()[0].splitlines()[-1])["wall_s"] for one in running)
        seconds[count] = min(took, seconds.get(count, took))
    return seconds[1] / seconds[2]


def checksum(table: str, folder: Path) -> tuple[int, int]:
    """Return the number of rows, and a sum over hashes of rows that no order changes; decimals count to 4 places."""
    rows, total = 0, 0
    for batch in pq.ParquetFile(folder / f"{table}.parquet").iter_batches(columns=COLUMNS[table].split()):
        row = np.zeros(batch.num_rows, np.uint64)
        for name in COLUMNS[table].split():
            column = batch.column(name)
            if pa.types.is_decimal(column.type):
                column = pc.cast(column, pa.decimal128(38, 4), safe=False)
            texts = pc.fill_null(pc.cast(column, pa.string()), "\0").to_numpy(zero_copy_only=False)
            row = row * np.uint64(1_000_003) + pd.util.hash_array(texts.astype(object), categorize=False)
        rows += batch.num_rows
        total += int((row ^ (row >> np.uint64(29))).sum(dtype=np.uint64))
    return rows, total % 2**64


def _run_here(contender: str, kind: str, folder: Path, out: Path, part: int = 0, parts: int = 1) -> Result:
    from s4s_lab.explore import tabulating  # noqa: F401  # imports are not measured

    files = sorted(folder.glob("*.json"))[part::parts]
    (decode if contender == "decode" else tables)(contender, kind, files[:1], out)
    before, start = time.process_time(), time.perf_counter()
    (decode if contender == "decode" else tables)(contender, kind, files, out)
    cpu_s = time.process_time() - before
    return {"cpu_s": cpu_s, "wall_s": time.perf_counter() - start, "peak_mb": peak_mb()}


def _measure(contender: str, kind: str, folder: Path, out: Path, peers: str | None) -> Result:
    out.mkdir(parents=True, exist_ok=True)
    if contender in ("fhir-pyrate", "fhiry"):
        command = [str(peers), str(Path(__file__).with_name("peers_tables.py"))]
    else:
        command = [sys.executable, "-m", "benchmarks.bench_tables", "--run"]
    done = subprocess.run(
        [*command, contender, kind, str(folder), str(out)], check=True, capture_output=True, text=True
    )
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _contenders(peers: str | None) -> Iterator[str]:
    yield from ("s4s", "columns", "decode")
    if peers:
        yield from ("fhir-pyrate", "fhiry")


def compare(kind: str, megabytes: int, rounds: int, base: Path, peers: str | None) -> dict[str, Result]:
    """Measure every contender some times in turns, check what they wrote, and print it."""
    folder = base / f"{kind}-{megabytes}"
    files = write_bundles(kind, folder, megabytes)
    size = sum(file.stat().st_size for file in files) / 1e6
    results: dict[str, list[Result]] = {one: [] for one in _contenders(peers)}
    for number in range(rounds):
        for contender, found in results.items():
            # A peer takes as long as all the others together: once is enough to compare with.
            if number == 0 or contender in ("s4s", "columns", "decode"):
                found.append(_measure(contender, kind, folder, base / "out" / contender / kind, peers))
    sums = {one: [checksum(t, base / "out" / one / kind) for t in TABLES[kind]] for one in results if one != "decode"}
    medians = {}
    for contender, found in results.items():
        cpu_s = statistics.median(one["cpu_s"] for one in found)
        medians[contender] = {"cpu_s": cpu_s, "peak_mb": max(one["peak_mb"] for one in found)}
        same = "" if sums.get(contender, sums["s4s"]) == sums["s4s"] else "  OTHER ROWS: does not count"
        print(f"{kind} {contender:12} {cpu_s:7.2f} CPU s {size / cpu_s:7.1f} MB per CPU s"
              f" {medians[contender]['peak_mb']:6.0f} MB peak{same}")  # fmt: skip
    rows = ", ".join(f"{name} {count:,}" for name, (count, _) in zip(TABLES[kind], sums["s4s"], strict=True))
    print(
        f"{kind} {size:.0f} MB in {len(files)} Bundles; rows: {rows}; checksums {[total for _, total in sums['s4s']]}"
    )
    return medians


def _ratios(kind: str, medians: dict[str, Result]) -> Iterator[str]:
    for ours in ("s4s", "columns"):
        said = [f"{medians[ours]['cpu_s'] / medians['decode']['cpu_s']:.1f} x the bare decode (at most 4)"]
        for peer, floor in (("fhir-pyrate", FLOORS[kind]), ("fhiry", 10.0)):
            if peer in medians:
                said.append(f"{medians[peer]['cpu_s'] / medians[ours]['cpu_s']:.1f} x {peer} (at least {floor:.0f})")
        yield f"{kind} {ours}: {', '.join(said)}; peak {medians[ours]['peak_mb']:.0f} MB (under 300)"


def main() -> None:
    """Read the arguments and run."""
    if sys.argv[1:2] == ["--run"]:
        print(
            json.dumps(
                _run_here(sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]), *map(int, sys.argv[6:]))
            )
        )
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mb", type=int, default=200, help="of each kind [MB]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--big", type=int, default=0, help="a size to show that memory stays flat [MB]")
    parser.add_argument("--peers", help="a Python with fhir-pyrate, fhiry and pyarrow")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "s4s-bench-tables")
    options = parser.parse_args()
    lines: list[str] = []
    for kind in TABLES:
        lines += _ratios(kind, compare(kind, options.mb, options.rounds, options.folder, options.peers))
        folder = options.folder / f"{kind}-{options.mb}"
        gain = two_processes(kind, folder, options.folder / "out" / "parts")
        lines.append(f"{kind}: 2 processes are {gain:.2f} x as fast as one (at least 1.6)")
        if options.big:
            folder = options.folder / f"{kind}-{options.big}"
            write_bundles(kind, folder, options.big)
            big = _measure("s4s", kind, folder, options.folder / "out" / "big", None)
            lines.append(
                f"{kind}: {options.big} MB: peak {big['peak_mb']:.0f} MB (under 300), {big['cpu_s']:.1f} CPU s"
            )
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
