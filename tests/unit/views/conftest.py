"""One short way to run a view in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from s4s_lab.views import Provenance, Subject, load_view, run_views

Rows = list[dict[str, Any]]


@pytest.fixture
def tabulated() -> Callable[..., Rows]:
    """Run one view over resources given as dicts: `tabulated(view, *resources, provenance=…)`."""

    def run(view: Any, *resources: Any, provenance: Provenance | None = None) -> Rows:
        loaded = load_view(view)
        subjects = [Subject(resource, provenance or Provenance()) for resource in resources]
        rows: Rows = run_views([loaded], subjects)[loaded.name].to_pylist()
        return rows

    return run
