"""Another clock for the client: what it takes for now is what a test says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

import s4s_lab.net.client
import s4s_lab.net.waiting
import s4s_lab.sync

_PARTS = (s4s_lab.sync.__name__, "s4s_lab.net.client")


@contextmanager
def client_clock(now: Callable[[], datetime]) -> Iterator[None]:
    """Let every module of a pull read the time from `now` until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith(_PARTS) and hasattr(module, "utc_now"):
                patch.setattr(module, "utc_now", now)
        for module in (s4s_lab.net.client, s4s_lab.net.waiting):
            patch.setattr(module, "not_before", lambda seconds: now() + timedelta(seconds=seconds))
        yield
