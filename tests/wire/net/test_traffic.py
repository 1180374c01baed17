"""One client's traffic: one budget for all its waits, a few requests at a time, failing origins left alone."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from s4s_lab.errors import NotReachable, UsageError, Waiting
from s4s_lab.net import HttpClient, Limits, Patience
from s4s_lab.net import traffic as traffic_module
from tests.wire.net.conftest import Slept, talking
from tests.wire.net.servers import Request, Script, answers, reply, serving

OK = reply(200, body=b"done")


class Crowd:
    """A script that counts how many requests it is busy with at once; `release` lets them all end."""

    def __init__(self) -> None:
        self.most = self.now = 0
        self.arrived = threading.Semaphore(0)
        self.release = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, _: Request, connection: socket.socket) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.arrived.release()
        self.release.wait(10)
        with self._lock:
            self.now -= 1
        connection.sendall(OK)

    def hold_of(self, count: int) -> None:
        """Wait until `count` requests are here, give more a chance to come, and let all go."""
        for _ in range(count):
            assert self.arrived.acquire(timeout=10)
        time.sleep(0.2)
        self.release.set()


def test_all_waits_of_a_client_share_one_budget(slept: Slept) -> None:
    busy = reply(503, "Retry-After: 100")
    with talking(answers(busy, OK, busy, OK, busy), slept.patience(budget_s=250)) as (server, client):
        assert client.get(f"{server.url}/ImagingStudy", accept="*/*").status == 200
        assert client.get(f"{server.url}/Coverage", accept="*/*").status == 200
        with pytest.raises(Waiting) as caught:
            client.get(f"{server.url}/Patient/p", accept="*/*")
    assert len(server.requests) == 5
    assert caught.value.not_before >= datetime.now(UTC) + timedelta(seconds=99)


def test_waits_of_several_threads_at_the_same_time_count_once() -> None:
    asleep = threading.Barrier(3)
    seen: set[str] = set()

    def script(request: Request, connection: socket.socket) -> None:
        busy = request.target not in seen
        seen.add(request.target)
        connection.sendall(reply(503, "Retry-After: 60") if busy else OK)

    patience = Patience(budget_s=67, sleep=lambda _: (asleep.wait(10), None)[1])
    with talking(script, patience) as (server, client), ThreadPoolExecutor(3) as threads:
        kinds = ("ImagingStudy", "Coverage", "Endpoint")
        urls = [f"{server.url}/{kind}" for kind in kinds]
        assert [a.status for a in threads.map(lambda url: client.get(url, accept="*/*"), urls)] == [200] * 3


def test_no_wait_is_longer_than_an_hour_whatever_the_budget(slept: Slept) -> None:
    busy = answers(reply(503, "Retry-After: 3601"))
    with talking(busy, slept.patience(budget_s=1e6)) as (server, client), pytest.raises(Waiting) as caught:
        client.get(server.url, accept="*/*")
    assert slept.waits == []
    assert caught.value.not_before >= datetime.now(UTC) + timedelta(seconds=3600)


def test_a_moment_from_an_earlier_run_is_waited_for_within_the_budget(slept: Slept) -> None:
    soon, url = datetime.now(UTC) + timedelta(seconds=60), "https://ehr.example/fhir?patient=secret-id"
    with HttpClient(patience=slept.patience(budget_s=100)) as client:
        client.wait_until(datetime.now(UTC) - timedelta(seconds=5), reason="it was busy", url=url)
        client.wait_until(soon, reason="it was busy", url=url)
        with pytest.raises(Waiting) as caught:
            client.wait_until(soon, reason="it was busy", url=url)
    assert [round(seconds) for seconds in slept.seconds] == [60]
    assert caught.value.not_before == soon
    assert "secret-id" not in f"{caught.value}{slept.waits}"


def test_four_requests_at_most_are_on_their_way_to_one_origin() -> None:
    crowd = Crowd()
    with talking(crowd) as (server, client), ThreadPoolExecutor(10) as threads:
        results = [threads.submit(client.get, server.url, accept="*/*") for _ in range(10)]
        crowd.hold_of(4)
        assert [result.result().status for result in results] == [200] * 10
    assert crowd.most == 4


def test_another_origin_is_not_held_up_by_a_full_one() -> None:
    crowd = Crowd()
    with talking(crowd) as (full, client), serving(answers(OK)) as free, ThreadPoolExecutor(6) as threads:
        results = [threads.submit(client.get, full.url, accept="*/*") for _ in range(6)]
        for _ in range(4):
            assert crowd.arrived.acquire(timeout=10)
        assert client.get(free.url, accept="*/*").status == 200
        assert not any(result.done() for result in results)
        crowd.release.set()


def test_two_streams_at_most_are_open_at_one_origin() -> None:
    crowd = Crowd()
    with talking(crowd) as (server, client), ThreadPoolExecutor(6) as threads:

        def fetch(number: int) -> bytes:
            with client.stream(f"{server.url}/studies/1.{number}", accept="*/*") as stream:
                return b"".join(stream.chunks())

        results = [threads.submit(fetch, number) for number in range(6)]
        crowd.hold_of(2)
        assert [result.result() for result in results] == [b"done"] * 6
    assert crowd.most == 2


def test_a_thread_that_would_wait_for_itself_is_told() -> None:
    with talking(answers(OK)) as (server, client), ExitStack() as open_:
        for _ in range(2):
            open_.enter_context(client.stream(server.url, accept="*/*"))
        assert client.get(server.url, accept="*/*").status == 200
        with pytest.raises(UsageError, match="2 streams"):
            open_.enter_context(client.stream(server.url, accept="*/*"))


class Waiter:
    """Patience of a client whose first wait lasts until it is told to end."""

    def __init__(self) -> None:
        self.asleep = threading.Event()
        self.wake = threading.Event()

    def __call__(self, _: float) -> None:
        self.asleep.set()
        self.wake.wait(10)


def busy_once(status: int) -> Script:
    """Ask for time once, then answer."""
    return answers(reply(status, "Retry-After: 5"), OK)


@pytest.mark.parametrize(
    ("status", "path", "held"),
    [
        (503, "/fhir/ImagingStudy?patient=q", True),
        (503, "/fhir/ExplanationOfBenefit?patient=p", False),
        (503, "/wado/studies/1.2", False),
        (413, "/fhir/ImagingStudy?_count=1", True),
        (413, "/fhir/Coverage", False),
        (429, "/fhir/ExplanationOfBenefit?patient=p", True),
    ],
)
def test_while_one_request_waits_others_of_its_kind_wait_along(status: int, path: str, held: bool) -> None:
    waiter = Waiter()
    with (
        talking(busy_once(status), Patience(sleep=waiter)) as (server, client),
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(client.get, f"{server.url}/fhir/ImagingStudy?patient=p", accept="*/*")
        assert waiter.asleep.wait(10)
        second = threads.submit(client.get, f"{server.url}{path}", accept="*/*")
        time.sleep(0.3)
        assert second.done() != held
        assert len(server.requests) == (1 if held else 2)
        waiter.wake.set()
        assert (first.result(10).status, second.result(10).status) == (200, 200)
    assert server.requests[1].target == ("/fhir/ImagingStudy?patient=p" if held else path)


def test_a_stream_is_not_opened_while_the_origin_asks_for_time() -> None:
    waiter = Waiter()
    with talking(busy_once(429), Patience(sleep=waiter)) as (server, client), ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.get, f"{server.url}/fhir/ImagingStudy", accept="*/*")
        assert waiter.asleep.wait(10)
        with pytest.raises(Waiting) as caught, client.stream(f"{server.url}/studies/1.2", accept="*/*"):
            pass
        waiter.wake.set()
        assert first.result(10).status == 200
    assert caught.value.not_before > datetime.now(UTC)
    assert len(server.requests) == 2


def test_who_gives_up_waiting_holds_up_nobody(slept: Slept) -> None:
    with talking(answers(reply(503, "Retry-After: 900"), OK), slept.patience(budget_s=5)) as (server, client):
        with pytest.raises(Waiting):
            client.get(f"{server.url}/ImagingStudy", accept="*/*")
        assert client.get(f"{server.url}/ImagingStudy", accept="*/*").status == 200


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_what_failed_five_times_in_a_row_is_left_alone_for_a_minute(status: int, slept: Slept) -> None:
    with talking(answers(reply(status)), slept.patience()) as (server, client):
        for _ in range(5):
            assert client.get(f"{server.url}/ImagingStudy?patient=secret-id", accept="*/*").status == status
        asked = len(server.requests)
        with pytest.raises(Waiting, match=r"5 requests in a row failed .* 60 s") as caught:
            client.get(f"{server.url}/ImagingStudy?patient=secret-id", accept="*/*")
        assert len(server.requests) == asked
        assert client.get(f"{server.url}/Coverage", accept="*/*").status == status
    assert timedelta(seconds=50) < caught.value.not_before - datetime.now(UTC) <= timedelta(seconds=60)
    assert "secret-id" not in str(caught.value)


def test_lost_connections_leave_all_of_an_origin_alone(slept: Slept) -> None:
    with talking(lambda _, connection: connection.close(), slept.patience()) as (server, client):
        for kind in ("ImagingStudy", "Coverage", "Patient/p", "Endpoint/e", "DiagnosticReport"):
            with pytest.raises(NotReachable):
                client.get(f"{server.url}/{kind}", accept="*/*")
        assert len(server.requests) == 25
        with pytest.raises(Waiting, match="left alone"):
            client.get(f"{server.url}/ExplanationOfBenefit", accept="*/*")
        with pytest.raises(Waiting, match="left alone"), client.stream(f"{server.url}/studies/1", accept="*/*"):
            pass
    assert len(server.requests) == 25


def test_an_answer_in_between_starts_the_count_anew(slept: Slept) -> None:
    bad = [reply(500)] * 8
    with talking(answers(*bad, OK, *bad, OK), slept.patience()) as (server, client):
        statuses = [client.get(server.url, accept="*/*").status for _ in range(10)]
    assert statuses == [500, 500, 500, 500, 200] * 2


def test_a_busy_server_is_no_failing_one(slept: Slept) -> None:
    busy = reply(503, "Retry-After: 1")
    with talking(answers(*[busy] * 20, OK), slept.patience()) as (server, client):
        assert client.get(server.url, accept="*/*").status == 200


def test_after_the_minute_one_failure_is_enough(slept: Slept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_module, "LEFT_ALONE_S", 0.3)
    with talking(answers(reply(500)), slept.patience()) as (server, client):
        for _ in range(5):
            client.get(server.url, accept="*/*")
        time.sleep(0.35)
        assert client.get(server.url, accept="*/*").status == 500
        with pytest.raises(Waiting):
            client.get(server.url, accept="*/*")
    assert len(server.requests) == 12


@pytest.mark.parametrize(("header", "spread_s"), [("Retry-After: 100", 3.0), ("X: y", 0.5)])
def test_twenty_clients_do_not_come_back_at_the_same_moment(header: str, spread_s: float) -> None:
    waits: list[float] = []
    with serving(lambda _, connection: connection.sendall(reply(503, header))) as server:

        def once(_: int) -> None:
            slept = Slept()
            patience = slept.patience(budget_s=110.1)
            with HttpClient(patience=patience, limits=Limits()) as client, pytest.raises(Waiting):
                client.get(server.url, accept="*/*")
            waits.append(slept.seconds[0])

        with ThreadPoolExecutor(5) as threads:
            list(threads.map(once, range(20)))
    assert len(set(waits)) == 20
    assert max(waits) - min(waits) > spread_s
