"""The faults: one coroutine each, by name, with where they fit and what a pull has to make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.faults.server.wire import Fault, Reply, Talk, honest

Bundle = dict[str, Any]
Effect = Literal["refused", "harmless", "kept"]
"""Either nothing may change, or the outcome is that of a run without the fault, or the resource is kept as it came."""


@dataclass(frozen=True)
class Listed:
    """A fault with what a pull makes of it; `anywhere`: it strikes any request, not only a page of a search."""

    strike: Fault
    effect: Effect
    anywhere: bool


FAULTS: dict[str, Listed] = {}


def fault(name: str, effect: Effect = "refused", *, anywhere: bool = False) -> Callable[[Fault], Fault]:
    """List a coroutine under a name."""

    def listed(coroutine: Fault) -> Fault:
        assert name not in FAULTS
        FAULTS[name] = Listed(coroutine, effect, anywhere)
        return coroutine

    return listed


def sends(name: str, reply: Reply, effect: Effect = "refused", *, times: int | None = None) -> None:
    """List the fault that sends a fixed answer, every time or so many times."""

    @fault(name, effect, anywhere=True)
    async def send(talk: Talk) -> None:
        if times is None or talk.turn < times:
            await talk.send(reply.wire())
        else:
            await honest(talk)


def with_body(name: str, change: Callable[[bytes], bytes], effect: Effect = "refused") -> None:
    """List the fault that changes the bytes of the honest body."""

    @fault(name, effect)
    async def send(talk: Talk) -> None:
        await talk.send(replace(talk.honest, body=change(talk.honest.body)).wire())


def with_bundle(name: str, change: Callable[[Bundle, Talk], object], effect: Effect = "refused") -> None:
    """List the fault that changes the content of the honest page; what `change` returns is ignored."""

    @fault(name, effect)
    async def send(talk: Talk) -> None:
        bundle = json.loads(talk.honest.body)
        change(bundle, talk)
        await talk.send(replace(talk.honest, body=json.dumps(bundle).encode()).wire())


def instead(name: str, value: object) -> None:
    """List the fault that sends other JSON in place of the page."""
    with_body(name, lambda _: json.dumps(value).encode())
