"""The public interface: small, documented, and cheap to import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import s4s_lab
from s4s_lab.cli.app import app

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
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a group, since there are several
    assert set(commands) == set(re.findall(r"^\| `s4s (\w+)", REFERENCE, re.MULTILINE))


def test_an_unknown_name_is_an_attribute_error_and_dir_lists_the_public_ones() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'pul'"):
        s4s_lab.pul  # noqa: B018 - the attribute access is what is tested
    assert dir(s4s_lab) == sorted(s4s_lab.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("pandas", "pyarrow", "ipywidgets", "httpx2", "deltalake", "matplotlib", "pydicom", "numpy")
    code = f"import sys, s4s_lab; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
