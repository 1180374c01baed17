"""`s4s`: the application that the commands hang on; a command's module is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

# Each has a module of its name beside this one. What `s4s --help` says stands here, since that loads none of them.
COMMANDS = {
    "demo": "The whole way on the embedded sandbox, from launch to plot",
    "sandbox": "Run the reference S4S server",
    "connect": "Connect a participant and keep the grant",
    "pull": "Pull the record of each connection",
    "fetch": "Fetch the DICOM files of studies",
    "tables": "List the tables, show one, add your own",
    "tabulate": "Run views over FHIR files",
    "export": "Write tables as plain files",
    "status": "Show connections, lastCheck and last runs",
    "verify": "Check everything again; repair what can be made anew",
    "disconnect": "End a participant's access; keep the data",
    "forget": "Remove one participant without residue",
}


class _Commands(TyperGroup):
    """The commands, each loaded when it is asked for. The signatures are click's, which typer keeps to itself."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        import_module(f"s4s_lab.cli.{cmd_name}").register(alone)
        return get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="s4s",
    cls=_Commands,
    help="Sync for Science imaging: from a participant's consent to tables and verified DICOM images.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waiting (run again later), 4 connect again, 130 Ctrl-C.",
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
