"""Grants: when they are due, and how they are kept in memory."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from s4s_lab.errors import GrantExpired, UsageError
from s4s_lab.smart import Grant, MemoryGrants
from s4s_lab.values import Secret

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GRANT = Grant(Secret("a"), Secret("r"), "patient/*.read", "p", NOW, generation=1)


def _left(seconds: float, lifetime_s: int) -> Grant:
    return replace(GRANT, expires_at=NOW + timedelta(seconds=seconds), lifetime_s=lifetime_s)


@pytest.mark.parametrize(
    ("lifetime_s", "margin_s"),
    [(3600, 180), (1200, 60), (600, 60), (86_400, 4320), (60, 30), (30, 15)],
)
def test_a_grant_is_due_below_a_minute_or_a_twentieth_of_its_life(lifetime_s: int, margin_s: int) -> None:
    assert _left(margin_s - 1, lifetime_s).due(NOW)
    assert not _left(margin_s, lifetime_s).due(NOW)


def test_a_grant_that_cannot_be_renewed_is_never_due() -> None:
    assert not replace(_left(-100, 3600), refresh_token=None).due(NOW)


def test_seconds_left_end_at_zero() -> None:
    assert GRANT.seconds_left(NOW - timedelta(seconds=90)) == 90
    assert GRANT.seconds_left(NOW + timedelta(seconds=90)) == 0


def test_an_older_generation_gets_the_newer_grant_without_a_renewal() -> None:
    grants = MemoryGrants(replace(GRANT, generation=7))
    assert grants.renew(6, lambda _: pytest.fail("must not be renewed")).generation == 7


def test_a_failed_renewal_changes_nothing() -> None:
    def fail(grant: Grant) -> Grant:
        raise GrantExpired("no")

    grants = MemoryGrants(GRANT)
    with pytest.raises(GrantExpired):
        grants.renew(1, fail)
    assert grants.read() == GRANT


def test_a_forgotten_grant_is_expired() -> None:
    grants = MemoryGrants(GRANT)
    grants.forget()
    with pytest.raises(GrantExpired, match="Connect again"):
        grants.read()
    with pytest.raises(GrantExpired):
        grants.renew(1, lambda grant: grant)


def test_a_grant_that_is_gone_says_where_it_went() -> None:
    ended, moved = MemoryGrants(GRANT), MemoryGrants(GRANT)
    assert ended.end(lambda _: True)
    ended.forget()
    with pytest.raises(GrantExpired, match=r"given back \(disconnected\) on 20"):
        ended.read()
    assert moved.move(lambda grant: grant.scope) == GRANT.scope
    with pytest.raises(GrantExpired, match="kept elsewhere now"):
        moved.read()


def test_a_grant_that_cannot_be_moved_stays() -> None:
    def fails(_: Grant) -> None:
        raise UsageError("no room")

    grants = MemoryGrants(GRANT)
    with pytest.raises(UsageError):
        grants.move(fails)
    assert grants.read() == GRANT


def test_neither_grant_nor_store_can_leave_the_process_or_be_shown() -> None:
    grants = MemoryGrants(GRANT)
    for thing in (GRANT, grants):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.deepcopy(thing)
    assert repr(grants) == "MemoryGrants()"
    assert "<secret>" in repr(GRANT)
