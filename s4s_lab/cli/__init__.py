"""The command line: one thin command a verb."""

from s4s_lab.cli.app import main

__all__ = ["main"]
