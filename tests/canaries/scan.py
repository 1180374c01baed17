"""Where a credential could be found, and whether one is there.

The sandbox and the test servers mark every client secret, access token and refresh token that they issue
(`s4s_lab.sandbox.authorization.issued`), so that one search finds all of them, as they are or inside HTTP Basic. Codes
are marked too, but a browser shows them in its address, and the tests' own browsers log where they go.
"""

from __future__ import annotations

import base64
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from s4s_lab.sandbox.authorization.issued import MARK

KINDS = ("access", "refresh", "secret")
# Where credentials are kept on purpose, each 0600 in a folder of 0700, and what tests hand to the commands.
AT_HOME = ("grants", "clients", "handed-over")


def _encodings(mark: bytes) -> Iterator[bytes]:
    """Yield `mark` as it is, and what base64 makes of it behind 0, 1 or 2 other bytes."""
    yield mark
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + mark)
        yield encoded[4 if before else 0 : len(encoded) // 4 * 4 - 4]


CANARIES = {kind: tuple(_encodings(f"{MARK}{kind}_".encode())) for kind in KINDS}


def found(data: bytes) -> list[str]:
    """Return what kinds of credential are in `data`."""
    return [kind for kind, spellings in CANARIES.items() if any(one in data for one in spellings)]


def found_in_file(path: Path) -> list[str]:
    """Return what kinds of credential are in a file; Parquet and zip archives are looked into."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        data += _unpacked(data)
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data += b"".join(archive.read(name) for name in archive.namelist())
    return found(data)


def _unpacked(parquet: bytes) -> bytes:
    """Return the values of a Parquet file; nothing more than its bytes is to be had of one that a test damaged."""
    try:
        columns = pq.read_table(io.BytesIO(parquet)).columns
    except (OSError, pa.ArrowException):
        return b""
    chunks = (chunk for column in columns for chunk in column.chunks)
    return b"".join(buffer.to_pybytes() for chunk in chunks for buffer in chunk.buffers() if buffer)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder` in which no credential should be; another run may remove some meanwhile."""
    for root, _, names in os.walk(folder):
        if set(Path(root).parts) & set(AT_HOME):
            continue
        for path in (Path(root, name) for name in names):
            if path.suffix != ".dcm" and not path.is_symlink() and path.is_file():
                yield path
