"""Sign requests with the grant's access token, and renew it in time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator

import httpx2

from s4s_lab.errors import AccessRefused, GrantExpired, PatientMismatch, S4SError, ScopeNarrowed
from s4s_lab.smart.grants import Grant, GrantStore
from s4s_lab.smart.tokens import narrowed_since
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of

_UNAUTHORIZED = 401
_LEFT_ALONE_S = 15.0
_YOUNG_S = 60.0


class SmartAuth(httpx2.Auth):
    """Bearer credentials that are renewed when they are about to end, and once when they are refused.

    The renewal is not yielded to the client that sends the request: it happens inside the store, whose lock makes it
    happen once for all threads and processes that share the grant.

    Parameters
    ----------
    grants : GrantStore
        Where the grant is kept.
    refresh : callable
        Takes the newest grant, asks the token endpoint, returns the renewed one.
    home : str, optional
        Origin of the server that gave the grant, as `origin_of` writes it: only its refusals say that the grant has
        ended. Left out, those of every server do.

    References
    ----------
    RFC 6750, section 2.1. RFC 6749, section 6.
    """

    def __init__(self, grants: GrantStore, refresh: Callable[[Grant], Grant], *, home: str | None = None) -> None:
        self._grants = grants
        self._refresh = refresh
        self._home = home
        self._not_before = 0.0
        # The generation that each origin refused although it was new: another one is not bought for the same answer.
        self._refused: dict[str, int] = {}

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send a request with the access token, and once more with a renewed one when it is refused.

        Parameters
        ----------
        request : httpx2.Request
            Gets an `Authorization` header.

        Yields
        ------
        httpx2.Request
            The same request, signed.

        Raises
        ------
        GrantExpired
            If the grant ended and cannot be renewed, or the renewed token is refused too.
        AccessRefused
            If another server than the one that gave the grant refuses a token that is new.

        Warns
        -----
        ScopeNarrowed
            If the renewal granted less than before.
        """
        origin = origin_of(str(request.url))
        grant = self._in_time()
        response = yield _signed(request, grant)
        if response.status_code != _UNAUTHORIZED:
            return
        if not self._helps(origin, grant):
            raise self._refusal(origin)
        renewed = self._renewed(grant, refused=self._is_home(origin))
        response = yield _signed(request, renewed)
        if response.status_code == _UNAUTHORIZED:
            self._refused[origin] = renewed.generation
            raise self._refusal(origin)

    def _is_home(self, origin: str) -> bool:
        return self._home is None or origin == self._home

    def _helps(self, origin: str, grant: Grant) -> bool:
        """Say whether a newer token may please a server that refused this one."""
        if self._is_home(origin):
            return self._refused.get(origin) != grant.generation
        return origin not in self._refused and grant.lifetime_s - grant.seconds_left(utc_now()) >= _YOUNG_S

    def _refusal(self, origin: str) -> S4SError:
        if self._is_home(origin):
            return GrantExpired("The server refuses the access token, even a renewed one.")
        return AccessRefused(
            f"{origin} refuses the access token, although it is new (HTTP status 401): it does not trust the server "
            "that gave it, or takes no token.",
            hint="Ask the operators of both; or launch again without allowing this origin.",
        )

    def _renewed(self, grant: Grant, *, refused: bool = False) -> Grant:
        renewed = self._grants.renew(grant.generation, self._refresh, refused=refused)
        # Not before it is kept: a warning may be an error, and what is not kept is lost.
        said = narrowed_since(grant, renewed)
        if said:
            warnings.warn(ScopeNarrowed(said), stacklevel=2)
        return renewed

    def _in_time(self) -> Grant:
        grant = self._grants.read()
        good = grant.seconds_left(utc_now()) > 0
        if not grant.due(utc_now()) or (good and time.monotonic() < self._not_before):
            return grant
        try:
            return self._renewed(grant)
        except PatientMismatch:
            raise
        except S4SError:
            # Whatever the token endpoint says, the token at hand is still good for a moment.
            if grant.seconds_left(utc_now()) <= 0:
                raise
            # Trouble is not over with the next request, and each try may take a while.
            self._not_before = time.monotonic() + _LEFT_ALONE_S
            return grant


def _signed(request: httpx2.Request, grant: Grant) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {grant.access_token.reveal()}"
    return request
