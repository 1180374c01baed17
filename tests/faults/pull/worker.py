"""Pulls and fetches in processes that can be killed, or whose disk can fail, at any one of their file operations.

Run as a program this is a server that has imported everything: a line of JSON in, a forked child does the job, a line
of JSON out. The shim is loaded before it, so a child only has to arm it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

NAMES, SYNCS, WRITES = 1, 2, 4
_HOW = {"off": 0, "count": 1, "kill": 2, "fail once": 3, "fail on": 4}


@dataclass(frozen=True)
class Fault:
    """What happens to the child, at which of its file operations below the dataset.

    Parameters
    ----------
    how : str
        `count` only counts; `kill` ends the child just before operation number `at`; `fail once` and `fail on` let
        that operation, or all from it on, fail with `error`.
    classes : int
        Which operations count: NAMES (rename, link, unlink, mkdir, rmdir), SYNCS, WRITES (write, truncate, create).
    log : str or None
        Where to record every operation with its data.
    kill_after_s : float or None
        Kill the child so long after it began.
    """

    how: Literal["off", "count", "kill", "fail once", "fail on"] = "off"
    classes: int = NAMES | SYNCS
    at: int = 0
    error: int = 0
    log: str | None = None
    kill_after_s: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a child ended: its exit status, what it said, how many operations were counted, how long it took [s]."""

    status: int
    said: dict[str, Any]
    counted: int
    seconds: float

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Worker:
    """The server process, as the test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, job: str, root: Path, url: str, fault: Fault | None = None, **given: Any) -> Ending:
        """Let a child do a job and wait until it has ended."""
        order = {"job": job, "root": str(root), "url": url, "given": given, "fault": asdict(fault or Fault())}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Ending(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def working(shim: Path) -> Iterator[Worker]:
    """Run a server process with the shim for the block."""
    environment = {**os.environ, "LD_PRELOAD": str(shim), "S4S_PROGRESS": "0", "S4S_SHIM": str(shim)}
    command = [sys.executable, "-m", "tests.faults.pull.worker"]
    folder = Path(__file__).parents[3]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Worker(process)
        assert process.stdin
        process.stdin.close()


def _serve() -> None:
    from tests.faults.pull import jobs

    shim = ctypes.CDLL(os.environ["S4S_SHIM"])
    shim.shim_disarm.restype = ctypes.c_long
    for line in sys.stdin:
        order = json.loads(line)
        answer, said = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if not child:
            os.close(answer)
            _child(jobs.JOBS[order["job"]], order, shim, said)
        os.close(said)
        status, text = _awaited(child, answer, order["fault"]["kill_after_s"])
        told = json.loads(text) if text else {"said": {}, "counted": 0}
        sys.stdout.write(json.dumps({"status": status, **told, "seconds": time.monotonic() - began}) + "\n")
        sys.stdout.flush()


def _awaited(child: int, answer: int, kill_after_s: float | None) -> tuple[int, str]:
    if kill_after_s is not None:
        timer = threading.Timer(kill_after_s, os.kill, (child, signal.SIGKILL))
        timer.start()
    with os.fdopen(answer) as pipe:
        text = pipe.read()
    if kill_after_s is not None:
        timer.cancel()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def _child(job: Any, order: dict[str, Any], shim: Any, said: int) -> None:
    fault = order["fault"]
    log = None if fault["log"] is None else fault["log"].encode()
    number = ctypes.c_long(fault["at"])
    shim.shim_arm(order["root"].encode(), _HOW[fault["how"]], fault["classes"], number, fault["error"], log)
    told: dict[str, Any] = {}
    try:
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()) as out:
            warnings.simplefilter("always")
            told |= job(Path(order["root"]), order["url"], **order["given"]) or {}
        told |= {"warnings": [str(one.message) for one in caught], "out": out.getvalue()}
    except BaseException:
        told |= {"crash": traceback.format_exc()}
    counted = shim.shim_disarm()
    os.write(said, json.dumps({"said": told, "counted": counted}).encode())
    os._exit(0)


if __name__ == "__main__":
    _serve()
