"""Rotation: one refresh whoever asks, and what is done about an answer that is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from s4s_lab.errors import GrantExpired, NotReachable, PatientMismatch, UnexpectedAnswer
from s4s_lab.net import HttpClient
from s4s_lab.smart import FileGrants, Grant, GrantOrigin, GrantStore, MemoryGrants, refresh_grant, renewal
from s4s_lab.values import Registration, Secret
from tests.wire.smart.rotating import Loss, RotatingServer

WHOLE = os.environ.get("S4S_FULL") == "1"
GRANT = Grant(
    Secret("s4s_sandbox_access_1"),
    Secret("s4s_sandbox_refresh_1"),
    "patient/*.read",
    "p",
    datetime.now(UTC) + timedelta(hours=1),
    generation=1,
)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "PAUSE_S", 0.0)


@pytest.fixture
def server() -> Iterator[RotatingServer]:
    with RotatingServer() as server:
        yield server


@pytest.fixture(params=["memory", "file"])
def grants(request: pytest.FixtureRequest, server: RotatingServer, tmp_path: Path) -> GrantStore:
    return MemoryGrants(GRANT) if request.param == "memory" else _kept(server, tmp_path)


def _kept(server: RotatingServer, tmp_path: Path) -> FileGrants:
    origin = GrantOrigin(f"{server.origin}/fhir", f"{server.origin}/token", Registration("app"))
    return FileGrants.keep(tmp_path / "grants" / "one.json", origin, GRANT)


def _renew(server: RotatingServer, grants: GrantStore) -> Grant:
    def refresh(grant: Grant) -> Grant:
        with HttpClient() as client:
            return refresh_grant(client, f"{server.origin}/token", Registration("app"), grant)

    return grants.renew(grants.read().generation, refresh)


@pytest.mark.parametrize("loss", ["before", "gateway", "after"])
def test_a_lost_answer_is_asked_for_once_more(server: RotatingServer, grants: GrantStore, loss: Loss) -> None:
    server.losses, server.forgives_retry = [loss], True
    assert _renew(server, grants).access_token.reveal() in server.good
    assert server.asked == ["s4s_sandbox_refresh_1", "s4s_sandbox_refresh_1"]
    _renew(server, grants)
    assert len(server.asked) == 3
    assert grants.failure is None


def test_a_strict_server_that_lost_its_answer_ends_the_grant_and_is_not_asked_again(
    server: RotatingServer, grants: GrantStore
) -> None:
    server.losses = ["after"]
    for _ in range(3):
        with pytest.raises(GrantExpired, match=r"answer with the next refresh token was lost.*Connect again"):
            _renew(server, grants)
    assert server.asked == ["s4s_sandbox_refresh_1", "s4s_sandbox_refresh_1"]
    assert isinstance(grants.failure, GrantExpired)


def test_a_refused_refresh_token_is_never_sent_again(server: RotatingServer, grants: GrantStore) -> None:
    server.number = 7
    for _ in range(2):
        with pytest.raises(GrantExpired, match="revoked, used up or is too old"):
            _renew(server, grants)
    assert server.asked == ["s4s_sandbox_refresh_1"]


def test_after_two_lost_answers_only_a_person_has_it_sent_again(server: RotatingServer, grants: GrantStore) -> None:
    server.losses = ["before"] * 9
    for _ in range(4):
        with pytest.raises(GrantExpired, match=r"both answers were lost.*Connect again"):
            _renew(server, grants)
    assert server.asked == ["s4s_sandbox_refresh_1"] * 2
    assert isinstance(grants.failure, GrantExpired)


def test_a_lost_answer_counts_over_processes_and_tells_how_a_person_overrules(
    server: RotatingServer, tmp_path: Path
) -> None:
    path, server.losses = _kept(server, tmp_path).path, ["before"] * 2
    for _ in range(3):
        with pytest.raises(GrantExpired, match=r"out of order, delete \S+one\.json\.journal: it is then asked"):
            _renew(server, FileGrants(path))
    assert len(server.asked) == 2
    path.with_name("one.json.journal").unlink()
    assert _renew(server, FileGrants(path)).generation == 2


@pytest.mark.parametrize("loss", ["page", "cut"])
def test_an_answer_of_success_that_cannot_be_used_is_a_lost_one_and_not_sent_again_at_once(
    server: RotatingServer, grants: GrantStore, loss: Loss
) -> None:
    server.losses = [loss]
    with pytest.raises(UnexpectedAnswer):
        _renew(server, grants)
    assert server.asked == ["s4s_sandbox_refresh_1"]
    with pytest.raises(GrantExpired, match="its answer with the next refresh token was lost"):
        _renew(server, grants)
    assert server.asked == ["s4s_sandbox_refresh_1"] * 2


def test_a_server_that_does_not_handle_requests_uses_nothing_up(server: RotatingServer, grants: GrantStore) -> None:
    server.losses = ["down"] * 5
    for _ in range(5):
        with pytest.raises(UnexpectedAnswer, match="503"):
            _renew(server, grants)
    server.losses = ["gateway"]
    server.forgives_retry = True
    assert _renew(server, grants).generation == 2


def test_a_server_that_is_not_there_used_nothing_up(server: RotatingServer, grants: GrantStore) -> None:
    def nowhere(grant: Grant) -> Grant:
        with HttpClient() as client:
            return refresh_grant(client, "http://127.0.0.1:9/token", Registration("app"), grant)

    with pytest.raises(NotReachable):
        grants.renew(1, nowhere)
    server.losses = ["before"]
    assert _renew(server, grants).generation == 2
    assert len(server.asked) == 2


def test_another_patient_ends_the_grant_whose_refresh_token_is_used_up(grants: GrantStore) -> None:
    def other(grant: Grant) -> Grant:
        raise PatientMismatch("The server renewed the grant for another patient.")

    with pytest.raises(PatientMismatch):
        grants.renew(1, other)
    with pytest.raises(GrantExpired, match="another patient"):
        grants.renew(1, lambda _: pytest.fail("asked again"))


_RENEW_AND_DIE = """
import sys
from pathlib import Path
from s4s_lab.connection import reopen
from s4s_lab.net import HttpClient
from s4s_lab.smart import FileGrants, refresh_grant
grants = FileGrants(Path(sys.argv[1]))
def refresh(grant):
    with HttpClient() as client:
        return refresh_grant(client, grants.origin.token_endpoint, grants.origin.registration, grant)
grants.renew(1, refresh)
"""


@pytest.mark.parametrize("forgives", [True, False])
def test_a_process_that_is_killed_while_it_renews_leaves_word_of_it(
    server: RotatingServer, tmp_path: Path, forgives: bool
) -> None:
    grants, server.forgives_retry = _kept(server, tmp_path), forgives
    program = subprocess.Popen([sys.executable, "-c", _RENEW_AND_DIE, str(grants.path)])
    server.on_refresh = lambda: os.kill(program.pid, signal.SIGKILL)
    assert program.wait(60) == -signal.SIGKILL
    server.on_refresh = lambda: None
    if forgives:
        assert _renew(server, grants).refresh_token == Secret("s4s_sandbox_refresh_2")
    else:
        with pytest.raises(GrantExpired, match="was lost on the way"):
            _renew(server, grants)
    assert server.asked == ["s4s_sandbox_refresh_1", "s4s_sandbox_refresh_1"]


def test_the_note_of_a_renewal_holds_no_token_and_is_gone_when_all_is_well(
    server: RotatingServer, tmp_path: Path
) -> None:
    grants = _kept(server, tmp_path)
    seen: list[bytes] = []
    journal = grants.path.with_name("one.json.journal")
    server.on_refresh = lambda: seen.append(journal.read_bytes())
    _renew(server, grants)
    assert b"s4s_sandbox_refresh_1" not in seen[0]
    assert b'"asked_at"' in seen[0]
    assert not journal.exists()


def test_a_damaged_note_counts_as_none(server: RotatingServer, tmp_path: Path) -> None:
    grants = _kept(server, tmp_path)
    journal = grants.path.with_name("one.json.journal")
    journal.write_bytes(b"{")
    journal.chmod(0o600)
    assert _renew(server, grants).generation == 2


def test_a_failure_is_remembered_until_a_renewal_works(server: RotatingServer, grants: GrantStore) -> None:
    server.losses = ["down"]
    with pytest.raises(UnexpectedAnswer):
        _renew(server, grants)
    assert isinstance(grants.failure, UnexpectedAnswer)
    _renew(server, grants)
    assert grants.failure is None


_READ_IN_ROUNDS = """
import sys
from pathlib import Path
from s4s_lab.net import HttpClient
from s4s_lab.smart import FileGrants, SmartAuth, refresh_grant
from s4s_lab.values.origins import origin_of
grants = FileGrants(Path(sys.argv[1]))
origin = grants.origin
def refresh(grant):
    with HttpClient() as client:
        return refresh_grant(client, origin.token_endpoint, origin.registration, grant)
with HttpClient(auth=SmartAuth(grants, refresh), auth_origins=frozenset({origin_of(origin.fhir_url)})) as client:
    print("ready", flush=True)
    for _ in sys.stdin:
        print(client.get(origin.fhir_url, accept="*/*").status, flush=True)
"""


@contextmanager
def _readers(count: int, path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-c", _READ_IN_ROUNDS, str(path)]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for _ in range(count)
    ]
    try:
        assert _lines(readers) == ["ready\n"] * count
        yield readers
    finally:
        for reader in readers:
            reader.communicate(timeout=30)


def _lines(readers: list[subprocess.Popen[str]]) -> list[str]:
    return [reader.stdout.readline() for reader in readers if reader.stdout]


@pytest.mark.long
def test_every_round_of_many_processes_is_one_refresh_and_no_reuse(server: RotatingServer, tmp_path: Path) -> None:
    """8 processes × 100 rounds under S4S_FULL=1, else 4 × 25: in each round the access token has ended for all."""
    processes, rounds = (8, 100) if WHOLE else (4, 25)
    grants = _kept(server, tmp_path)
    with _readers(processes, grants.path) as readers:
        for number in range(1, rounds + 1):
            server.refuse_access()
            for reader in readers:
                assert reader.stdin is not None
                reader.stdin.write("go\n")
            assert _lines(readers) == ["200\n"] * processes
            assert server.refreshes == number
    assert server.reuse_seen == 0
    assert grants.read().generation == rounds + 1
