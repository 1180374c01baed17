"""Sync for Science imaging in notebooks: from a participant's consent to tables and verified DICOM images.

The names below are the whole public interface; each is loaded when it is first used (PEP 562), so that importing the
package stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s4s_lab import explore as explore
    from s4s_lab import sandbox as sandbox
    from s4s_lab.connection import Connection as Connection
    from s4s_lab.connection import connect as connect
    from s4s_lab.errors import S4SError as S4SError
    from s4s_lab.errors import strict as strict
    from s4s_lab.explore import export as export
    from s4s_lab.explore import tabulate as tabulate
    from s4s_lab.lake import Dataset as Dataset
    from s4s_lab.lake import open_dataset as open_dataset
    from s4s_lab.sync import FetchReport as FetchReport
    from s4s_lab.sync import PullReport as PullReport
    from s4s_lab.sync import fetch as fetch
    from s4s_lab.sync import pull as pull
    from s4s_lab.values import Registration as Registration
    from s4s_lab.widgets import LaunchPanel as LaunchPanel
    from s4s_lab.widgets import launch as launch

__version__ = "0.1.0"

_HOME = {
    "Connection": "connection",
    "connect": "connection",
    "Dataset": "lake",
    "open_dataset": "lake",
    "export": "explore",
    "FetchReport": "sync",
    "fetch": "sync",
    "LaunchPanel": "widgets",
    "launch": "widgets",
    "PullReport": "sync",
    "pull": "sync",
    "Registration": "values",
    "S4SError": "errors",
    "strict": "errors",
    "tabulate": "explore",
}
_MODULES = ("explore", "sandbox")

__all__ = [
    "Connection",
    "Dataset",
    "FetchReport",
    "LaunchPanel",
    "PullReport",
    "Registration",
    "S4SError",
    "__version__",
    "connect",
    "explore",
    "export",
    "fetch",
    "launch",
    "open_dataset",
    "pull",
    "sandbox",
    "strict",
    "tabulate",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"s4s_lab.{name}")
    if name in _HOME:
        return getattr(import_module(f"s4s_lab.{_HOME[name]}"), name)
    raise AttributeError(f"module 's4s_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
