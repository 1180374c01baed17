"""What makes two versions of a resource the same: their content, without the stamps that a server puts on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

_CANONICAL = msgspec.json.Encoder(order="sorted")
_STAMPS = ("versionId", "lastUpdated")


def content_hash(resource: Mapping[str, Any]) -> str:
    """Return the sha256 of a resource's content: equal for versions that differ in their stamps only.

    Parameters
    ----------
    resource : mapping
        A decoded resource.
    """
    content = dict(resource)
    meta = content.get("meta")
    if isinstance(meta, dict):
        content["meta"] = {name: value for name, value in meta.items() if name not in _STAMPS}
    return hashlib.sha256(_CANONICAL.encode(content)).hexdigest()
