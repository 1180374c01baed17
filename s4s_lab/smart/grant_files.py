"""A grant in a file: readable by its owner only, renewed once for all processes, never half written."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from s4s_lab.errors import DatasetBusy, GrantExpired, S4SError, UsageError
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.kept_grants import (
    Ended,
    GrantOrigin,
    KeptGrant,
    Pointer,
    decode,
    encode,
    encode_ended,
    encode_pointer,
)
from s4s_lab.smart.keyring_entries import delete_entry, read_entry, require_keyring, write_entry
from s4s_lab.smart.renewal import Note, Watch, renewed
from s4s_lab.values import Registration
from s4s_lab.values.instants import utc_now
from s4s_lab.values.private_files import read_private, remove_private, replace_private, require_private_folder

# Longer than the two requests of a renewal take, each with its waits.
_LOCK_TIMEOUT_S = 150.0
_LOOK_TIMEOUT_S = 10.0


class FileGrants:
    """A `GrantStore` in one JSON file of mode 0600 in a folder of mode 0700, shared by threads and processes.

    Parameters
    ----------
    path : Path
        The file. `FileGrants.keep` makes it, `FileGrants(path)` opens it.
    lock_timeout_s : float, optional
        How long to wait for another process that is renewing [s].
    to_end : bool
        Whether the grant is only to be given back: then it is read although others can read the file too.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = _LOCK_TIMEOUT_S, to_end: bool = False) -> None:
        self.path = Path(path)
        self._lock_timeout_s = lock_timeout_s
        self._to_end = to_end
        self._journal = _JournalFile(self.path.with_name(f"{self.path.name}.journal"))
        self._watch = Watch()

    @staticmethod
    def prepare(path: Path, *, keyring: bool = False) -> None:
        """Make the folder for a grants file, and look at what is there, before a participant is asked.

        Parameters
        ----------
        path : Path
            Where the grant will be kept.
        keyring : bool
            Whether the file will only say which entry of the system's keyring holds it.

        Raises
        ------
        UsageError
            If the folder cannot be made or written to, or is open to others, or there is no keyring, or what is there
            cannot be replaced.
        DatasetBusy
            If another process keeps the file locked.
        """
        _make_ready(Path(path), keyring=keyring)
        store = FileGrants(path, lock_timeout_s=_LOOK_TIMEOUT_S)
        if store.path.is_dir():
            raise UsageError(f"{path} is a folder, so no grant can be kept there.")
        with store._locked():
            store._before()

    @classmethod
    def keep(cls, path: Path, origin: GrantOrigin, grant: Grant, *, keyring: bool = False) -> FileGrants:
        """Write a grant to a file, in place of an older one there.

        Parameters
        ----------
        path : Path
            Its folder is made (0700) when it is missing.
        origin : GrantOrigin
            Kept beside the grant.
        grant : Grant
            The first grant of a launch.
        keyring : bool
            Whether to write it to the system's keyring, and to the file only where there.

        Raises
        ------
        UsageError
            If the folder is open to others, or cannot be written to, or there is no keyring.
        DatasetBusy
            If another process keeps the file locked.
        """
        _make_ready(Path(path), keyring=keyring)
        store = cls(path)
        with store._locked():
            generation, entry = store._before()
            # Whoever still holds the older grant has to see that this is another one.
            grant = replace(grant, generation=max(grant.generation, generation + 1))
            if keyring:
                new = f"grant-{secrets.token_hex(16)}"
                write_entry(new, encode(origin, grant))
                store._replace(encode_pointer(new))
            else:
                store._replace(encode(origin, grant))
            store._journal.clear()
            if entry:
                delete_entry(entry)
        return store

    @property
    def origin(self) -> GrantOrigin:
        """Where the grant comes from.

        Raises
        ------
        GrantExpired
            If the file is gone or damaged.
        UsageError
            If others can read it.
        """
        return self._load().origin

    @property
    def failure(self) -> S4SError | None:
        """Why this process's last renewal failed; None when it did not."""
        return self._watch.failure

    @property
    def refused(self) -> bool:
        """Whether the server had refused the access token when the last renewal failed."""
        return self._watch.refused

    def read(self) -> Grant:
        """Return the newest grant.

        Raises
        ------
        GrantExpired
            If the file is gone or damaged.
        UsageError
            If others can read it.
        """
        return self._load().grant

    def renew(self, used_generation: int, refresh: Callable[[Grant], Grant], *, refused: bool = False) -> Grant:
        """Renew the grant, unless another thread or process has done so since `used_generation`.

        Parameters
        ----------
        used_generation : int
            The generation that is due or was refused.
        refresh : callable
            Takes the newest grant, asks the token endpoint, returns the renewed one.
        refused : bool
            Whether the access token is good for nothing any more, as the server refused it.

        Raises
        ------
        GrantExpired
            If the file is gone, or the server does not renew the grant and nobody else has renewed it meanwhile.
        DatasetBusy
            If another process keeps the file locked for longer than a renewal takes.
        UsageError
            If others can read the file.
        """
        with self._locked(), self._watch.over(refused=refused):
            kept = self._load()
            if kept.grant.generation != used_generation:
                return kept.grant
            try:
                grant = renewed(kept.grant, refresh, self._journal)
            except GrantExpired:
                # A process that our lock does not reach (on another machine, say) may have renewed meanwhile.
                newest = self.read()
                if newest.refresh_token == kept.grant.refresh_token:
                    raise
                return newest
            self._rewrite(kept.origin, grant)
            self._journal.clear()
            return grant

    def reregister(self, registration: Registration) -> None:
        """Keep another registration beside the grant: the same client with a new secret or key.

        Parameters
        ----------
        registration : Registration
            The client that the grant is bound to.

        Raises
        ------
        GrantExpired
            If the file is gone or damaged.
        DatasetBusy
            If another process keeps the file locked.
        UsageError
            If others can read the file.
        """
        with self._locked():
            kept = self._load()
            self._rewrite(replace(kept.origin, registration=registration), kept.grant)

    def end(self, revoke: Callable[[Grant], bool]) -> bool:
        """Have the newest grant revoked while nobody renews it, then delete it whatever came of that.

        The file says from then on when that was, so that nobody takes the participant's wish for a loss. What others
        can read is given back too; something in its place that is no file of ours is deleted, and revokes nothing.

        Parameters
        ----------
        revoke : callable
            Tells the server; returns whether it agreed.

        Raises
        ------
        GrantExpired
            If the file is gone or damaged, or the grant was given back before.
        DatasetBusy
            If another process keeps the file locked.
        """
        with self._locked():
            try:
                grant = self._load(shared=True).grant
            except UsageError:
                grant = None
            try:
                return grant is not None and revoke(grant)
            finally:
                self._remove()
                self._replace(encode_ended(utc_now()))

    def forget(self) -> None:
        """Delete the file, its entry in the keyring, and what an interrupted write left beside it.

        Raises
        ------
        DatasetBusy
            If another process keeps the file locked.
        UsageError
            If the keyring that holds the grant cannot be reached.
        """
        if self.path.parent.is_dir():
            with self._locked():
                self._remove()

    def __repr__(self) -> str:
        return f"FileGrants({self.path.name!r})"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            require_private_folder(self.path.parent)
        except FileNotFoundError:
            raise GrantExpired(f"No grant is kept in {self.path.parent}: there is no such folder.") from None
        lock = FileLock(self.path.with_name(self.path.name + ".lock"), mode=0o600)
        try:
            lock.acquire(timeout=self._lock_timeout_s)
        except Timeout:
            raise DatasetBusy(f"Another process keeps {self.path.name} locked.") from None
        except OSError as error:
            raise UsageError(f"No grant can be kept in {self.path.parent}: {error.strerror}.") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def disconnected_at(self) -> datetime | None:
        """When the grant was given back; None while it was not.

        Raises
        ------
        UsageError
            If others can read the file.
        """
        try:
            found = self._kept()
        except GrantExpired:
            return None
        return found.disconnected_at if isinstance(found, Ended) else None

    def _kept(self, *, shared: bool = False) -> KeptGrant | Pointer | Ended:
        try:
            content = read_private(self.path, shared=shared or self._to_end)
        except FileNotFoundError:
            raise GrantExpired(f"No grant is kept in {self.path}.") from None
        return decode(content, str(self.path))

    def _file(self, *, shared: bool = False) -> KeptGrant | Pointer:
        found = self._kept(shared=shared)
        if isinstance(found, Ended):
            raise GrantExpired(f"The access was given back on {found.disconnected_at:%Y-%m-%d}.")
        return found

    def _load(self, *, shared: bool = False) -> KeptGrant:
        found = self._file(shared=shared)
        if isinstance(found, KeptGrant):
            return found
        kept = decode(read_entry(found.keyring), "The keyring's entry")
        if not isinstance(kept, KeptGrant):
            raise GrantExpired("The keyring's entry holds no grant that can be read.")
        return kept

    def _before(self) -> tuple[int, str | None]:
        """Return the generation of the grant that is to be replaced, and where in the keyring it lies."""
        try:
            found = self._file(shared=True)
        except (GrantExpired, UsageError):  # nothing, or something else than a grant of ours
            return 0, None
        entry = found.keyring if isinstance(found, Pointer) else None
        try:
            return self._load(shared=True).grant.generation, entry
        except GrantExpired:
            return 0, entry

    def _rewrite(self, origin: GrantOrigin, grant: Grant) -> None:
        found = self._file()
        if isinstance(found, Pointer):
            write_entry(found.keyring, encode(origin, grant))
        else:
            self._replace(encode(origin, grant))

    def _replace(self, content: bytes) -> None:
        try:
            replace_private(self.path, content)
        except OSError as error:
            raise UsageError(f"The grant could not be kept in {self.path}: {error.strerror}.") from None

    def _remove(self) -> None:
        entry = self._before()[1]
        if entry:
            delete_entry(entry)
        remove_private(self.path)
        self._journal.clear()


def _make_ready(path: Path, *, keyring: bool) -> None:
    if keyring:
        require_keyring()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private_folder(path.parent)
    except OSError as error:
        raise UsageError(f"No grant can be kept in {path.parent}: {error.strerror}.") from None


class _JournalFile:
    """A `renewal.Journal` beside the grants file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)

    def read(self) -> Note | None:
        """Return the last note, None when there is none that can be read."""
        try:
            return msgspec.json.decode(read_private(self._path), type=Note)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write(self, note: Note) -> None:
        """Keep a note in place of the last one."""
        try:
            replace_private(self._path, msgspec.json.encode(note))
        except OSError as error:
            raise UsageError(f"A renewal could not be noted in {self._path}: {error.strerror}.") from None

    def clear(self) -> None:
        """Drop the last note."""
        remove_private(self._path)
