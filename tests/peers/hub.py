"""A JupyterHub on the loopback, behind its own proxy, with a person who signs in and gets a JupyterLab of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.conftest import PROJECT
from tests.journey.conftest import free_port
from tests.peers.lab import START_S, STEP_MS, STOP_S, Notebook, notebook_of
from tests.peers.oidc import NODE, PEERS

PROXY = PEERS / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
PERSON = "ann"


@dataclass(frozen=True)
class Hub:
    """A running JupyterHub.

    Parameters
    ----------
    url : str
        Its public address, without a slash at the end.
    home : Path
        Where the person's server works.
    log : Path
        All that it, its proxy and the person's server said.
    """

    url: str
    home: Path
    log: Path

    @contextlib.contextmanager
    def signed_in(self, browser: Browser) -> Iterator[Page]:
        """Sign in, in a browser of its own, and wait until the person's server is there."""
        context = browser.new_context(viewport={"width": 1180, "height": 760})
        page = context.new_page()
        page.set_default_timeout(START_S * 1000)
        try:
            page.goto(f"{self.url}/hub/login")
            page.fill("#username_input", PERSON)
            page.fill("#password_input", "anything")
            page.click("#login_submit")
            page.wait_for_url(f"{self.url}/user/{PERSON}/lab**")
            yield page
        finally:
            context.close()

    def open(self, page: Page, name: str, cells: Sequence[str]) -> Notebook:
        """Write a notebook of code cells and open it in the person's JupyterLab."""
        path = self.home / f"{name}.ipynb"
        path.write_text(json.dumps(notebook_of(cells)), encoding="utf-8")
        page.goto(f"{self.url}/user/{PERSON}/doc/tree/{path.name}")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext")
        notebook = Notebook(page, path)
        notebook.wait_for_kernel("idle")
        page.set_default_timeout(STEP_MS)
        return notebook


def _settings(folder: Path, port: int) -> str:
    person = folder / "homes" / PERSON
    # What the person's server finds around it is little; the programs that it starts are to be heard as all others are.
    around = {name: os.environ[name] for name in ("S4S_TEST_LOGS",) if name in os.environ}
    around |= {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(PROJECT)]), "HOME": str(person)}
    settings: dict[str, Any] = {
        "JupyterHub.bind_url": f"http://127.0.0.1:{port}/",
        "JupyterHub.public_url": f"http://127.0.0.1:{port}/",
        "JupyterHub.hub_port": free_port(),
        "JupyterHub.db_url": f"sqlite:///{folder / 'hub.sqlite'}",
        "JupyterHub.cookie_secret_file": str(folder / "cookie"),
        "JupyterHub.authenticator_class": "dummy",
        "JupyterHub.spawner_class": "simple",
        "Authenticator.allow_all": True,
        "ConfigurableHTTPProxy.api_url": f"http://127.0.0.1:{free_port()}",
        "ConfigurableHTTPProxy.command": [str(NODE), str(PROXY)],
        "ConfigurableHTTPProxy.pid_file": str(folder / "proxy.pid"),
        "SimpleLocalProcessSpawner.home_dir_template": str(folder / "homes" / "{username}"),
        "Spawner.cmd": [sys.executable, "-m", "jupyterhub.singleuser"],
        "Spawner.args": ["--allow-root", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url="],
        "Spawner.default_url": "/lab",
        "Spawner.environment": around,
    }
    return "".join(f"c.{name} = {value!r}\n" for name, value in settings.items())


@contextlib.contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    """Run JupyterHub for the block, with all that it keeps in `folder`; it is ended by its own process id."""
    port = free_port()
    hub = Hub(f"http://127.0.0.1:{port}", folder / "homes" / PERSON, folder / "log")
    hub.home.mkdir(parents=True)
    (folder / "config.py").write_text(_settings(folder, port))
    command = [sys.executable, "-m", "jupyterhub", "-f", str(folder / "config.py")]
    # A token of its own for the proxy, or the hub says that it made one.
    around = os.environ | {"CONFIGPROXY_AUTH_TOKEN": "of-a-test"}
    with (
        hub.log.open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=around, cwd=folder) as process,
    ):
        try:
            _wait_until_it_answers(hub, process)
            yield hub
        finally:
            process.terminate()
            try:
                process.wait(2 * STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_it_answers(hub: Hub, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        assert process.poll() is None, hub.log.read_text(errors="replace")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{hub.url}/hub/login", timeout=5).close()  # noqa: S310  this machine's own
            return
        time.sleep(0.1)
    raise AssertionError(f"JupyterHub did not answer within {START_S} s: {hub.log.read_text(errors='replace')}")
