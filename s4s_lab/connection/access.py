"""How a kept access stands, by what its file says; no server is asked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from s4s_lab.errors import GrantExpired
from s4s_lab.smart import FileGrants
from s4s_lab.values.instants import utc_now

AccessState = Literal["connected", "ended", "disconnected", "not kept"]


@dataclass(frozen=True)
class Access:
    """One participant's access.

    Parameters
    ----------
    state : {"connected", "ended", "disconnected", "not kept"}
        `ended`: its token has run out and cannot be renewed. `disconnected`: it was given back on purpose.
        `not kept`: no grant is here, as after a launch in a notebook that kept it in memory.
    minutes_left : int
        How long the access token is still good [min], rounded up.
    refreshable : bool
        Whether it is renewed without the participant.
    scope : str or None
        What was granted.
    since : str or None
        When it was given back, as a date.
    """

    state: AccessState
    minutes_left: int = 0
    refreshable: bool = False
    scope: str | None = None
    since: str | None = None

    def __str__(self) -> str:
        if self.state == "disconnected":
            return f"disconnected on {self.since}; connect again to pull more"
        if self.state == "not kept":
            return "no grant is kept here; connect again to pull by command"
        if self.state == "ended":
            return "ended; connect again"
        left = f"{self.minutes_left} min left" if self.minutes_left else "the token has run out"
        then = "renewed by itself when it is used" if self.refreshable else "then the participant approves again"
        return f"{left}, {then}; granted {self.scope}"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def kept_access(grants_file: Path) -> Access:
    """Return how the access stands whose grant is kept in a file.

    Parameters
    ----------
    grants_file : Path
        As a dataset's connection has it.

    Raises
    ------
    UsageError
        If others can read the file.
    """
    kept = FileGrants(grants_file)
    since = kept.disconnected_at
    if since is not None:
        return Access("disconnected", since=f"{since:%Y-%m-%d}")
    try:
        grant = kept.read()
    except GrantExpired:
        return Access("not kept")
    minutes, refreshable = math.ceil(grant.seconds_left(utc_now()) / 60), grant.refresh_token is not None
    return Access("connected" if minutes or refreshable else "ended", minutes, refreshable, grant.scope)
