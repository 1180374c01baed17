"""The command line: one thin command a verb."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        # Loaded here, so that Ctrl-C is heard meanwhile too.
        from s4s_lab.cli.app import app
        from s4s_lab.cli.output import run_application

        code = run_application(app, sys.argv[1:])
    except KeyboardInterrupt:
        code = _INTERRUPTED
    raise SystemExit(code)


__all__ = ["main"]
