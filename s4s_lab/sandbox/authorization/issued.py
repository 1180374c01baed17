"""What the sandbox issues says what it is, so that a scan finds it wherever it should not be."""

from __future__ import annotations

import secrets
from typing import Literal

Kind = Literal["access", "refresh", "secret", "code"]

MARK = "s4s_sandbox_"


def issue(kind: Kind) -> str:
    """Return a new credential: its mark, what it is, and 256 random bits.

    Parameters
    ----------
    kind : {"access", "refresh", "secret", "code"}
        Access token, refresh token, client secret or authorization code.

    References
    ----------
    RFC 6749, section 10.10 (at least 128 random bits); RFC 6750, section 2.1 and RFC 6749, appendix A (its characters).
    """
    return f"{MARK}{kind}_{secrets.token_urlsafe(32)}"
