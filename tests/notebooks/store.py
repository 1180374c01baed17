"""Run the tutorial notebooks and store their outputs: `make notebooks`, after which nbval compares against them."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def store(path: Path) -> None:
    """Execute one notebook in its own folder and write it back without what changes from run to run."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]  # nbformat has no types


if __name__ == "__main__":
    os.environ["S4S_PROGRESS"] = "0"
    for found in sorted(NOTEBOOKS.glob("*.ipynb")):
        store(found)
