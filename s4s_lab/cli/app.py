"""`s4s`: the application that the commands hang on."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from s4s_lab.cli import connect, demo, export, fetch, pull, sandbox, status, tables, tabulate

app = typer.Typer(
    name="s4s",
    help="Sync for Science imaging: from a participant's consent to tables and verified DICOM images.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waiting (run again later), 4 connect again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"s4s {version('s4s-lab')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Hold the options that come before a command."""


for module in (demo, sandbox, connect, pull, fetch, tables, tabulate, export, status):
    module.register(app)


def main() -> None:
    """Run the command line."""
    app()
