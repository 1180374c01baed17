"""JupyterLab on the loopback, with folders of its own, and notebooks in a real browser."""

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

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.conftest import PROJECT
from tests.journey.conftest import free_port

ARTEFACTS = PROJECT / "test-artefacts"
TOKEN = "lab-token-of-a-test"
START_S, STOP_S, STEP_MS = 60.0, 5.0, 20_000
_BROWSER_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"]
_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
_KERNEL_STATUS = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === '{status}'"
# Keys that are pressed before a notebook has the focus are lost.
_RUN = """(() => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    return window.jupyterapp.commands.execute('notebook:run-cell');
})()"""
_SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Parameters
    ----------
    port : int
        Where it listens.
    folder : Path
        Where its notebooks are.
    log : Path
        All that it and its kernels said.
    """

    port: int
    folder: Path
    log: Path

    def address(self, path: str) -> str:
        """Return the address of one of its pages."""
        return f"http://127.0.0.1:{self.port}/{path}?token={TOKEN}"


@dataclass(frozen=True)
class Notebook:
    """A notebook in the browser.

    Parameters
    ----------
    page : Page
        The browser's tab.
    path : Path
        The file.
    """

    page: Page
    path: Path

    def wait_for_kernel(self, status: str) -> None:
        """Wait until the kernel is `idle` or `busy`."""
        self.page.wait_for_function(_KERNEL_STATUS.format(status=status), timeout=STEP_MS)

    def command(self, name: str) -> None:
        """Let Lab do something, as its menus do."""
        self.page.evaluate("name => window.jupyterapp.commands.execute(name)", name)

    def start_cell(self, index: int) -> None:
        """Run a cell, and do not wait for its end."""
        self.page.evaluate(f"index => {{ {_RUN} }}", index)

    def run_cell(self, index: int) -> None:
        """Run a cell to its end."""
        self.page.evaluate(f"async index => {{ await {_RUN} }}", index)

    @property
    def panel(self) -> Locator:
        """The launch panel."""
        return self.page.locator(".jp-OutputArea-output .s4s-panel")

    def picture(self, name: str) -> None:
        """Keep a picture of what the browser shows."""
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")

    def saved(self) -> str:
        """Save the notebook together with the state of its widgets, and return the file."""
        before = self.path.stat().st_mtime_ns
        self.command("docmanager:save")
        ends = time.monotonic() + STOP_S
        while self.path.stat().st_mtime_ns == before and time.monotonic() < ends:
            self.page.wait_for_timeout(50)
        return self.path.read_text(encoding="utf-8")


def _environment(home: Path) -> dict[str, str]:
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "HOME": "home",
    }
    for name in folders.values():
        (home / name).mkdir(parents=True)
    settings = home / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps(_SETTINGS))
    return os.environ | {name: str(home / folder) for name, folder in folders.items()}


def _wait_until_it_answers(lab: Lab, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        assert process.poll() is None, lab.log.read_text(errors="replace")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(lab.address("api/status"), timeout=5).close()  # noqa: S310  this machine's own
            return
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not answer within {START_S} s: {lab.log.read_text(errors='replace')}")


@contextlib.contextmanager
def running_lab(home: Path) -> Iterator[Lab]:
    """Run JupyterLab for the block, with all that it keeps below `home`; it is ended by its own process id."""
    lab = Lab(free_port(), home / "notebooks", home / "log")
    lab.folder.mkdir(parents=True)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": lab.port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": lab.folder,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "Application.log_level": "DEBUG",
        "IdentityProvider.token": TOKEN,
        "LabApp.news_url": "",
        "LabApp.expose_app_in_browser": True,
    }
    command = [sys.executable, "-m", "jupyter", "lab", *(f"--{name}={value}" for name, value in options.items())]
    with (
        lab.log.open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=_environment(home)) as process,
    ):
        try:
            _wait_until_it_answers(lab, process)
            yield lab
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def running_browser(chromium: str) -> Iterator[Browser]:
    """Run Debian's Chromium for the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*_BROWSER_OPTIONS, *_QUIET])
        try:
            yield browser
        finally:
            browser.close()


def notebook_of(cells: Sequence[str]) -> dict[str, Any]:
    """Return a notebook of code cells."""
    blank: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    return {
        "cells": [blank | {"id": f"cell-{number}", "source": source} for number, source in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@contextlib.contextmanager
def opened(lab: Lab, browser: Browser, name: str, cells: Sequence[str]) -> Iterator[Notebook]:
    """Write a notebook of code cells and open it in a browser of its own."""
    path = lab.folder / f"{name}.ipynb"
    path.write_text(json.dumps(notebook_of(cells)), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1180, "height": 760})
    page = context.new_page()
    page.set_default_timeout(STEP_MS)
    try:
        page.goto(lab.address(f"doc/tree/{path.name}"))
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext")
        notebook = Notebook(page, path)
        notebook.wait_for_kernel("idle")
        yield notebook
        # The kernel would outlive its tab, and keep its port.
        notebook.command("kernelmenu:shutdown")
    except BaseException:
        page.screenshot(path=ARTEFACTS / f"{name}-failed.png")
        raise
    finally:
        context.close()
