"""Answers that somebody made up: none of a thousand makes the client ask for a token."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from s4s_lab.connection import PendingLaunch, prepare_launch
from s4s_lab.errors import LaunchRefused, UsageError
from tests.wire.smart.browser import approve, visit
from tests.wire.smart.server import PATIENT, SmartServer

FORGED = 1000
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
Forger = Callable[[random.Random, str], str]


@pytest.fixture
def pending(server: SmartServer, free_redirect_uri: str) -> Iterator[PendingLaunch]:
    pending = prepare_launch(server.fhir_url, replace(server.registration, redirect_uri=free_redirect_uri))
    yield pending
    pending.close()


def _guess(chance: random.Random, length: int) -> str:
    return "".join(chance.choice(_ALPHABET) for _ in range(length))


def _one_off(chance: random.Random, state: str) -> str:
    """The state itself with one character changed: a comparison that stops early would be led on by these."""
    at = chance.randrange(len(state))
    other = chance.choice(_ALPHABET.replace(state[at], ""))
    return state[:at] + other + state[at + 1 :]


# How a state is forged by somebody who knows more of it than anybody should.
FORGERS: list[Forger] = [
    lambda chance, state: urlencode({"code": _guess(chance, 20), "state": _guess(chance, len(state))}),
    lambda chance, state: urlencode({"code": _guess(chance, 20), "state": _one_off(chance, state)}),
    lambda chance, state: urlencode({"code": _guess(chance, 20), "state": state[: chance.randrange(len(state))]}),
    lambda chance, state: urlencode({"code": _guess(chance, 20), "state": state + chance.choice(_ALPHABET)}),
    lambda chance, state: urlencode({"code": _guess(chance, 20), "state": state.swapcase()}),
    lambda chance, _: urlencode({"code": _guess(chance, 20)}),
    lambda chance, state: f"code={_guess(chance, 20)}&state={state}&state={_guess(chance, len(state))}",
    lambda chance, state: f"code={_guess(chance, 20)}&code={_guess(chance, 20)}&state={state}",
    lambda chance, state: f"code={_guess(chance, 20)}&State={state}&STATE={state}",
    lambda chance, state: f"code={_guess(chance, 20)}&state={quote(_guess(chance, 8))}%00{state}",
    lambda chance, state: urlencode({"state": _guess(chance, len(state)), "access_token": _guess(chance, 30)}),
    lambda chance, state: urlencode({"error": "access_denied", "state": _one_off(chance, state)}),
    lambda chance, _: f"code={_guess(chance, 20)}&state={chr(chance.randrange(0xE000, 0xF000))}",
]


def test_a_thousand_forged_answers_ask_for_no_token_and_the_real_one_still_counts(
    pending: PendingLaunch, server: SmartServer
) -> None:
    chance = random.Random(20261124)  # noqa: S311  repeatable on purpose
    state, callback = pending._launch.state.reveal(), pending._launch.registration.redirect_uri
    for number in range(FORGED):
        forged = FORGERS[number % len(FORGERS)](chance, state)
        if number % 2:
            assert visit(f"{callback}?{quote(forged, safe='=&%')}").status >= 400
        else:
            with pytest.raises((LaunchRefused, UsageError)):
                pending.answer(forged)
    assert server.asked_for("/token") == []
    assert pending.status == "waiting"
    approve(pending.start_url or "")
    assert pending.wait(5).patient_id == PATIENT
    assert len(server.asked_for("/token")) == 1
