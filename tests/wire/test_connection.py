"""Connections over the wire: the whole launch, its ends good and bad, and opening one again without a person."""

from __future__ import annotations

import _thread
import copy
import json
import logging
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from s4s_lab.connection import Connection, PendingLaunch, connect, prepare_launch, reopen
from s4s_lab.errors import (
    AuthorizationError,
    GrantExpired,
    LaunchNotFinished,
    LaunchNotTried,
    LaunchRefused,
    NotSmart,
    OriginRefused,
    ScopeNarrowed,
    UsageError,
)
from s4s_lab.smart import FileGrants
from s4s_lab.smart import launch as launch_module
from s4s_lab.values import Registration, Secret
from s4s_lab.values.instants import utc_now
from tests.wire.smart.browser import Page, approve, redirected_to, visit
from tests.wire.smart.server import CLIENT_ID, CLIENT_SECRET, PATIENT, Canned, SmartServer


@pytest.fixture
def server() -> Iterator[SmartServer]:
    with SmartServer() as server:
        yield server


@pytest.fixture
def registration(server: SmartServer) -> Registration:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        redirect_uri = f"http://127.0.0.1:{probe.getsockname()[1]}/callback"
    return replace(server.registration, redirect_uri=redirect_uri)


@pytest.fixture
def pending(server: SmartServer, registration: Registration) -> Iterator[PendingLaunch]:
    pending = prepare_launch(server.fhir_url, registration)
    yield pending
    pending.close()


def _start(pending: PendingLaunch) -> str:
    assert pending.start_url is not None
    return pending.start_url


def _connected(server: SmartServer, registration: Registration, grants_file: Path | None = None) -> Connection:
    return connect(
        server.fhir_url, registration, show=_visit, timeout_s=10, grants_file=grants_file, participant_id="P-007"
    )


def _visit(url: str) -> None:
    approve(url)


def _read(connection: Connection) -> int:
    with connection.client() as client:
        return client.get(f"{connection.fhir_url}/Patient/{connection.patient_id}", accept="application/json").status


@pytest.mark.clause("S4S-2", "S4S-3", "S4S-4")
def test_a_participant_approves_and_the_record_can_be_read(pending: PendingLaunch, server: SmartServer) -> None:
    began = utc_now()
    page = approve(_start(pending))
    connection = pending.wait(5)
    assert connection.granted_at is not None
    assert began <= connection.granted_at <= utc_now()
    assert "You are connected" in page.body
    assert pending.status == "connected"
    assert (connection.patient_id, connection.fhir_url) == (PATIENT, server.fhir_url)
    assert connection.fhir_version == "stu3"
    assert _read(connection) == 200


def test_the_connected_page_holds_nothing_of_the_exchange(pending: PendingLaunch) -> None:
    page = approve(_start(pending))
    for secret in ("s4s_sandbox_code_0", "s4s_sandbox_access_1", "s4s_sandbox_refresh_1", PATIENT, CLIENT_ID):
        assert secret not in page.body


_CONNECT_AND_END = """
import sys
from s4s_lab.connection import connect
from s4s_lab.values import Registration, Secret
registration = Registration(sys.argv[2], Secret(sys.argv[3]), sys.argv[4])
connect(sys.argv[1], registration, show=lambda url: print(url, flush=True), timeout_s=30)
"""


@pytest.mark.parametrize("run", range(3))
def test_a_program_that_ends_when_it_is_connected_still_sends_the_page(
    server: SmartServer, registration: Registration, run: int
) -> None:
    arguments = [server.fhir_url, CLIENT_ID, CLIENT_SECRET, registration.redirect_uri]
    command = [sys.executable, "-W", "error", "-c", _CONNECT_AND_END, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        page = approve(program.stdout.readline().strip())
        assert program.communicate(timeout=30) == ("", "")
    assert (page.status, "You are connected" in page.body) == (200, True)
    assert program.returncode == 0


def test_connect_shows_the_authorize_address_and_frees_the_port(
    server: SmartServer, registration: Registration
) -> None:
    shown: list[str] = []

    def show(url: str) -> None:
        shown.append(url)
        approve(url)

    connection = connect(server.fhir_url, registration, show=show, timeout_s=10, participant_id="P-007")
    assert shown[0].startswith(f"{server.origin}/authorize?")
    assert connection.participant_id == "P-007"
    port = int(registration.redirect_uri.split(":")[2].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_pasted_answer_does_the_same_as_a_redirect(pending: PendingLaunch) -> None:
    connection = pending.answer(redirected_to(pending.authorize_url))
    assert pending.wait(0) is connection
    with pytest.raises(LaunchRefused, match="answered before"):
        pending.answer("code=s4s_sandbox_code_0&state=x")


def test_without_a_loopback_redirect_there_is_no_listener_and_the_answer_is_pasted(server: SmartServer) -> None:
    hub = replace(server.registration, redirect_uri="https://hub.example/callback")
    pending = prepare_launch(server.fhir_url, hub)
    assert pending.start_url is None
    answer = redirected_to(pending.authorize_url)
    assert answer.startswith("https://hub.example/callback?")
    assert pending.answer("?" + answer.partition("?")[2]).patient_id == PATIENT


def test_garbage_and_foreign_states_leave_the_launch_waiting(pending: PendingLaunch, server: SmartServer) -> None:
    with pytest.raises(UsageError):
        pending.answer("no idea")
    with pytest.raises(LaunchRefused):
        pending.answer("code=c&state=forged")
    with pytest.raises(LaunchRefused):
        pending.answer("error=access_denied&state=forged")
    assert pending.status == "waiting"
    assert server.asked_for("/token") == []
    approve(_start(pending))
    assert pending.wait(5).patient_id == PATIENT


def test_a_denied_consent_ends_the_launch_and_the_page_says_so(pending: PendingLaunch, server: SmartServer) -> None:
    server.denies = True
    page = approve(_start(pending))
    assert "Nothing was shared" in page.body
    with pytest.raises(LaunchRefused, match="did not consent") as caught:
        pending.wait(5)
    assert caught.value.error == "access_denied"
    assert pending.status == "refused"


def test_a_wrong_secret_ends_the_launch_and_the_page_says_so(server: SmartServer, registration: Registration) -> None:
    pending = prepare_launch(server.fhir_url, replace(registration, client_secret=Secret("wrong")))
    page = approve(_start(pending))
    assert "does not accept this client id and secret" in page.body
    with pytest.raises(LaunchRefused) as caught:
        pending.wait(5)
    assert caught.value.error == "invalid_client"


def test_an_answer_that_arrives_many_times_at_once_is_exchanged_once(
    pending: PendingLaunch, server: SmartServer
) -> None:
    answer = redirected_to(pending.authorize_url)
    server.hold.clear()
    pages: list[Page] = []
    threads = [threading.Thread(target=lambda: pages.append(visit(answer))) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(pages) < 7:  # all but the one that is held
        time.sleep(0.01)
    server.hold.set()
    for thread in threads:
        thread.join()
    assert len(server.asked_for("/token")) == 1
    assert sum("You are connected" in page.body for page in pages) == 1


def test_nobody_answering_is_said_in_time_and_the_launch_goes_on(pending: PendingLaunch) -> None:
    with pytest.raises(LaunchNotFinished, match=r"within 0\.05 s"):
        pending.wait(0.05)
    with pytest.raises(TimeoutError):
        pending.wait(0)
    approve(_start(pending))
    assert pending.wait(5).patient_id == PATIENT


def test_waiting_can_be_interrupted(pending: PendingLaunch) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are started without
    try:
        threading.Timer(0.1, _thread.interrupt_main).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            pending.wait(30)
        assert time.monotonic() - began < 5
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_narrower_grant_warns_whoever_waits(pending: PendingLaunch, server: SmartServer) -> None:
    server.token_extras["scope"] = "launch/patient patient/Patient.read"
    approve(_start(pending))
    with pytest.warns(ScopeNarrowed, match=r"patient/\*\.read"):
        connection = pending.wait(5)
    assert connection.not_granted == ["patient/*.read"]
    assert connection.scope == "launch/patient patient/Patient.read"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pending.wait(0)


def test_watchers_hear_of_each_step_once_and_of_the_end_even_when_they_come_late(pending: PendingLaunch) -> None:
    heard: list[str] = []
    pending.watch(lambda: heard.append(pending.status))
    approve(_start(pending))
    pending.wait(5)
    pending.watch(lambda: heard.append("late"))
    assert heard == ["connecting", "connected", "late"]


def test_a_second_launch_in_one_process_does_not_find_the_port_taken(
    pending: PendingLaunch, server: SmartServer, registration: Registration
) -> None:
    other = prepare_launch(server.fhir_url, registration, participant_id="P-008")
    approve(_start(pending))
    approve(_start(other))
    assert {pending.wait(5).patient_id, other.wait(5).patient_id} == {PATIENT}


def _is_free(registration: Registration) -> bool:
    port = int(registration.redirect_uri.split(":")[2].split("/")[0])
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_launch_that_is_begun_again_takes_the_place_of_the_older_one_and_its_port(
    pending: PendingLaunch, server: SmartServer, registration: Registration
) -> None:
    answer = redirected_to(pending.authorize_url)
    again = prepare_launch(server.fhir_url, registration)
    assert (pending.status, again.status) == ("closed", "waiting")
    with pytest.raises(LaunchNotFinished, match=r"newer launch.*Use the newer one's link"):
        pending.wait(5)
    with pytest.raises(LaunchNotFinished, match=r"newer launch"):
        pending.answer(answer)
    approve(_start(again))
    assert again.wait(5).patient_id == PATIENT
    assert _is_free(registration)


def test_a_launch_ends_after_ten_minutes_and_frees_its_port(
    server: SmartServer, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch_module.GOOD_FOR_S == 600
    monkeypatch.setattr(launch_module, "GOOD_FOR_S", 0.3)
    pending = prepare_launch(server.fhir_url, registration)
    answer = redirected_to(pending.authorize_url)
    with pytest.raises(LaunchNotFinished, match=r"within ten minutes.*Launch again"):
        pending.wait(5)
    with pytest.raises(LaunchNotFinished):
        pending.answer(answer)
    assert (pending.status, _is_free(registration), server.asked_for("/token")) == ("closed", True, [])


def test_an_answer_after_ten_minutes_is_not_exchanged_even_if_nobody_has_noticed(
    pending: PendingLaunch, server: SmartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = redirected_to(pending.authorize_url)
    monkeypatch.setattr(launch_module, "GOOD_FOR_S", 0.0)
    assert visit(answer).status == 404
    with pytest.raises(LaunchRefused):
        pending.answer(answer)
    assert server.asked_for("/token") == []


def test_a_closed_launch_says_so_to_whoever_waits(pending: PendingLaunch) -> None:
    waiting = threading.Timer(0.1, pending.close)
    waiting.start()
    with pytest.raises(LaunchNotFinished, match=r"closed before anybody answered.*Launch again"):
        pending.wait(5)
    assert pending.status == "closed"


def test_an_error_without_state_ends_nothing_and_belongs_to_the_newest(
    pending: PendingLaunch, server: SmartServer, registration: Registration
) -> None:
    newer = prepare_launch(server.fhir_url, registration, participant_id="P-008")
    page = visit(f"{registration.redirect_uri}?error=access_denied&error_description=Call+me")
    assert "error without state: access_denied" in page.body
    with pytest.raises(LaunchRefused) as caught:
        pending.answer("error=server_error")
    assert caught.value.error == "no_state"
    assert (pending.status, newer.status) == ("waiting", "waiting")
    with pytest.raises(LaunchNotFinished, match="error without state: access_denied"):
        newer.wait(0)
    for one in (pending, newer):
        approve(_start(one))
        assert one.wait(5).patient_id == PATIENT


def test_nobody_answering_names_the_commonest_cause(pending: PendingLaunch, registration: Registration) -> None:
    with pytest.raises(LaunchNotFinished) as caught:
        pending.wait(0)
    for part in (repr(CLIENT_ID), registration.redirect_uri, "error page of its own", "what is registered"):
        assert part in str(caught.value)


def test_a_watcher_that_fails_stops_no_launch(pending: PendingLaunch) -> None:
    heard: list[str] = []
    pending.watch(lambda: heard.append(str(1 / 0)))
    pending.watch(lambda: heard.append(pending.status))
    approve(_start(pending))
    assert pending.wait(5).patient_id == PATIENT
    assert heard == ["connecting", "connected"]


def test_whatever_keeping_a_grant_raises_ends_the_launch_without_its_words(
    pending: PendingLaunch, registration: Registration
) -> None:
    def keep(grant: object) -> Connection:
        raise RuntimeError(f"the keyring's words: {grant}")

    pending._connect = keep
    page = approve(_start(pending))
    assert "could not be used: RuntimeError (test_connection.py, line" in page.body
    with pytest.raises(AuthorizationError, match="was not foreseen") as caught:
        pending.wait(5)
    assert "the keyring's words" not in "".join(traceback.format_exception(caught.value))
    assert (pending.status, _is_free(registration)) == ("refused", True)


def _asking(server: SmartServer, *said: str | type[Exception]) -> tuple[list[str], Connection]:
    """Connect where no browser comes back; a person pastes what is given, then the right address."""
    shown: list[str] = []
    texts = iter(said)

    def ask(prompt: str) -> str:
        assert "Paste the address" in prompt
        text = next(texts, redirected_to(shown[0]))
        if not isinstance(text, str):
            raise text
        return text

    elsewhere = replace(server.registration, redirect_uri="https://hub.example/callback")
    return shown, connect(server.fhir_url, elsewhere, show=shown.append, timeout_s=5, ask=ask)


def test_connect_asks_for_the_address_where_no_browser_comes_back(server: SmartServer) -> None:
    shown, connection = _asking(server, "", "no idea", "code=c&state=forged")
    assert connection.patient_id == PATIENT
    assert [one for one in shown[1:] if "neither code" not in one] == [shown[3]]
    assert "belongs to another launch" in shown[3]


@pytest.mark.parametrize("nobody", [EOFError, NotImplementedError])
def test_connect_waits_where_nobody_can_be_asked(server: SmartServer, nobody: type[Exception]) -> None:
    def ask(prompt: str) -> str:
        raise nobody(prompt)

    began = time.monotonic()
    with pytest.raises(LaunchNotFinished):
        connect(
            server.fhir_url,
            replace(server.registration, redirect_uri="https://hub.example/callback"),
            show=_ignore,
            timeout_s=0.3,
            ask=ask,
        )
    assert time.monotonic() - began >= 0.3


def test_connect_shows_an_error_without_state_and_goes_on(server: SmartServer, registration: Registration) -> None:
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        if len(shown) == 1:
            visit(f"{registration.redirect_uri}?error=access_denied")
            approve(text)

    assert connect(server.fhir_url, registration, show=show, timeout_s=5).patient_id == PATIENT
    pasted, _ = _asking(server, "error=access_denied")
    for texts in (shown, pasted):
        assert ["without state: access_denied" in one for one in texts] == [False, True]


def _ignore(text: str) -> None:
    pass


def test_connect_can_be_interrupted_while_it_asks(server: SmartServer) -> None:
    with pytest.raises(KeyboardInterrupt):
        _asking(server, KeyboardInterrupt)  # type: ignore[arg-type]  # what an interrupt makes of input()


def test_connect_asks_at_the_keyboard_for_what_no_notebook_keeps(
    server: SmartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda _: redirected_to(shown[0]))
    elsewhere = replace(server.registration, redirect_uri="https://hub.example/callback")
    assert connect(server.fhir_url, elsewhere, show=shown.append, timeout_s=5).patient_id == PATIENT


def test_a_port_in_use_is_said_before_anything_is_registered(server: SmartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        redirect_uri = f"http://127.0.0.1:{taken.getsockname()[1]}/callback"
        with pytest.raises(LaunchNotTried, match=f"Port {taken.getsockname()[1]} "):
            prepare_launch(server.fhir_url, redirect_uri=redirect_uri)
    assert server.asked_for("/register") == []


def test_without_a_registration_a_client_is_registered(server: SmartServer, registration: Registration) -> None:
    body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    server.canned["/register"].append(Canned(201, json.dumps(body).encode()))
    connection = connect(
        server.fhir_url, show=_visit, timeout_s=10, redirect_uri=registration.redirect_uri
    )  # fmt: skip
    assert connection.registration == registration


def test_a_refused_registration_frees_the_port(server: SmartServer, registration: Registration) -> None:
    with pytest.raises(LaunchNotTried):
        prepare_launch(server.fhir_url, redirect_uri=registration.redirect_uri)
    port = int(registration.redirect_uri.split(":")[2].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_server_without_smart_is_no_place_to_launch(server: SmartServer, registration: Registration) -> None:
    with pytest.raises(NotSmart):
        prepare_launch(f"{server.origin}/elsewhere", registration)


def test_a_connection_shows_server_patient_scopes_and_minutes_and_nothing_else(
    server: SmartServer, registration: Registration
) -> None:
    shown = repr(_connected(server, registration))
    assert shown == (
        "Connection(server=http://127.0.0.1, patient=smart-1288992, "
        "scopes='patient/*.read launch/patient offline_access', 60 min left)"
    )


def test_a_connection_cannot_be_pickled_or_copied(server: SmartServer, registration: Registration) -> None:
    connection = _connected(server, registration)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="reopen"):
            attempt(connection)


def test_the_token_goes_to_the_servers_origin_and_the_allowed_ones_only(
    server: SmartServer, registration: Registration
) -> None:
    connection = _connected(server, registration)
    with SmartServer() as other, SmartServer() as images:
        images.access_tokens.add("s4s_sandbox_access_1")
        allowed = replace(connection, allowed_origins=frozenset({images.origin}))
        with allowed.client() as client:
            for url in (f"{images.fhir_url}/Patient/1", f"{other.fhir_url}/Patient/1"):
                client.get(url, accept="application/json")
        assert other.asked[0].headers.get("authorization") is None
        assert images.asked[0].headers["authorization"] == "Bearer s4s_sandbox_access_1"


def test_a_kept_connection_opens_again_without_a_person(
    server: SmartServer, registration: Registration, tmp_path: Path
) -> None:
    grants_file = tmp_path / "grants" / "one.json"
    first = _connected(server, registration, grants_file)
    server.access_tokens.clear()
    again = reopen(grants_file)
    assert (again.patient_id, again.participant_id, again.scope) == (PATIENT, "P-007", first.scope)
    assert again.registration == registration
    assert _read(again) == 200
    assert _read(first) == 200
    assert len(server.asked_for("/token")) == 2  # the launch, and one renewal for both


def test_a_grant_can_be_kept_after_the_launch_and_then_lives_in_its_file_only(
    server: SmartServer, registration: Registration, tmp_path: Path
) -> None:
    first = _connected(server, registration)
    kept = first.kept_at(tmp_path / "grants" / "one.json")
    assert _read(kept) == _read(reopen(tmp_path / "grants" / "one.json")) == 200
    assert repr(kept) == repr(reopen(tmp_path / "grants" / "one.json"))
    with pytest.raises(GrantExpired):
        first.grants.read()


def test_a_forgotten_grant_cannot_be_opened_and_shows_no_time(
    server: SmartServer, registration: Registration, tmp_path: Path
) -> None:
    connection = _connected(server, registration, tmp_path / "grants" / "one.json")
    connection.grants.forget()
    assert "0 min left" in repr(connection)
    with pytest.raises(GrantExpired):
        _read(connection)
    with pytest.raises(GrantExpired, match="Connect again"):
        reopen(tmp_path / "grants" / "one.json")


def test_a_refresh_token_does_not_follow_the_token_endpoint_to_another_origin(
    server: SmartServer, registration: Registration, tmp_path: Path
) -> None:
    grants_file = tmp_path / "grants" / "one.json"
    connection = _connected(server, registration, grants_file)
    with SmartServer() as thief:
        assert server.well_known is not None
        server.well_known["token_endpoint"] = f"{thief.origin}/token"
        server.statement = {"resourceType": "CapabilityStatement"}
        with pytest.raises(OriginRefused, match="did not give this grant"):
            reopen(grants_file)
        assert thief.asked == []
    assert isinstance(connection.grants, FileGrants)


def test_an_open_folder_is_refused_before_the_participant_is_asked(
    server: SmartServer, registration: Registration, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        prepare_launch(server.fhir_url, registration, grants_file=tmp_path / "one.json")
    assert server.asked == []


def test_an_ended_grant_shows_no_minutes(server: SmartServer, registration: Registration) -> None:
    connection = _connected(server, registration)
    ended = replace(connection.grants.read(), expires_at=datetime.now(UTC) - timedelta(hours=1), generation=2)
    connection.grants.renew(1, lambda _: ended)
    assert connection.minutes_left == 0


def test_nothing_secret_is_logged_in_a_launch_and_a_renewal(
    server: SmartServer, registration: Registration, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        connection = _connected(server, registration)
        server.access_tokens.clear()
        _read(connection)
    for secret in (
        "s4s_sandbox_code_0",
        "s4s_sandbox_access_1",
        "s4s_sandbox_access_2",
        "s4s_sandbox_refresh_1",
        CLIENT_SECRET,
    ):
        assert secret not in caplog.text
