"""Resources that a server writes otherwise than before, and that say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from s4s_lab.fhir import content_digest
from s4s_lab.lake import CurrentVersion, Stage
from s4s_lab.sync.compare import Received

EachRaw = Callable[[Sequence[str]], Iterable[tuple[str, str]]]
"""Gives the log's JSON of ids, one after the other."""


def rewritten(
    current: Mapping[str, CurrentVersion], brought: Sequence[Received], stage: Stage, each_raw: EachRaw
) -> frozenset[int]:
    """Return the places of received versions whose bytes differ from the log's and whose content does not.

    Both are read once and none is kept, so that a server which writes every resource anew costs time alone.

    Parameters
    ----------
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    brought : sequence of Received
        In the order of arrival.
    stage : Stage
        Where their JSON lies.
    each_raw : callable
        Gives the log's JSON of ids.
    """
    differing = [item for item in brought if _differs(current.get(item.resource_id), item)]
    if not differing:
        return frozenset()
    ours = {key: content_digest(raw) for key, raw in each_raw([item.resource_id for item in differing])}
    theirs = (
        content_digest(raw.as_py())
        for batch in stage.rows([item.place for item in differing])
        for raw in batch.column("raw")
    )
    pairs = zip(differing, theirs, strict=True)
    return frozenset(item.place for item, digest in pairs if digest and digest == ours.get(item.resource_id))


def _differs(known: CurrentVersion | None, got: Received) -> bool:
    return known is not None and known.fell_out is None and known.content_hash != got.content_hash
