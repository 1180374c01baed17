"""Lifetimes and limits of codes and tokens, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from s4s_lab.sandbox.authorization import Client, Grants
from s4s_lab.sandbox.authorization.grants import MAX_APPROVALS, challenge_of
from s4s_lab.sandbox.web import OAuthRefusal
from s4s_lab.values import S4S_SCOPE, Secret

REDIRECT = "https://app.example/back"
CLIENT = Client("one", "One", (REDIRECT,), Secret("s"))


class Clock:
    """A clock that is moved by hand [s]."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def code(clock: Clock) -> Callable[[Grants], str]:
    return lambda grants: grants.approve(CLIENT, "p", S4S_SCOPE, redirect_uri=REDIRECT, challenge=None)


def test_the_challenge_is_the_one_of_the_standard() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(("seconds", "good"), [(99.9, True), (100, False), (5000, False)])
def test_a_code_lives_100_seconds(clock: Clock, code: Callable[[Grants], str], seconds: float, good: bool) -> None:
    grants = Grants(now=clock)
    issued = code(grants)
    clock.seconds += seconds
    if good:
        assert grants.redeem(CLIENT, issued, redirect_uri=REDIRECT, verifier=None)["patient"] == "p"
    else:
        with pytest.raises(OAuthRefusal, match="older than 100 s"):
            grants.redeem(CLIENT, issued, redirect_uri=REDIRECT, verifier=None)


def test_an_access_token_lives_an_hour_and_a_refresh_token_on(clock: Clock, code: Callable[[Grants], str]) -> None:
    grants = Grants(now=clock)
    tokens = grants.redeem(CLIENT, code(grants), redirect_uri=REDIRECT, verifier=None)
    clock.seconds += 3599
    assert grants.find(tokens["access_token"]) is not None
    clock.seconds += 1
    assert grants.find(tokens["access_token"]) is None
    clock.seconds += 10**9
    assert grants.refresh(CLIENT, tokens["refresh_token"], None)["patient"] == "p"


def test_the_oldest_approval_gives_way_when_there_are_too_many(code: Callable[[Grants], str]) -> None:
    grants = Grants()
    first = grants.redeem(CLIENT, code(grants), redirect_uri=REDIRECT, verifier=None)
    for _ in range(MAX_APPROVALS - 1):
        code(grants)
    assert grants.find(first["access_token"]) is not None
    code(grants)
    assert grants.find(first["access_token"]) is None


def test_no_token_is_shown_by_a_repr(code: Callable[[Grants], str]) -> None:
    grants = Grants()
    tokens = grants.redeem(CLIENT, code(grants), redirect_uri=REDIRECT, verifier=None)
    held = grants.find(tokens["access_token"])
    for shown in (repr(grants), repr(held), repr(grants.approvals())):
        assert tokens["access_token"] not in shown
        assert tokens["refresh_token"] not in shown


def test_an_approval_ends_once(code: Callable[[Grants], str]) -> None:
    grants = Grants()
    grants.redeem(CLIENT, code(grants), redirect_uri=REDIRECT, verifier=None)
    approval_id = grants.approvals()[0].approval_id
    assert grants.end(approval_id)
    assert not grants.end(approval_id)
    assert grants.approvals() == []
