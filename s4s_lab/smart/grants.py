"""What a launch gains, and what a place has to do that keeps it: a grant, and stores that renew it once for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from s4s_lab.errors import S4SError
from s4s_lab.values import Secret

DEFAULT_LIFETIME_S = 3600


@dataclass(frozen=True)
class Grant:
    """A participant's permission, as tokens.

    Parameters
    ----------
    access_token : Secret
        Goes with every request.
    refresh_token : Secret or None
        Buys the next access token; None when the server gave none, and then the grant ends at `expires_at`.
    scope : str
        What was granted, which may be less than was asked.
    patient_id : str
        FHIR id of the patient whose record was shared.
    expires_at : datetime
        When the access token ends, aware, UTC.
    generation : int
        Grows with every renewal; tells who holds an older token.
    lifetime_s : int, optional
        How long the access token lived when it was new [s].
    fhir_user : str or None
        Who signed in, as the address of a FHIR resource; None where `openid fhirUser` was not granted.

    References
    ----------
    RFC 6749, section 5.1. SMART App Launch 2.2, "Launch context arrives with your access token".
    """

    access_token: Secret
    refresh_token: Secret | None
    scope: str
    patient_id: str
    expires_at: datetime
    generation: int
    lifetime_s: int = DEFAULT_LIFETIME_S
    fhir_user: str | None = None

    def seconds_left(self, now: datetime) -> float:
        """Return how long the access token is still good [s], never less than 0.

        Parameters
        ----------
        now : datetime
            Aware.
        """
        return max(0.0, (self.expires_at - now).total_seconds())

    def ends_soon(self, now: datetime) -> bool:
        """Say whether the access token is about to end.

        That is when less than max(60 s, 5 % of the lifetime) is left, but never more than half of the lifetime: a token
        that lives for a minute would otherwise be renewed before each request.

        Parameters
        ----------
        now : datetime
            Aware.
        """
        margin = min(max(60.0, 0.05 * self.lifetime_s), 0.5 * self.lifetime_s)
        return self.expires_at - now < timedelta(seconds=margin)

    def due(self, now: datetime) -> bool:
        """Say whether the access token should be renewed before it is used again.

        Parameters
        ----------
        now : datetime
            Aware.
        """
        return self.refresh_token is not None and self.ends_soon(now)


class GrantStore(Protocol):
    """Where one grant is kept, and the one place where it is renewed."""

    def read(self) -> Grant:
        """Return the newest grant.

        Raises
        ------
        GrantExpired
            If none is kept any more.
        """
        ...

    def renew(self, used_generation: int, refresh: Callable[[Grant], Grant], *, refused: bool = False) -> Grant:
        """Renew the grant, unless somebody has done so since `used_generation`.

        One renewal at a time; the new grant is kept before it is returned, because a rotated refresh token that is lost
        ends the participant's permission.

        Parameters
        ----------
        used_generation : int
            The generation that is due or was refused.
        refresh : callable
            Takes the newest grant, asks the token endpoint, returns the renewed one.
        refused : bool
            Whether the access token is good for nothing any more, as the server refused it.

        Raises
        ------
        GrantExpired
            If none is kept any more, or `refresh` found that the server does not renew it.
        """
        ...

    @property
    def failure(self) -> S4SError | None:
        """Why this process's last renewal failed; None when it did not."""
        ...

    @property
    def refused(self) -> bool:
        """Whether the server had refused the access token when that renewal failed."""
        ...

    def end(self, revoke: Callable[[Grant], bool]) -> bool:
        """Have the newest grant revoked while nobody renews it, then drop it whatever came of that.

        Parameters
        ----------
        revoke : callable
            Tells the server; returns whether it agreed.

        Raises
        ------
        GrantExpired
            If none is kept any more.
        """
        ...

    def forget(self) -> None:
        """Drop the grant; `read` raises `GrantExpired` from now on."""
        ...
