"""Secrets stay where they belong: nothing that is logged, raised, shown, saved or pickled on the way holds one."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from s4s_lab import sandbox
from s4s_lab.connection import Connection, prepare_launch
from s4s_lab.errors import S4SError
from s4s_lab.net import Trace
from s4s_lab.sandbox import Sandbox
from s4s_lab.smart import MemoryGrants
from s4s_lab.values import Registration, Secret


class Seen:
    """All that could leave the process, as text, and the secrets that must not be in it."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.texts: list[str] = []
        self.secrets: dict[str, str] = {}

    def guard(self, **secrets: Secret | None) -> None:
        for name, secret in secrets.items():
            if secret is not None:
                self.secrets[name] = secret.reveal()

    def guard_grant(self, link: Connection) -> None:
        grant = link.grants.read()
        number = grant.generation
        self.guard(**{f"access {number}": grant.access_token, f"refresh {number}": grant.refresh_token})

    def show(self, *things: object) -> None:
        self.texts += [f"{thing!r} {thing}" for thing in things]

    def fails(self, attempt: Callable[[], object]) -> None:
        with pytest.raises(S4SError) as caught:
            attempt()
        error = caught.value
        self.show(error, error.args, error.hint, vars(error))
        frames = [one for one in traceback.walk_tb(caught.tb) if "s4s_lab" in one[0].f_code.co_filename]
        summary = traceback.StackSummary.extract(iter(frames), capture_locals=True)
        self.texts += [*summary.format(), *traceback.format_exception(error)]
        self.texts.append(pickle.dumps((str(error), error.args, error.hint)).decode("latin-1"))

    def leaks(self) -> list[str]:
        everything = "\n".join([self.log.getvalue(), *self.texts])
        return [name for name, secret in self.secrets.items() if secret in everything]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Log everything of every library at DEBUG."""
    seen, root = Seen(), logging.getLogger()
    handler = logging.StreamHandler(seen.log)
    levels = {name: logging.getLogger(name).level for name in ("", *logging.root.manager.loggerDict)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield seen
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def server(free_redirect_uri: str) -> Iterator[Sandbox]:
    with sandbox.start(redirect_uri=free_redirect_uri) as server:
        yield server


def _read(link: Connection, trace: Trace | None = None) -> None:
    with link.client(trace=trace) as client:
        client.get(f"{link.fhir_url}/Patient/{link.patient_id}", accept="application/fhir+json")


def _launched(server: Sandbox, registration: Registration, seen: Seen, file: Path | None) -> Connection:
    pending = prepare_launch(server.fhir_url, registration, grants_file=file)
    seen.guard(verifier=pending._launch.verifier)
    shown = repr(pending) + repr(pending._launch)
    server.approve(pending)
    link = pending.wait(10)
    seen.texts.append(shown)
    seen.show(pending, link)
    return link


@pytest.mark.parametrize("in_file", [False, True])
def test_a_grants_whole_life_leaks_no_secret(server: Sandbox, seen: Seen, tmp_path: Path, in_file: bool) -> None:
    registration = server.registration
    seen.guard(client=registration.client_secret)
    link = _launched(server, registration, seen, tmp_path / "grants" / "one.json" if in_file else None)
    seen.guard_grant(link)
    trace = Trace()
    stale = replace(link, grants=MemoryGrants(replace(link.grants.read(), access_token=Secret("stale-canary-token"))))
    seen.guard(stale=Secret("stale-canary-token"))
    _read(stale, trace)
    seen.guard_grant(stale)
    seen.show(link.introspect(), trace, trace.table(), trace.save(tmp_path / "trace.jsonl").read_text())
    seen.show(link, link.grants, link.grants.read(), link.registration, link.configuration, link.state, vars(link))
    seen.fails(lambda: link.grants.renew(1, link._renewed))  # its refresh token was used by the other one
    seen.show(link.renewal_error, link.state, stale.disconnect(), link.disconnect())
    seen.fails(lambda: _read(link))
    assert len(seen.secrets) >= 6
    assert "GET" in "".join(seen.texts)
    assert seen.leaks() == []


def test_failed_launches_leak_no_secret(server: Sandbox, seen: Seen) -> None:
    wrong = replace(server.registration, client_secret=Secret("wrong-canary-secret"))
    seen.guard(wrong=wrong.client_secret)
    for end in (server.approve, server.deny):
        pending = prepare_launch(server.fhir_url, wrong)
        seen.guard(**{f"verifier {end.__name__}": pending._launch.verifier})
        seen.show(pending)
        end(pending)
        seen.fails(lambda waiting=pending: waiting.wait(10))  # type: ignore[misc]  # bound now, called now
    answered = prepare_launch(server.fhir_url, wrong)
    code = Secret(f"code=canary-code&state={answered._launch.state.reveal()}")
    seen.fails(lambda: answered.answer(code.reveal()))
    seen.guard(code=Secret("canary-code"))
    assert seen.leaks() == []


def test_nothing_that_holds_a_secret_can_be_pickled_or_copied(server: Sandbox, seen: Seen) -> None:
    link = _launched(server, server.registration, seen, None)
    holders = [link, link.grants, link.grants.read(), link.registration, link.registration.client_secret]
    for holder in holders:
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            if attempt is copy.copy and not isinstance(holder, Connection | MemoryGrants | Secret):
                continue  # a second frozen value around the same secret shows no more than the first
            with pytest.raises(TypeError):
                attempt(holder)


def test_the_scan_would_find_a_leak(seen: Seen) -> None:
    seen.guard(canary=Secret("canary-7f31"))
    logging.getLogger("some.library").debug("Authorization: Bearer canary-7f31")
    assert seen.leaks() == ["canary"]


def test_warnings_hold_no_secret(server: Sandbox, seen: Seen) -> None:
    seen.guard(client=server.registration.client_secret)
    asking = replace(server.registration, scope="patient/*.read patient/*.write launch/patient")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        link = _launched(server, asking, seen, None)
    seen.guard_grant(link)
    seen.show(*[str(one.message) for one in caught])
    assert any("patient/*.write" in text for text in seen.texts)
    assert seen.leaks() == []
