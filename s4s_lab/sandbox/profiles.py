"""How a sandbox can behave: as the S4S page has it, or with one of the errors that apps have to meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from s4s_lab.errors import UsageError
from s4s_lab.sandbox.web import OAuthRefusal

Step = Literal["authorize", "token", "refresh", "data"]


@dataclass(frozen=True)
class Profile:
    """How a sandbox behaves.

    Parameters
    ----------
    meaning : str
        In words.
    step : {"authorize", "token", "refresh", "data"}, optional
        At which step it fails, however right the request is; left out, it fails at none.
    error, detail : str
        The OAuth error, and what is said of it.
    status : int
        HTTP status, where the answer is not a redirect.
    """

    meaning: str
    step: Step | None = None
    error: str = ""
    detail: str = ""
    status: int = 400

    def fail_at(self, step: Step) -> None:
        """Fail, if this is the step to fail at.

        Parameters
        ----------
        step : {"authorize", "token", "refresh", "data"}
            Where a request is.

        Raises
        ------
        OAuthRefusal
            The profile's error.
        """
        if step == self.step:
            raise OAuthRefusal(self.error, self.detail, status=self.status)


# The errors are those that a public SMART server lets apps be tried with, by its names.
PROFILES = {
    "s4s": Profile("the S4S imaging page as it is written: STU3, SMART launch, WADO-RS with waiting"),
    "auth_invalid_client_id": Profile(
        "the authorization request is refused: client id", "authorize", "invalid_client", "Invalid client id."
    ),
    "auth_invalid_redirect_uri": Profile(
        "the authorization request is refused: redirect URI", "authorize", "invalid_request", "Invalid redirect_uri."
    ),
    "auth_invalid_scope": Profile(
        "the authorization request is refused: scope", "authorize", "invalid_scope", "Invalid scope."
    ),
    "auth_invalid_client_secret": Profile(
        "the code is not exchanged: client secret", "token", "invalid_client", "Invalid client secret.", 401
    ),
    "token_invalid_token": Profile(
        "the code is not exchanged: token", "token", "invalid_client", "Invalid token.", 401
    ),
    "token_expired_refresh_token": Profile(
        "renewals are refused: refresh token", "refresh", "invalid_grant", "Refresh token expired.", 403
    ),
    "request_invalid_token": Profile("records are refused: token", "data", "invalid_token", "Invalid token.", 401),
    "request_expired_token": Profile("records are refused: token", "data", "invalid_token", "Token expired.", 401),
}


def checked_profile(name: str) -> Profile:
    """Return a profile that exists.

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
        known = "; ".join(f"{known} ({profile.meaning})" for known, profile in PROFILES.items())
        raise UsageError(f"The sandbox has no profile {name!r}.", hint=f"Known profiles: {known}.")
    return PROFILES[name]
