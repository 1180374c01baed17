"""Ctrl-C at any moment: the request ends, what it held is free, the same client goes on, the process ends."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.wire.net.interrupted import SCENES
from tests.wire.net.servers import Request, reply, serving
from tests.wire.net.test_bounds import full_backlog

STRIKES = 50 if os.environ.get("S4S_FULL") == "1" else 3
PROMPT_S = 5.0  # on a machine with nothing else to do it takes 0.1 s
PROJECT = Path(__file__).parents[3]


def script(request: Request, connection: socket.socket) -> None:
    """Answer by the last word of the path."""
    if request.target.endswith("/busy"):
        connection.sendall(reply(503, "Retry-After: 600"))
    elif request.target.endswith("/stall"):
        connection.recv(1)
    elif request.target.endswith("/drip"):
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 9000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 2000)
            time.sleep(0.01)
    else:
        connection.sendall(reply(200, body=b"done"))


def strike(child: subprocess.Popen[str], chance: random.Random) -> float:
    """Wait until the child is ready, interrupt it at a random moment, and say when [s]."""
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    time.sleep(chance.uniform(0, 0.2))
    child.send_signal(signal.SIGINT)
    return time.monotonic()


def through(child: subprocess.Popen[str], chance: random.Random) -> None:
    """Interrupt the child as often as it takes, then once more to end it."""
    assert child.stdout
    for _ in range(STRIKES):
        struck = strike(child, chance)
        assert child.stdout.readline() == "freed\n", child.communicate()[1]
        assert time.monotonic() - struck < PROMPT_S
    struck = strike(child, chance)
    assert "KeyboardInterrupt" in child.communicate(timeout=PROMPT_S)[1]
    assert time.monotonic() - struck < PROMPT_S


@pytest.mark.parametrize("scene", SCENES)
def test_an_interrupt_ends_a_request_at_once_and_leaves_nothing_locked(scene: str) -> None:
    chance = random.Random(scene)  # noqa: S311  repeatable moments, no secret
    with full_backlog() as deaf_port, serving(script) as server:
        command = [sys.executable, "-m", "tests.wire.net.interrupted", scene, server.url, str(deaf_port), str(STRIKES)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            try:
                through(child, chance)
            finally:
                child.kill()  # one that hangs would be waited for
    assert child.returncode == -signal.SIGINT
