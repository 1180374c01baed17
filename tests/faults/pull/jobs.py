"""What a child can be asked to do to a dataset."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from s4s_lab import fetch, open_dataset, pull
from s4s_lab.cli import connections
from s4s_lab.cli.app import app
from s4s_lab.connection import Connection
from s4s_lab.errors import S4SError
from s4s_lab.lake import ConnectionRecord
from s4s_lab.lake.derive import catalogue
from s4s_lab.sync.pulling import PullMode
from tests.wire.sync.conftest import connection

Told = dict[str, Any]
# Compiled once, before any child is forked.
catalogue()


def pull_once(root: Path, url: str, mode: PullMode = "auto") -> Told:
    """Open the dataset, making it when there is none, and pull; an error of ours is told."""
    try:
        report = pull(connection(url), open_dataset(root), mode=mode)
    except S4SError as error:
        return {"error": type(error).__name__, "text": str(error)}
    return {"outcome": report.outcome}


def pull_by_command(root: Path, url: str) -> Told:
    """Do the same by `s4s pull`; the grant does not matter here."""

    def reopened(
        record: ConnectionRecord,
        max_wait_s: float,
        *_: object,
        **__: object,
    ) -> tuple[Connection, float]:
        return connection(url), max_wait_s

    connections._reopened = reopened
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        result = CliRunner().invoke(app, ["pull", "--dataset", str(root)])
    crash = None if result.exception is None or isinstance(result.exception, SystemExit) else repr(result.exception)
    return {"code": result.exit_code, "text": result.output, "traceback": crash}


def fetch_once(root: Path, url: str) -> Told:
    """Fetch every study."""
    try:
        report = fetch(connection(url), open_dataset(root), max_wait_s=5)
    except S4SError as error:
        return {"error": type(error).__name__, "text": str(error)}
    return {"outcome": report.outcome}


def forget(root: Path, url: str, patient_id: str) -> Told:
    """Forget a participant of that server."""
    return open_dataset(root).forget(patient_id, url).to_json()


JOBS: dict[str, Callable[..., Told]] = {
    "pull": pull_once,
    "command": pull_by_command,
    "fetch": fetch_once,
    "forget": forget,
}
