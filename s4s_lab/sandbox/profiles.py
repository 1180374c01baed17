"""The behaviours a sandbox can be asked for."""

from __future__ import annotations

from s4s_lab.errors import UsageError

PROFILES = {"s4s": "the S4S imaging page as it is written: STU3, SMART launch, WADO-RS with waiting"}


def checked_profile(name: str) -> str:
    """Return the name of a profile that exists.

    Parameters
    ----------
    name : str
        As asked for.

    Raises
    ------
    UsageError
        If there is no such profile.
    """
    if name not in PROFILES:
        known = ", ".join(f"{known} ({meaning})" for known, meaning in PROFILES.items())
        raise UsageError(f"The sandbox has no profile {name!r}.", hint=f"Known profiles: {known}.")
    return name
