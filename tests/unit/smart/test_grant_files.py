"""Grants in files: private from the first byte, whole or not at all, refused when others could read them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from s4s_lab.errors import DatasetBusy, GrantExpired, NotReachable, UsageError
from s4s_lab.smart import FileGrants, Grant, GrantOrigin, grant_files
from s4s_lab.values import Registration, Secret

GRANT = Grant(
    Secret("access"),
    Secret("refresh"),
    "patient/*.read",
    "smart-1",
    datetime(2026, 11, 24, tzinfo=UTC),
    1,
    lifetime_s=900,
)
ORIGIN = GrantOrigin(
    "https://ehr/fhir",
    "https://ehr/token",
    Registration("app", Secret("client-secret")),
    participant_id="P-007",
    allowed_origins=frozenset({"https://images:443"}),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grants" / "one.json"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_comes_back_in_another_store(path: Path) -> None:
    FileGrants.keep(path, ORIGIN, GRANT)
    assert FileGrants(path).read() == GRANT
    assert FileGrants(path).origin == ORIGIN


def test_a_public_client_and_a_grant_without_refresh_token_are_kept_too(path: Path) -> None:
    origin, grant = replace(ORIGIN, registration=Registration("public")), replace(GRANT, refresh_token=None)
    FileGrants.keep(path, origin, grant)
    assert FileGrants(path).origin.registration.client_secret is None
    assert FileGrants(path).read().refresh_token is None


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = FileGrants.keep(path, ORIGIN, GRANT)
        store.renew(1, lambda grant: replace(grant, generation=2))
    finally:
        os.umask(before)
    assert _mode(path.parent) == 0o700
    assert {one.name: _mode(one) for one in path.parent.iterdir() if one.name != "one.json.lock"} == {"one.json": 0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    path.chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        store.read()


def _open_to_others(path: Path) -> None:
    path.chmod(0o644)


def _a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(("spoil", "revoked"), [(_open_to_others, ["refresh"]), (_a_link, []), (_a_pipe, [])])
def test_what_is_not_fit_for_use_can_be_given_back_all_the_same(
    path: Path, spoil: Callable[[Path], None], revoked: list[str]
) -> None:
    store, told = FileGrants.keep(path, ORIGIN, GRANT), []

    def revoke(grant: Grant) -> bool:
        told.append(grant.refresh_token.reveal() if grant.refresh_token else "")
        return True

    spoil(path)
    assert store.end(revoke) is bool(revoked)
    assert told == revoked
    assert store.disconnected_at is not None
    assert (_mode(path), path.is_symlink()) == (0o600, False)


@pytest.mark.parametrize("spoil", [_open_to_others, _a_link, _a_pipe])
def test_what_is_not_fit_for_use_is_replaced_by_the_next_launch_or_forgotten(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    for end in (lambda: FileGrants.keep(path, ORIGIN, replace(GRANT, scope="new")), FileGrants(path).forget):
        FileGrants.keep(path, ORIGIN, GRANT)
        spoil(path)
        FileGrants.prepare(path)
        kept = end()
        assert (kept is None) is not path.exists()
        assert kept is None or (kept.read().scope, _mode(path)) == ("new", 0o600)


def test_a_file_that_others_can_read_is_read_to_end_it_only(path: Path) -> None:
    FileGrants.keep(path, ORIGIN, GRANT)
    path.chmod(0o644)
    assert FileGrants(path, to_end=True).origin == ORIGIN
    with pytest.raises(UsageError, match="chmod 600"):
        FileGrants(path).reregister(ORIGIN.registration)


def test_what_cannot_be_replaced_is_said_before_anybody_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grant_files, "_LOOK_TIMEOUT_S", 0.05)
    path.mkdir(parents=True)
    path.parent.chmod(0o700)
    with pytest.raises(UsageError, match="is a folder"):
        FileGrants.prepare(path)
    other = path.with_name("two.json")
    with FileLock(other.with_name("two.json.lock")), pytest.raises(DatasetBusy, match=r"two\.json"):
        FileGrants.prepare(other)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_is_open_to_others_is_refused_before_anything_is_written(path: Path, mode: int) -> None:
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(UsageError, match="chmod 700"):
        FileGrants.keep(path, ORIGIN, GRANT)
    assert list(path.parent.iterdir()) == []


def test_a_symbolic_link_in_place_of_the_file_is_refused(path: Path, tmp_path: Path) -> None:
    elsewhere = FileGrants.keep(tmp_path / "other" / "two.json", ORIGIN, GRANT).path
    FileGrants.prepare(path)
    path.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="cannot be read as a file with secrets"):
        FileGrants(path).read()


def test_a_pipe_in_place_of_the_file_is_refused_without_waiting_for_a_writer(path: Path) -> None:
    FileGrants.prepare(path)
    os.mkfifo(path, 0o600)
    with pytest.raises(UsageError, match="no file with secrets"):
        FileGrants(path).read()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="No grant can be kept"):
        FileGrants.prepare(tmp_path / "file" / "one.json")


def test_a_missing_file_or_folder_means_connect_again(path: Path) -> None:
    for attempt in (FileGrants(path).read, lambda: FileGrants(path).renew(1, lambda grant: grant)):
        with pytest.raises(GrantExpired, match="Connect again"):
            attempt()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"format": 2}', b"\xff", b'{"format":1,"origin":{},"grant":{}}']
)
def test_a_damaged_file_means_connect_again(path: Path, damage: bytes) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    path.write_bytes(damage)
    with pytest.raises(GrantExpired, match="Connect again"):
        store.read()


def test_a_file_of_a_later_version_is_not_guessed_at(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(GrantExpired, match="another version"):
        store.read()


def test_the_renewed_grant_is_on_disk_before_anybody_gets_it(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    renewed = store.renew(1, lambda grant: replace(grant, access_token=Secret("new"), generation=2))
    assert json.loads(path.read_text())["grant"]["access_token"] == "new"
    assert renewed == FileGrants(path).read()


class _Disk:
    """Notes what is made durable, and under which name it appears or goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        fsync, replace_, unlink = os.fsync, Path.replace, Path.unlink

        def note_fsync(descriptor: int) -> None:
            fsync(descriptor)
            self.seen.append(f"sync {Path('/proc/self/fd', str(descriptor)).readlink().name}")

        def note_replace(path: Path, target: Path) -> Path:
            self.seen.append(f"{path.name} -> {target.name}")
            return replace_(path, target)

        def note_unlink(path: Path, missing_ok: bool = False) -> None:
            if path.exists():
                self.seen.append(f"unlink {path.name}")
            unlink(path, missing_ok)

        monkeypatch.setattr(os, "fsync", note_fsync)
        monkeypatch.setattr(Path, "replace", note_replace)
        monkeypatch.setattr(Path, "unlink", note_unlink)


def test_a_renewal_is_noted_durably_before_it_is_asked_and_kept_durably_before_the_note_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, disk = FileGrants.keep(path, ORIGIN, GRANT), _Disk(monkeypatch)

    def ask(grant: Grant) -> Grant:
        disk.seen.append("asked")
        return replace(grant, refresh_token=Secret("next"), generation=2)

    store.renew(1, ask)
    note, kept = "one.json.journal", "one.json"
    written = [[f"sync {name}.new", f"{name}.new -> {name}", "sync grants"] for name in (note, kept)]
    assert disk.seen == [*written[0], "asked", *written[1], f"unlink {note}", "sync grants"]


def test_another_secret_is_kept_beside_the_same_grant(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    store.reregister(replace(ORIGIN.registration, client_secret=Secret("renewed")))
    assert FileGrants(path).origin == replace(ORIGIN, registration=Registration("app", Secret("renewed")))
    assert FileGrants(path).read() == GRANT


def test_a_failed_renewal_leaves_the_file_as_it_was(path: Path) -> None:
    def fail(grant: Grant) -> Grant:
        raise GrantExpired("no")

    store = FileGrants.keep(path, ORIGIN, GRANT)
    before = path.read_bytes()
    with pytest.raises(GrantExpired):
        store.renew(1, fail)
    assert path.read_bytes() == before


def test_a_kill_while_writing_leaves_the_older_grant_and_the_next_write_goes_through(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    path.with_name("one.json.new").write_text("{half")
    assert store.read() == GRANT
    assert store.renew(1, lambda grant: replace(grant, generation=2)).generation == 2
    assert not path.with_name("one.json.new").exists()


def test_a_new_grant_in_an_old_place_is_seen_as_another_one(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    store.renew(1, lambda grant: replace(grant, generation=2))
    FileGrants.keep(path, ORIGIN, replace(GRANT, access_token=Secret("second launch")))
    found = store.renew(2, lambda _: pytest.fail("must not be renewed"))
    assert (found.access_token, found.generation) == (Secret("second launch"), 3)


def test_a_lock_that_is_held_for_long_is_busy(path: Path) -> None:
    FileGrants.keep(path, ORIGIN, GRANT)
    with FileLock(path.with_name("one.json.lock")), pytest.raises(DatasetBusy, match=r"one\.json"):
        FileGrants(path, lock_timeout_s=0.05).renew(1, lambda grant: grant)


def test_forgetting_leaves_no_secret_behind_and_may_be_repeated(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    path.with_name("one.json.new").write_text("refresh")
    store.forget()
    store.forget()
    FileGrants(path.parent.parent / "never" / "there.json").forget()
    assert b"refresh" not in b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert not path.exists()


@pytest.mark.parametrize("revoked", [True, False])
def test_a_grant_that_was_given_back_says_when_and_nothing_secret(path: Path, revoked: bool) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)
    assert store.disconnected_at is None
    before = datetime.now(UTC).replace(microsecond=0)  # it may be kept less exactly
    assert store.end(lambda _: revoked) is revoked
    at = FileGrants(path).disconnected_at
    assert at is not None
    assert before <= at <= datetime.now(UTC)
    assert b"refresh" not in b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(GrantExpired, match=rf"given back on {at:%Y-%m-%d}.*Connect again"):
        store.read()
    with pytest.raises(GrantExpired, match="given back"):
        store.end(lambda _: pytest.fail("nothing is left to revoke"))
    assert FileGrants.keep(path, ORIGIN, GRANT).disconnected_at is None


def test_a_grant_is_given_back_here_even_when_the_server_cannot_be_told(path: Path) -> None:
    store = FileGrants.keep(path, ORIGIN, GRANT)

    def fails(_: Grant) -> bool:
        raise NotReachable("no answer")

    with pytest.raises(NotReachable):
        store.end(fails)
    assert store.disconnected_at is not None


def test_the_store_shows_its_name_only(path: Path) -> None:
    assert repr(FileGrants.keep(path, ORIGIN, GRANT)) == "FileGrants('one.json')"
