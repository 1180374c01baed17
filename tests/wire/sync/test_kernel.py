"""A pull that waits in a notebook: the cell can be interrupted, the next one works, and the dataset is free."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from tests.wire.sync.server import FhirServer

REPOSITORY = Path(__file__).resolve().parents[3]
CONNECTED = """
import sys, warnings; sys.path.insert(0, {repository!r})
import s4s_lab as s4s
from tests.wire.sync.conftest import connection
link, data = connection({url!r}), s4s.open_dataset({folder!r})
"""
PULL = "report = s4s.pull(link, data, types=('ImagingStudy',))"
TIMEOUT_S = 60


@pytest.fixture
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A kernel of this environment and a client that it answers."""
    manager = KernelManager()
    manager.kernel_spec.argv[0] = sys.executable  # type: ignore[union-attr]  # the default one is always there
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT_S)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        ensure_event_loop().close()  # the one that the calls before have left open


def answered(client: BlockingKernelClient, asked: str) -> dict[str, Any]:
    """Return what the kernel says of a cell when it has ended."""
    while (message := client.get_shell_msg(timeout=TIMEOUT_S))["parent_header"].get("msg_id") != asked:
        pass
    content: dict[str, Any] = message["content"]
    return content


def run(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    # After an error a kernel aborts what is asked at that very moment.
    while (content := answered(client, client.execute(code)))["status"] == "aborted":
        pass
    return content


def test_a_cell_that_waits_can_be_interrupted_and_the_next_one_works(
    server: FhirServer, tmp_path: Path, kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    folder = str(tmp_path / "data")
    setting = CONNECTED.format(repository=str(REPOSITORY), url=server.url, folder=folder)
    assert run(client, setting)["status"] == "ok"
    server.waiting = {"ImagingStudy": "60"}
    waits = tmp_path / "data" / "dicom" / "waits.json"
    asked = client.execute(PULL)
    appeared(waits)
    manager.interrupt_kernel()
    answer = answered(client, asked)
    assert (answer["status"], answer["ename"]) == ("error", "KeyboardInterrupt")
    server.waiting.clear()
    waits.unlink()
    assert run(client, f"{PULL}; assert report.outcome == 'done'")["status"] == "ok"


def appeared(path: Path) -> None:
    """Wait until the pull has written down that it waits."""
    tick = threading.Event()
    for _ in range(TIMEOUT_S * 20):
        if path.exists():
            return
        tick.wait(0.05)
