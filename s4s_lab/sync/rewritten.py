"""Resources that a server writes otherwise than before, and that say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from s4s_lab.fhir import same_content
from s4s_lab.lake import CurrentVersion, Stage
from s4s_lab.sync.compare import Received

Raws = Callable[[Sequence[str]], Mapping[str, str]]
"""Gives the log's JSON of ids."""

# A server that was brought up to date may write every resource anew: so many are in memory at a time.
_AT_ONCE = 5_000


def rewritten(
    current: Mapping[str, CurrentVersion], brought: Sequence[Received], stage: Stage, raws: Raws
) -> frozenset[int]:
    """Return the places of received versions whose bytes differ from the log's and whose content does not.

    Parameters
    ----------
    current : mapping of str to CurrentVersion
        The log's newest versions by id.
    brought : sequence of Received
        In the order of arrival.
    stage : Stage
        Where their JSON lies.
    raws : callable
        Gives the log's JSON of ids.
    """
    differing = [item for item in brought if _differs(current.get(item.resource_id), item)]
    same: set[int] = set()
    for begin in range(0, len(differing), _AT_ONCE):
        some = differing[begin : begin + _AT_ONCE]
        kept = raws([item.resource_id for item in some])
        came = (raw for batch in stage.rows([item.place for item in some]) for raw in batch["raw"].to_pylist())
        for item, raw in zip(some, came, strict=True):
            if same_content(kept.get(item.resource_id, "").encode(), raw.encode()):
                same.add(item.place)
    return frozenset(same)


def _differs(known: CurrentVersion | None, got: Received) -> bool:
    return known is not None and known.fell_out is None and known.content_hash != got.content_hash
