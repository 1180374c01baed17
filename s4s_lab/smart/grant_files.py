"""A grant in a file: readable by its owner only, renewed once for all processes, never half written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from s4s_lab.errors import DatasetBusy, GrantExpired, UsageError
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.private_files import read_private, remove_private, replace_private, require_private_folder
from s4s_lab.values import Registration, Secret

_FORMAT = 1
_LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class GrantOrigin:
    """Where a grant comes from: all that reopens its connection without a person.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL.
    token_endpoint : str
        The one that gave the grant; its refresh token goes nowhere else.
    registration : Registration
        The client that the grant is bound to.
    participant_id : str or None
        The study's own pseudonym.
    allowed_origins : frozenset of str
        What the user allowed besides the server itself.
    """

    fhir_url: str
    token_endpoint: str
    registration: Registration
    participant_id: str | None = None
    allowed_origins: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Kept:
    format: int
    origin: GrantOrigin
    grant: Grant


class FileGrants:
    """A `GrantStore` in one JSON file of mode 0600 in a folder of mode 0700, shared by threads and processes.

    Parameters
    ----------
    path : Path
        The file. `FileGrants.keep` makes it, `FileGrants(path)` opens it.
    lock_timeout_s : float, optional
        How long to wait for another process that is renewing [s].
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = _LOCK_TIMEOUT_S) -> None:
        self.path = Path(path)
        self._lock_timeout_s = lock_timeout_s

    @staticmethod
    def prepare(path: Path) -> None:
        """Make the folder for a grants file, or check the one that is there, before a participant is asked.

        Parameters
        ----------
        path : Path
            Where the grant will be kept.

        Raises
        ------
        UsageError
            If the folder cannot be made, or is open to others.
        """
        try:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_private_folder(Path(path).parent)
        except OSError as error:
            raise UsageError(f"No grant can be kept in {Path(path).parent}: {error.strerror}.") from None

    @classmethod
    def keep(cls, path: Path, origin: GrantOrigin, grant: Grant) -> FileGrants:
        """Write a grant to a file, in place of an older one there.

        Parameters
        ----------
        path : Path
            Its folder is made (0700) when it is missing.
        origin : GrantOrigin
            Kept beside the grant.
        grant : Grant
            The first grant of a launch.

        Raises
        ------
        UsageError
            If the folder or an older file is open to others, or cannot be written.
        DatasetBusy
            If another process keeps the file locked.
        """
        cls.prepare(path)
        store = cls(path)
        with store._locked():
            # Whoever still holds the older grant has to see that this is another one.
            generation = max(grant.generation, store._kept_generation() + 1)
            store._write(origin, replace(grant, generation=generation))
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

    def renew(self, used_generation: int, refresh: Callable[[Grant], Grant]) -> Grant:
        """Renew the grant, unless another thread or process has done so since `used_generation`.

        Parameters
        ----------
        used_generation : int
            The generation that is due or was refused.
        refresh : callable
            Takes the newest grant, asks the token endpoint, returns the renewed one.

        Raises
        ------
        GrantExpired
            If the file is gone, or the server does not renew the grant and nobody else has renewed it meanwhile.
        DatasetBusy
            If another process keeps the file locked for longer than a renewal takes.
        UsageError
            If others can read the file.
        """
        with self._locked():
            kept = self._load()
            if kept.grant.generation != used_generation:
                return kept.grant
            try:
                renewed = refresh(kept.grant)
            except GrantExpired:
                # A process that our lock does not reach (on another machine, say) may have renewed meanwhile.
                newest = self.read()
                if newest.refresh_token == kept.grant.refresh_token:
                    raise
                return newest
            self._write(kept.origin, renewed)
            return renewed

    def forget(self) -> None:
        """Delete the file, and what an interrupted write left beside it.

        Raises
        ------
        DatasetBusy
            If another process keeps the file locked.
        """
        if self.path.parent.is_dir():
            with self._locked():
                remove_private(self.path)

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
        try:
            yield
        finally:
            lock.release()

    def _load(self) -> _Kept:
        try:
            kept = msgspec.json.decode(read_private(self.path), type=_Kept, dec_hook=_hide)
        except FileNotFoundError:
            raise GrantExpired(f"No grant is kept in {self.path}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise GrantExpired(f"{self.path} holds no grant that can be read.") from None
        if kept.format != _FORMAT:
            raise GrantExpired(f"{self.path} was written by another version.")
        return kept

    def _kept_generation(self) -> int:
        try:
            return self.read().generation
        except GrantExpired:
            return 0

    def _write(self, origin: GrantOrigin, grant: Grant) -> None:
        content = msgspec.json.encode(_Kept(_FORMAT, origin, grant), enc_hook=_reveal)
        try:
            replace_private(self.path, msgspec.json.format(content, indent=1))
        except OSError as error:
            raise UsageError(f"The grant could not be kept in {self.path}: {error.strerror}.") from None


def _reveal(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"{type(value).__name__} is not kept in grant files")


def _hide(kind: type, value: Any) -> Secret:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"{kind.__name__} is not kept in grant files")
