"""Grants in a keyring: a real keyring package with a back end of this test's, and machines that have none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import keyring
import keyring.backend
import pytest
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from s4s_lab.errors import GrantExpired, UsageError
from s4s_lab.smart import FileGrants, Grant, GrantOrigin
from s4s_lab.values import Registration, Secret

ENDS = datetime.now(UTC) + timedelta(hours=1)
GRANT = Grant(
    Secret("s4s_sandbox_access_canary"), Secret("s4s_sandbox_refresh_canary"), "patient/*.read", "p", ENDS, generation=1
)
ORIGIN = GrantOrigin(
    "https://ehr.example/fhir", "https://ehr.example/token", Registration("app", Secret("client-canary"))
)


class Drawer(keyring.backend.KeyringBackend):
    """A keyring that ends with the test."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the package has no types there
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("canary of the keyring's words")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def drawer() -> Iterator[Drawer]:
    before, drawer = keyring.get_keyring(), Drawer()
    keyring.set_keyring(drawer)
    yield drawer
    keyring.set_keyring(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grants" / "one.json"


def test_the_file_says_where_and_the_keyring_holds_all(drawer: Drawer, path: Path) -> None:
    FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    text = b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert [
        canary
        for canary in (b"s4s_sandbox_access_canary", b"s4s_sandbox_refresh_canary", b"client-canary")
        if canary in text
    ] == []
    assert path.stat().st_mode & 0o777 == 0o600
    assert FileGrants(path).read() == GRANT
    assert FileGrants(path).origin == ORIGIN
    assert len(drawer.kept) == 1


def test_a_renewal_stays_in_the_keyring(drawer: Drawer, path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    before = path.read_bytes()
    store.renew(1, lambda grant: replace(grant, refresh_token=Secret("next"), generation=2))
    assert path.read_bytes() == before
    assert FileGrants(path).read().refresh_token == Secret("next")
    assert len(drawer.kept) == 1


def test_another_grant_in_the_same_place_leaves_nothing_of_the_first(drawer: Drawer, path: Path) -> None:
    FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    FileGrants.keep(path, ORIGIN, replace(GRANT, access_token=Secret("second")), keyring=True)
    assert (len(drawer.kept), FileGrants(path).read().generation) == (1, 2)
    FileGrants.keep(path, ORIGIN, GRANT)
    assert (drawer.kept, FileGrants(path).read().generation) == ({}, 3)


def test_forgetting_empties_both(drawer: Drawer, path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    store.forget()
    assert (drawer.kept, path.exists()) == ({}, False)
    ended = FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    assert ended.end(lambda _: True)
    assert drawer.kept == {}
    assert b"grant" not in path.read_bytes()


def test_an_entry_that_is_gone_means_connect_again(drawer: Drawer, path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    drawer.kept.clear()
    with pytest.raises(GrantExpired, match=r"no longer in the keyring.*Connect again"):
        store.read()
    store.forget()


def test_a_locked_keyring_is_said_so_without_its_words(drawer: Drawer, path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    drawer.locked = True
    with pytest.raises(UsageError, match="KeyringLocked") as caught:
        store.read()
    assert "canary" not in str(caught.value)


def test_an_older_grant_in_a_locked_keyring_is_found_out_before_anybody_is_asked(drawer: Drawer, path: Path) -> None:
    FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
    drawer.locked = True
    with pytest.raises(UsageError, match="KeyringLocked"):
        FileGrants.prepare(path)


def test_a_back_end_that_raises_what_it_likes_is_said_without_its_words(
    drawer: Drawer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: str) -> None:
        raise RuntimeError("canary of the back end")

    for name in ("get_password", "set_password", "delete_password"):
        store = FileGrants.keep(path, ORIGIN, GRANT, keyring=True)
        with monkeypatch.context() as patched:
            patched.setattr(drawer, name, fails)
            with pytest.raises(UsageError, match=r"cannot be used \(RuntimeError\)") as caught:
                store.forget() if name == "delete_password" else FileGrants.prepare(path, keyring=True)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring])
def test_a_machine_without_a_keyring_is_found_out_before_anybody_is_asked(
    drawer: Drawer, path: Path, backend: type[keyring.backend.KeyringBackend]
) -> None:
    keyring.set_keyring(backend())
    with pytest.raises(UsageError, match=r"no keyring on this machine.*Leave keyring out"):
        FileGrants.prepare(path, keyring=True)
    assert drawer.kept == {}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError, match=r'pip install "s4s-lab\[keyring\]"'):
        FileGrants.prepare(path, keyring=True)


def test_a_keyring_that_forgets_is_no_keyring(drawer: Drawer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawer, "set_password", lambda *_: None)
    with pytest.raises((UsageError, GrantExpired)):
        FileGrants.prepare(path, keyring=True)
