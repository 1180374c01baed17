"""What commands say: one JSON object on stdout with `--json`, else tables and sentences; errors as one sentence."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ParamSpec, cast

import typer

from s4s_lab.errors import GrantExpired, NotADataset, S4SError, S4SWarning, UsageError, Waiting

DONE, FAILED, USAGE, WAITING, CONNECT_AGAIN = 0, 1, 2, 3, 4
# Over several connections the gravest counts: a failure before a grant to renew before a wait.
_GRAVITY = (FAILED, CONNECT_AGAIN, WAITING, DONE)
# typer keeps its copy of click to itself: what it raises over wrong words is the base of the one class that it shows.
_WrongWords: type[Exception] = typer.BadParameter.__mro__[1]
# None, and pandas' two: named, since pandas takes a second to load.
_NOTHING = ("NoneType", "NAType", "NaTType")
P = ParamSpec("P")


def exit_code(error: S4SError) -> int:
    """Return the exit code that tells a calling program what kind of no an error is.

    Parameters
    ----------
    error : S4SError
        What ended a command.
    """
    if isinstance(error, UsageError | NotADataset):
        return USAGE
    if isinstance(error, Waiting):
        return WAITING
    return CONNECT_AGAIN if isinstance(error, GrantExpired) else FAILED


def sentence_of(error: OSError) -> str:
    """Return what the operating system said, with the file.

    Parameters
    ----------
    error : OSError
        What ended a command, or its work on one connection.
    """
    return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)


def gravest(codes: Iterable[int]) -> int:
    """Return the gravest of several exit codes.

    Parameters
    ----------
    codes : iterable of int
        Exit codes.
    """
    return min(codes, key=_GRAVITY.index, default=DONE)


def say(text: str = "") -> None:
    """Write a line for a person to stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """Write a line to stderr, beside whatever stdout carries."""
    typer.echo(text, err=True)


def emit(content: object) -> None:
    """Write one JSON object to stdout."""
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout; numbers to the right, nothing shortened when stdout is no terminal.

    Parameters
    ----------
    title : str
        Above the table.
    columns : sequence of str
        The headings.
    rows : iterable of sequence
        One cell a column.
    """
    # Not needed to say what commands there are.
    from rich.console import Console
    from rich.table import Table

    listed = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for number, name in enumerate(columns):
        numeric = any(isinstance(row[number], int | float) for row in listed)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*map(text_of, row))
    Console(width=width()).print(table)


def text_of(cell: object) -> str:
    """Return a table's cell as text: nothing for what is missing, instants to the second, lists with commas.

    Parameters
    ----------
    cell : object
        A value out of a table.
    """
    if type(cell).__name__ in _NOTHING:
        return ""
    if isinstance(cell, list | tuple) or type(cell).__name__ == "ndarray":
        return ", ".join(map(str, cast("Iterable[object]", cell)))
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return str(cell)


def width() -> int:
    """Return how many characters a line may have: the terminal's width, 200 into a file or pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 200


def command(function: Callable[P, int | None]) -> Callable[P, None]:
    """Make a function a command: errors become one sentence and an exit code, warnings become notes.

    Parameters
    ----------
    function : callable
        Returns the exit code, None for 0. Its parameter `json_output`, where it has one, says whether the error is
        told as JSON on stdout too.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always", S4SWarning)
            warnings.showwarning = _note_warning
            code = _guarded(function, *args, **kwargs)
        raise typer.Exit(code)

    return run


def _guarded(function: Callable[P, int | None], *args: P.args, **kwargs: P.kwargs) -> int:
    try:
        return function(*args, **kwargs) or DONE
    except S4SError as error:
        code, text = exit_code(error), str(error)
    except KeyboardInterrupt:
        code, text = 130, "Interrupted; what had arrived whole is kept."
    except BrokenPipeError:
        return DONE
    except OSError as error:
        code, text = FAILED, sentence_of(error)
    note(f"s4s: {text}")
    if kwargs.get("json_output"):
        emit({"outcome": "waiting" if code == WAITING else "failed", "error": text})
    return code


def _note_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, S4SWarning):
        note(f"note: {message}")


def run_application(app: typer.Typer, words: Sequence[str]) -> int:
    """Run the command line, and return the exit code; wrong words are told as JSON too where `--json` is among them.

    Parameters
    ----------
    app : typer.Typer
        The commands.
    words : sequence of str
        What was typed after the program's name.
    """
    try:
        return app(list(words), standalone_mode=False) or DONE
    except _WrongWords as error:
        error.show()  # type: ignore[attr-defined]  # click's method; the class is known at run time only
        if "--json" in words:
            emit({"outcome": "failed", "error": error.format_message()})  # type: ignore[attr-defined]  # the same
        return USAGE
