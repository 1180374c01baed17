"""Dataset in; DataFrames, plots and exports out. Everything here works with the network unplugged.

Each name is loaded when it is first used (PEP 562): tables need no matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s4s_lab.explore.exporting import export
    from s4s_lab.explore.plots import montage, timeline
    from s4s_lab.explore.selecting import having
    from s4s_lab.explore.tabulating import tabulate, tabulate_many

_HOME = {
    "export": "exporting",
    "having": "selecting",
    "montage": "plots",
    "tabulate": "tabulating",
    "tabulate_many": "tabulating",
    "timeline": "plots",
}

__all__ = ["export", "having", "montage", "tabulate", "tabulate_many", "timeline"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"s4s_lab.explore.{_HOME[name]}"), name)
    raise AttributeError(f"module 's4s_lab.explore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
