"""Sign requests with the grant's access token, and renew it in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import httpx2

from s4s_lab.errors import DatasetBusy, GrantExpired, NotReachable, PatientMismatch, UnexpectedAnswer, Waiting
from s4s_lab.smart.grants import Grant, GrantStore
from s4s_lab.values.instants import utc_now

_UNAUTHORIZED = 401
_LEFT_ALONE_S = 15.0


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

    References
    ----------
    RFC 6750, section 2.1. RFC 6749, section 6.
    """

    def __init__(self, grants: GrantStore, refresh: Callable[[Grant], Grant]) -> None:
        self._grants = grants
        self._refresh = refresh
        self._not_before = 0.0

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
        """
        grant = self._in_time()
        response = yield _signed(request, grant)
        if response.status_code != _UNAUTHORIZED:
            return
        renewed = self._grants.renew(grant.generation, self._refresh)
        response = yield _signed(request, renewed)
        if response.status_code == _UNAUTHORIZED:
            raise GrantExpired("The server refuses the access token, even a renewed one.")

    def _in_time(self) -> Grant:
        grant = self._grants.read()
        good = grant.seconds_left(utc_now()) > 0
        if not grant.due(utc_now()) or (good and time.monotonic() < self._not_before):
            return grant
        try:
            return self._grants.renew(grant.generation, self._refresh)
        except PatientMismatch:
            raise
        except (DatasetBusy, NotReachable, UnexpectedAnswer, Waiting):
            # The token endpoint has trouble, but the token at hand is still good for a moment.
            if grant.seconds_left(utc_now()) <= 0:
                raise
            # Trouble is not over with the next request, and each try may take a while.
            self._not_before = time.monotonic() + _LEFT_ALONE_S
            return grant


def _signed(request: httpx2.Request, grant: Grant) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {grant.access_token.reveal()}"
    return request
