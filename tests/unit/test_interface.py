"""The public interface: small, documented, and cheap to import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import s4s_lab
from s4s_lab.cli.app import COMMANDS, app

PROJECT = Path(__file__).resolve().parents[2]
REFERENCE = (PROJECT / "docs" / "reference.md").read_text()


@pytest.mark.parametrize("name", s4s_lab.__all__)
def test_a_public_name_loads_and_stands_in_the_reference(name: str) -> None:
    found = getattr(s4s_lab, name)
    assert re.search(rf"`s4s\.{name}\b", REFERENCE), f"docs/reference.md has no line for {name}"
    assert isinstance(found, str) or inspect.getdoc(found)


@pytest.mark.parametrize("method", [name for name in dir(s4s_lab.Dataset) if not name.startswith("_")])
def test_what_a_dataset_offers_is_documented(method: str) -> None:
    assert inspect.getdoc(getattr(s4s_lab.Dataset, method))


def test_every_command_stands_in_the_reference() -> None:
    assert set(COMMANDS) == set(re.findall(r"^\| `s4s (\w+)", REFERENCE, re.MULTILINE))


def test_an_unknown_name_is_an_attribute_error_and_dir_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'pul'"):
        s4s_lab.pul  # noqa: B018 - the attribute access is what is tested
    assert dir(s4s_lab) == sorted(s4s_lab.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("pandas", "pyarrow", "ipywidgets", "httpx2", "deltalake", "matplotlib", "pydicom", "numpy")
    code = f"import sys, s4s_lab; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_help_loads_no_command() -> None:
    heavy = ("pandas", "pyarrow", "deltalake", "matplotlib", "pydicom", "numpy", "httpx2", "starlette", "msgspec")
    code = (
        "import sys; from typer.testing import CliRunner; from s4s_lab.cli.app import app;"
        "shown = CliRunner().invoke(app, ['--help']);"
        f"print(shown.exit_code, [name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "0 []"


INTERRUPTED = """
import os, signal, sys
module, sys.argv = sys.argv[1], ["s4s", "status", "--dataset", "nowhere"]
def watch(event, what):
    if event == "import" and what[0] == module:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(watch)
from s4s_lab.cli import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "s4s_lab.cli.app", "s4s_lab.cli.options", "pandas"])
def test_ctrl_c_while_the_command_line_loads_is_no_traceback(module: str) -> None:
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED, module], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, "Traceback" in ran.stderr) == (130, "", False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_loads_and_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert (shown.exit_code, shown.output.startswith(f"Usage: s4s {command} [OPTIONS]")) == (0, True)
