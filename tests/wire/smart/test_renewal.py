"""Renewal over the wire: in time, once on a refusal, once for all threads and processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from s4s_lab.errors import (
    GrantExpired,
    LaunchRefused,
    NotReachable,
    PatientMismatch,
    S4SError,
    ScopeNarrowed,
    Waiting,
)
from s4s_lab.net import HttpClient
from s4s_lab.smart import (
    FileGrants,
    Grant,
    GrantOrigin,
    GrantStore,
    MemoryGrants,
    SmartAuth,
    begin_launch,
    client_requests,
    discover,
    refresh_grant,
)
from s4s_lab.values import Secret
from s4s_lab.values.origins import origin_of
from tests.wire.smart.browser import redirected_to
from tests.wire.smart.server import PATIENT, Canned, SmartServer

Reader = Callable[[GrantStore], int]
_JSON = "application/json"


@pytest.fixture
def grant(server: SmartServer, client: HttpClient) -> Grant:
    launch = begin_launch(discover(client, server.fhir_url), server.registration)
    grant = launch.finish(client, redirected_to(launch.authorize_url))
    server.asked.clear()
    return grant


@pytest.fixture
def read(server: SmartServer) -> Reader:
    """Ask for the patient with what a store holds, and return the status."""

    def read(grants: GrantStore) -> int:
        def refresh(grant: Grant) -> Grant:
            with HttpClient() as tokens:
                return refresh_grant(tokens, f"{server.origin}/token", server.registration, grant)

        with HttpClient(auth=SmartAuth(grants, refresh), auth_origins=frozenset({origin_of(server.origin)})) as client:
            return client.get(f"{server.fhir_url}/Patient/{PATIENT}", accept=_JSON).status

    return read


def _ending(grant: Grant, seconds: float) -> Grant:
    return replace(grant, expires_at=datetime.now(UTC) + timedelta(seconds=seconds))


def _origin(server: SmartServer) -> GrantOrigin:
    return GrantOrigin(server.fhir_url, f"{server.origin}/token", server.registration)


def test_a_fresh_token_is_used_as_it_is(server: SmartServer, grant: Grant, read: Reader) -> None:
    assert read(MemoryGrants(grant)) == 200
    assert server.asked_for("/token") == []


@pytest.mark.parametrize(("seconds_left", "renewed"), [(-5, True), (170, True), (190, False)])
def test_an_hours_token_is_renewed_when_less_than_three_minutes_are_left(
    server: SmartServer, grant: Grant, read: Reader, seconds_left: int, renewed: bool
) -> None:
    grants = MemoryGrants(_ending(grant, seconds_left))
    assert read(grants) == 200
    assert len(server.asked_for("/token")) == int(renewed)
    assert grants.read().generation == 1 + renewed


def test_a_renewal_leaves_the_scope_out_and_keeps_the_rotated_token(
    server: SmartServer, grant: Grant, read: Reader
) -> None:
    grants = MemoryGrants(_ending(grant, -5))
    read(grants)
    assert server.asked_for("/token")[0].form == {
        "grant_type": "refresh_token",
        "refresh_token": "s4s_sandbox_refresh_1",
    }
    assert grants.read().refresh_token == Secret("s4s_sandbox_refresh_2")
    assert grants.read().scope == grant.scope


def test_the_old_refresh_token_stays_when_no_other_is_given(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.rotates = False
    grants = MemoryGrants(_ending(grant, -5))
    read(grants)
    assert grants.read().refresh_token == grant.refresh_token
    assert grants.read().access_token != grant.access_token


def test_a_revoked_token_is_renewed_once_and_the_request_repeated(
    server: SmartServer, grant: Grant, read: Reader
) -> None:
    server.access_tokens.clear()
    assert read(MemoryGrants(grant)) == 200
    assert [asked.path.rpartition("/")[2] for asked in server.asked] == [PATIENT, "token", PATIENT]


def test_a_renewed_token_that_is_refused_too_ends_the_grant(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.canned[f"/fhir/Patient/{PATIENT}"].extend([Canned(401), Canned(401)])
    with pytest.raises(GrantExpired, match=r"even a renewed one.*Connect again"):
        read(MemoryGrants(grant))
    assert len(server.asked) == 3


def test_a_403_is_not_answered_by_a_renewal(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.canned[f"/fhir/Patient/{PATIENT}"].append(Canned(403))
    assert read(MemoryGrants(grant)) == 403
    assert server.asked_for("/token") == []


def test_without_a_refresh_token_an_ended_grant_is_tried_and_then_ends(
    server: SmartServer, grant: Grant, read: Reader
) -> None:
    single = replace(_ending(grant, -5), refresh_token=None)
    assert read(MemoryGrants(single)) == 200  # the server's clock decides
    server.access_tokens.clear()
    with pytest.raises(GrantExpired, match="no refresh token"):
        read(MemoryGrants(single))
    assert server.asked_for("/token") == []


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_refresh_token_ends_the_grant(server: SmartServer, grant: Grant, read: Reader, status: int) -> None:
    server.canned["/token"].append(Canned(status, b'{"error":"invalid_grant"}'))
    with pytest.raises(GrantExpired, match="Connect again"):
        read(MemoryGrants(_ending(grant, -5)))


def test_a_wrong_secret_at_renewal_is_no_expiry(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.canned["/token"].append(Canned(401, b'{"error":"invalid_client"}'))
    with pytest.raises(LaunchRefused) as caught:
        read(MemoryGrants(_ending(grant, -5)))
    assert caught.value.error == "invalid_client"


def test_another_patient_at_renewal_is_refused_and_not_kept(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.token_extras["patient"] = "somebody-else"
    grants = MemoryGrants(_ending(grant, 100))
    with pytest.raises(PatientMismatch):
        read(grants)
    assert grants.read().patient_id == PATIENT


def test_a_broken_token_endpoint_does_not_waste_a_token_that_is_still_good(
    server: SmartServer, grant: Grant, read: Reader
) -> None:
    server.canned["/token"].append(Canned(500))
    assert read(MemoryGrants(_ending(grant, 100))) == 200


def test_a_token_endpoint_in_trouble_is_left_alone_for_a_while(server: SmartServer, grant: Grant) -> None:
    def refresh(grant: Grant) -> Grant:
        tried.append(1)
        raise NotReachable("no")

    tried: list[int] = []
    auth = SmartAuth(MemoryGrants(_ending(grant, 100)), refresh)
    with HttpClient(auth=auth, auth_origins=frozenset({origin_of(server.origin)})) as client:
        statuses = [client.get(f"{server.fhir_url}/Patient/1", accept=_JSON).status for _ in range(5)]
    assert (statuses, len(tried)) == ([200] * 5, 1)


@pytest.mark.parametrize(("status", "error"), [(400, "invalid_grant"), (401, "invalid_client")])
def test_a_token_that_is_still_good_is_used_although_it_will_not_be_renewed(
    server: SmartServer, grant: Grant, read: Reader, status: int, error: str
) -> None:
    server.canned["/token"].append(Canned(status, json.dumps({"error": error}).encode()))
    day = replace(grant, expires_at=datetime.now(UTC) + timedelta(minutes=70), lifetime_s=86_400)
    grants = MemoryGrants(day)
    assert [read(grants) for _ in range(2)] == [200, 200]
    assert grants.read() == day or status == 401  # a renewed secret may work at the next try
    assert len(server.asked_for("/token")) == (1 if status == 400 else 2)


def test_a_renewal_for_less_warns_once_it_is_kept(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.token_extras["scope"] = "patient/Patient.read launch/patient"
    grants = MemoryGrants(_ending(grant, -5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ScopeNarrowed, match=r"not granted any more: patient/\*\.read"):
            read(grants)
    assert grants.read().refresh_token == Secret("s4s_sandbox_refresh_2")
    assert grants.read().scope == "launch/patient patient/Patient.read"


def test_other_words_for_the_same_scopes_change_nothing(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.token_extras["scope"] = "patient/*.rs"
    grants = MemoryGrants(_ending(grant, -5))
    assert read(grants) == 200
    assert grants.read().scope == grant.scope == "patient/*.read launch/patient offline_access"


def test_a_renewal_never_grants_more(server: SmartServer, grant: Grant, read: Reader) -> None:
    server.token_extras["scope"] = "patient/*.* user/*.write system/*.cruds launch/patient offline_access openid"
    grants = MemoryGrants(_ending(grant, -5))
    assert read(grants) == 200
    assert grants.read().scope == grant.scope


def _from_an_archive(server: SmartServer, archive: SmartServer, grant: Grant, requests: int) -> list[str]:
    """Ask an archive elsewhere; what each request ended with."""

    def refresh(grant: Grant) -> Grant:
        with HttpClient() as tokens:
            return refresh_grant(tokens, f"{server.origin}/token", server.registration, grant)

    home, other = origin_of(server.origin), origin_of(archive.origin)
    auth = SmartAuth(MemoryGrants(grant), refresh, home=home)
    outcomes = []
    with HttpClient(auth=auth, auth_origins=frozenset({home, other})) as client:
        for _ in range(requests):
            try:
                outcomes.append(str(client.get(f"{archive.fhir_url}/Patient/1", accept=_JSON).status))
            except S4SError as error:
                outcomes.append(type(error).__name__)
        assert client.get(f"{server.fhir_url}/Patient/1", accept=_JSON).status == 200
    return outcomes


@pytest.mark.parametrize(("age_s", "renewals"), [(5, 0), (1800, 1)])
def test_an_archive_that_refuses_every_token_costs_one_renewal_at_most_and_ends_no_grant(
    server: SmartServer, grant: Grant, age_s: int, renewals: int
) -> None:
    with SmartServer() as archive:
        outcomes = _from_an_archive(server, archive, _ending(grant, 3600 - age_s), 5)
        assert outcomes == ["AccessRefused"] * 5
        assert len(archive.asked) == 5 + renewals
    assert len(server.asked_for("/token")) == renewals


def test_an_archive_gets_a_newer_token_once_the_old_one_has_ended_there(server: SmartServer, grant: Grant) -> None:
    with SmartServer() as archive:
        archive.access_tokens = {"s4s_sandbox_access_2"}
        assert _from_an_archive(server, archive, _ending(grant, 1800), 3) == ["200"] * 3
    assert len(server.asked_for("/token")) == 1


def test_a_server_that_refuses_even_new_tokens_costs_one_renewal(server: SmartServer, grant: Grant) -> None:
    def refresh(grant: Grant) -> Grant:
        renewals.append(1)
        return replace(grant, generation=grant.generation + 1)

    renewals: list[int] = []
    server.access_tokens.clear()
    auth = SmartAuth(MemoryGrants(grant), refresh, home=origin_of(server.origin))
    with HttpClient(auth=auth, auth_origins=frozenset({origin_of(server.origin)})) as client:
        for _ in range(3):
            with pytest.raises(GrantExpired, match="even a renewed one"):
                client.get(f"{server.fhir_url}/Patient/1", accept=_JSON)
    assert len(renewals) == 1


def test_what_a_busy_token_endpoint_takes_is_bounded_its_answers_included(
    server: SmartServer, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_requests, "_BUSY_BUDGET_S", 2.5)
    server.canned["/token"].extend([Canned(503, headers={"Retry-After": "1"})] * 9)
    server.slow_s = 0.6
    with HttpClient() as client, pytest.raises(Waiting):
        refresh_grant(client, f"{server.origin}/token", server.registration, grant)
    assert 1 <= len(server.asked_for("/token")) <= 2  # its waits alone would let it be asked three times


def test_an_unreachable_token_endpoint_is_said_when_the_token_has_ended(server: SmartServer, grant: Grant) -> None:
    def refresh(grant: Grant) -> Grant:
        with HttpClient() as tokens:
            return refresh_grant(tokens, "http://127.0.0.1:9/token", server.registration, grant)

    auth = SmartAuth(MemoryGrants(_ending(grant, -5)), refresh)
    signing = HttpClient(auth=auth, auth_origins=frozenset({origin_of(server.origin)}))
    with signing as client, pytest.raises(NotReachable):
        client.get(f"{server.fhir_url}/Patient/1", accept=_JSON)
    assert server.asked == []


@pytest.mark.parametrize("in_file", [False, True])
def test_many_threads_renew_once(
    server: SmartServer, grant: Grant, read: Reader, tmp_path: Path, in_file: bool
) -> None:
    ended = _ending(grant, -5)
    grants = (
        FileGrants.keep(tmp_path / "grants" / "one.json", _origin(server), ended) if in_file else MemoryGrants(ended)
    )
    server.hold.clear()  # the first renewal waits until all have come
    with ThreadPoolExecutor(12) as pool:
        statuses = [pool.submit(read, grants) for _ in range(12)]
        threading.Timer(0.3, server.hold.set).start()
        assert [one.result() for one in statuses] == [200] * 12
    assert len(server.asked_for("/token")) == 1


_READ_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from s4s_lab.connection import reopen
connection = reopen(Path(sys.argv[1]))
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
with connection.client() as client:
    statuses = [client.get(f"{connection.fhir_url}/Patient/1", accept="application/json").status for _ in range(5)]
sys.stdout.write(f"{statuses}\\n")
"""


def test_many_processes_renew_once_and_none_is_locked_out(server: SmartServer, grant: Grant, tmp_path: Path) -> None:
    store = FileGrants.keep(tmp_path / "grants" / "one.json", _origin(server), _ending(grant, -5))
    command = [sys.executable, "-c", _READ_IN_ANOTHER_PROCESS, str(store.path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs = [_released(process) for process in processes]
    assert [one.communicate(timeout=60)[0] for one in outputs] == [f"{[200] * 5}\n"] * 3
    assert len(server.asked_for("/token")) == 1
    assert store.read().generation == 2


def _released(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process


def test_a_grant_that_somebody_renewed_without_the_lock_is_taken_over(
    server: SmartServer, grant: Grant, read: Reader, tmp_path: Path
) -> None:
    store = FileGrants.keep(tmp_path / "grants" / "one.json", _origin(server), _ending(grant, -5))
    kept = json.loads(store.path.read_text())
    kept["grant"] |= {"refresh_token": "s4s_sandbox_refresh_2", "access_token": "s4s_sandbox_access_2", "generation": 9}
    kept["grant"]["expires_at"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    def refuse(current: Grant) -> Grant:
        store.path.write_text(json.dumps(kept))
        raise GrantExpired("used before")

    assert store.renew(1, refuse).access_token == Secret("s4s_sandbox_access_2")
    with pytest.raises(GrantExpired):
        store.renew(9, lambda current: refuse(current))
