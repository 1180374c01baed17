"""What a power cut can leave of recorded file operations: those that were not synced are lost, torn, or out of order.

POSIX promises no more than this: data is on the disk once its file was synced, a name once its folder was.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

Policy = Literal["kept", "lost", "names", "zeros", "torn", "mixed"]
POLICIES: tuple[Policy, ...] = ("lost", "names", "zeros", "torn", "mixed")
# What is in place of a file's number where a name is a folder's.
FOLDER = -1
State = dict[str, bytes | None]


@dataclass(frozen=True)
class Operation:
    """One recorded operation: `what` of create, write, truncate, rename, link, unlink, mkdir, rmdir, sync."""

    what: str
    one: str
    two: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Effect:
    """What an operation does: names that it sets (to a file's number, or None) or data of one file.

    Parameters
    ----------
    synced : int
        Index of the operation from which on it is durable.
    names : dict of str to int or None
        Empty where it is data.
    file : int
        Whose data.
    data : bytes or None
        None: the file is cut to `offset`.
    """

    synced: int
    names: dict[str, int | None]
    file: int = FOLDER
    offset: int = 0
    data: bytes | None = None


def recorded(log: Path, root: Path) -> list[Operation]:
    """Read what the shim wrote; paths become relative to the dataset."""
    found, content, at = [], log.read_bytes(), 0
    while at < len(content):
        end = content.index(b"\n", at)
        what, one, two, offset, length = content[at:end].decode().split("\t")
        size = int(length)
        paths = [str(PurePosixPath(path).relative_to(root)) if path else "" for path in (one, two)]
        found.append(Operation(what, paths[0], paths[1], int(offset), content[end + 1 : end + 1 + size]))
        at = end + 1 + size
    return found


class Recording:
    """Operations on a dataset that lay on the disk before they began."""

    def __init__(self, before: Path, operations: list[Operation]) -> None:
        self._contents: list[bytes] = []
        self._before: dict[str, int] = {".": FOLDER}
        for path in sorted(before.rglob("*")) if before.exists() else ():
            name = path.relative_to(before).as_posix()
            self._before[name] = FOLDER if path.is_dir() else self._new(path.read_bytes())
        self.length = len(operations)
        self._effects = list(self._understood(operations))

    def _new(self, content: bytes = b"") -> int:
        self._contents.append(content)
        return len(self._contents) - 1

    def _understood(self, operations: list[Operation]) -> Iterator[tuple[int, Effect]]:
        live: dict[str, int] = dict(self._before)
        raw: list[tuple[int, dict[str, int | None], int, int, bytes | None]] = []
        syncs: dict[int | str, list[int]] = {}
        for index, operation in enumerate(operations):
            if operation.what == "sync":
                file = live.get(operation.one, FOLDER)
                syncs.setdefault(operation.one if file == FOLDER else file, []).append(index)
            elif operation.what in ("write", "truncate"):
                # A file that never had a name is gone after a power cut anyway.
                if operation.one in live:
                    data = operation.data if operation.what == "write" else None
                    raw.append((index, {}, live[operation.one], operation.offset, data))
            else:
                names = self._names(operation, live)
                raw.append((index, names, FOLDER, 0, None))
                for name, number in names.items():
                    live.pop(name, None)
                    if number is not None:
                        live[name] = number
        for index, names, file, offset, data in raw:
            needed = [str(PurePosixPath(name).parent) for name in names if name != "."] if names else [file]
            moments = [next((at for at in syncs.get(key, []) if at > index), self.length) for key in needed]
            yield index, Effect(max(moments, default=index), names, file, offset, data)

    def _names(self, operation: Operation, live: dict[str, int]) -> dict[str, int | None]:
        match operation.what:
            case "create":
                return {operation.one: self._new()}
            case "mkdir":
                return {operation.one: FOLDER}
            case "unlink" | "rmdir":
                return {operation.one: None}
            case "link":
                return {operation.two: live[operation.one]}
            case "rename":
                return {operation.one: None, operation.two: live[operation.one]}
        raise ValueError(operation.what)

    def state(self, length: int, policy: Policy, chance: random.Random) -> State:
        """Return the files (and, as None, folders) that are there after a cut before operation `length`."""
        names: dict[str, int] = dict(self._before)
        contents = [bytearray(content) for content in self._contents]
        for index, effect in self._effects:
            if index >= length:
                break
            fate = "kept" if effect.synced < length else policy
            if fate == "mixed":
                fate = chance.choice(("kept", "lost", "torn"))
            if effect.names:
                if fate != "lost":
                    for name, number in effect.names.items():
                        names.pop(name, None)
                        if number is not None:
                            names[name] = number
            else:
                _write(contents[effect.file], effect, fate)
        files = {name: None if number == FOLDER else bytes(contents[number]) for name, number in names.items()}
        return {name: content for name, content in files.items() if _has_folders(name, files)}


def _write(content: bytearray, effect: Effect, fate: str) -> None:
    if fate in ("lost", "names"):
        return
    if effect.data is None:
        del content[effect.offset :]
        content.extend(bytes(effect.offset - len(content)))
        return
    data = {"zeros": bytes(len(effect.data)), "torn": effect.data[: len(effect.data) // 2]}.get(fate, effect.data)
    content.extend(bytes(max(0, effect.offset - len(content))))
    content[effect.offset : effect.offset + len(data)] = data


def _has_folders(name: str, files: State) -> bool:
    """A name whose folder was lost cannot be reached."""
    return all(files.get(str(parent), b"") is None for parent in PurePosixPath(name).parents) if name != "." else True


def written(state: State, root: Path) -> Path:
    """Put a state on the disk."""
    root.mkdir(parents=True)
    for name, content in sorted(state.items()):
        path = root / name
        if content is None:
            path.mkdir(mode=0o700, exist_ok=True)
        else:
            path.write_bytes(content)
            path.chmod(0o600)
    root.chmod(0o700)
    return root
