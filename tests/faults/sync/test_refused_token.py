"""A token that is refused at any request of a pull: renewed once, the request repeated once, nothing else changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from s4s_lab import Dataset, PullReport
from s4s_lab.connection import Connection
from s4s_lab.errors import GrantExpired, S4SError
from s4s_lab.smart import Grant, MemoryGrants
from s4s_lab.values import S4S_SCOPE, Secret
from s4s_lab.values.instants import utc_now
from tests.faults.server.wire import Reply, Request
from tests.faults.sync.test_faults import PHASES, Phase, begun
from tests.faults.sync.working import Kept, World, attempt, done, kept
from tests.wire.sync.conftest import connection

RUNS = {name: PHASES[name] for name in ("update", "broad")}


@dataclass
class Guarded:
    """A record that is shown for the right token; request number `revoked_at` comes too late for the first one."""

    world: World
    revoked_at: int
    obstinate: bool = False
    token: str = "token"
    asked: int = 0
    renewals: int = 0

    def answer(self, request: Request) -> Reply:
        """Answer one request."""
        if request.target == "/fhir/token":
            return self._renew(request)
        self.asked += 1
        if self.asked == self.revoked_at:
            self.token = "another"
        if self.obstinate and self.asked >= self.revoked_at > 0:
            return Reply(401)
        if request.headers["authorization"] != f"Bearer {self.token}":
            return Reply(401, b"", ('WWW-Authenticate: Bearer error="invalid_token"',))
        return self.world.record.answer(request)

    def _renew(self, request: Request) -> Reply:
        assert b"grant_type=refresh_token" in request.body
        assert b"refresh_token=renewable" in request.body
        self.renewals += 1
        self.token = f"token-{self.renewals}"
        content = {"access_token": self.token, "token_type": "Bearer", "expires_in": 3600, "scope": S4S_SCOPE}
        return Reply(200, json.dumps(content).encode(), ("Content-Type: application/json", "Cache-Control: no-store"))


@pytest.fixture(autouse=True)
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dataset, "refresh", lambda *_: None)


def renewable(world: World) -> Connection:
    """Give a connection whose grant can be renewed."""
    grant = Grant(Secret("token"), Secret("renewable"), S4S_SCOPE, "p1", utc_now() + timedelta(hours=1), 1)
    return replace(connection(world.server.url), grants=MemoryGrants(grant))


class Pulled(NamedTuple):
    """What became of a pull, and what the dataset held before it."""

    guard: Guarded
    data: Dataset
    before: Kept
    result: PullReport | S4SError


def pulled(world: World, root: Path, phase: Phase, *, at: int, obstinate: bool = False) -> Pulled:
    """Pull while the record is guarded."""
    data = begun(world, root, phase)
    guard, before = Guarded(world, at, obstinate), kept(data)
    world.server.begin(guard.answer)
    return Pulled(guard, data, before, attempt(world, data, phase.mode, renewable(world)))


@pytest.fixture(params=RUNS)
def phase(request: pytest.FixtureRequest) -> Phase:
    """One kind of pull."""
    return RUNS[str(request.param)]


def test_a_token_refused_at_any_request_is_renewed_once_and_the_result_is_the_same(
    phase: Phase, world: World, tmp_path: Path
) -> None:
    calm = pulled(world, tmp_path / "calm", phase, at=0)
    assert calm.guard.renewals == 0
    assert calm.guard.asked >= 5
    for at in range(1, calm.guard.asked + 1):
        guard, data, _, result = pulled(world, tmp_path / str(at), phase, at=at)
        assert (done(result), guard.renewals, guard.asked) == (True, 1, calm.guard.asked + 1)
        assert data.log.digest() == calm.data.log.digest()


def test_a_token_refused_twice_ends_the_pull_with_nothing_changed_and_a_new_grant_goes_on(
    phase: Phase, world: World, tmp_path: Path
) -> None:
    calm = pulled(world, tmp_path / "calm", phase, at=0)
    for at in range(1, calm.guard.asked + 1):
        guard, data, before, result = pulled(world, tmp_path / str(at), phase, at=at, obstinate=True)
        assert isinstance(result, GrantExpired)
        assert (guard.renewals, guard.asked) == (1, at + 1)
        assert kept(data) == before
        world.server.begin(world.record.answer)
        assert done(attempt(world, data, phase.mode))
        assert data.log.digest() == calm.data.log.digest()
