"""Files that appear whole or not at all, for this user alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_beside(target: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file of mode 0600 beside its place, and move it there when it is whole.

    Parameters
    ----------
    target : Path
        Where it is to be; what was there is replaced.
    fill : callable
        Writes the content into the open file.
    """
    part = target.with_name(f".part-{target.name}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            fill(handle)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
