"""Codes and tokens: how they are issued, used, rotated and taken back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from s4s_lab.sandbox.authorization.clients import Client
from s4s_lab.sandbox.authorization.issued import issue
from s4s_lab.sandbox.authorization.scopes import LAUNCH, LAUNCH_EHR, OFFLINE
from s4s_lab.sandbox.profiles import PROFILES, Profile
from s4s_lab.sandbox.web import OAuthRefusal

CODE_LIFETIME_S = 100
ACCESS_LIFETIME_S = 3600
# Enough for a tutorial and its tests; the oldest approval ends when there are more.
MAX_APPROVALS = 1000


@dataclass(frozen=True)
class Approval:
    """What one participant allowed one app, once; every token of it belongs to this family.

    Parameters
    ----------
    approval_id : str
        Random; not a token.
    client_id, patient_id, scope : str
        Who may see whose record, and how much of it.
    approved_at : float
        Seconds since 1970 [s].
    nonce : str or None
        For the ID token, as asked.
    """

    approval_id: str
    client_id: str
    patient_id: str
    scope: str
    approved_at: float
    nonce: str | None = None


@dataclass(frozen=True)
class Code:
    """An authorization code, and what it is bound to.

    Parameters
    ----------
    approval : Approval
        What it stands for.
    redirect_uri : str
        As in the authorization request.
    challenge : str or None
        PKCE S256 code challenge.
    expires_at : float
        Seconds since 1970 [s].
    used : bool
        A used code is kept, so that its second use is noticed.
    """

    approval: Approval
    redirect_uri: str
    challenge: str | None
    expires_at: float
    used: bool = False


@dataclass(frozen=True)
class Token:
    """An access or refresh token.

    Parameters
    ----------
    approval : Approval
        The family it belongs to.
    kind : {"access", "refresh"}
        What it is for.
    scope : str
        At most the approval's.
    issued_at, expires_at : float
        Seconds since 1970 [s]; infinite for refresh tokens.
    used : bool
        A refresh token that was rotated is kept, so that its reuse is noticed.
    """

    approval: Approval
    kind: Literal["access", "refresh"]
    scope: str
    issued_at: float
    expires_at: float
    used: bool = False


def challenge_of(verifier: str) -> str:
    """Return the PKCE S256 challenge of a verifier.

    Parameters
    ----------
    verifier : str
        As the app made it.

    References
    ----------
    RFC 7636, section 4.2.
    """
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass
class Grants:
    """Every code and token of one server; safe to use from several threads.

    Parameters
    ----------
    now : callable
        The clock, in seconds since 1970 [s].
    profile : Profile
        At which step the server fails, if at any.
    """

    now: Callable[[], float] = time.time
    profile: Profile = PROFILES["s4s"]
    _approvals: dict[str, Approval] = field(default_factory=dict, repr=False)
    _codes: dict[str, Code] = field(default_factory=dict, repr=False)
    _tokens: dict[str, Token] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def approve(
        self,
        client: Client,
        patient_id: str,
        scope: str,
        *,
        redirect_uri: str,
        challenge: str | None,
        nonce: str | None = None,
    ) -> str:
        """Keep a participant's approval and return the code for it.

        Parameters
        ----------
        client : Client
            Who asked.
        patient_id : str
            Whose record is shared.
        scope : str
            What was granted.
        redirect_uri : str
            Where the code goes.
        challenge : str or None
            PKCE challenge of the request.
        nonce : str or None
            Of the request.
        """
        approval = Approval(secrets.token_urlsafe(9), client.client_id, patient_id, scope, self.now(), nonce)
        code = issue("code")
        with self._lock:
            while len(self._approvals) >= MAX_APPROVALS:
                self.end(next(iter(self._approvals)))
            self._approvals[approval.approval_id] = approval
            self._codes[code] = Code(approval, redirect_uri, challenge, self.now() + CODE_LIFETIME_S)
        return code

    def redeem(self, client: Client, code: str, *, redirect_uri: str, verifier: str | None) -> dict[str, Any]:
        """Exchange a code for tokens; a code works once, and any wrong use of it is its last.

        Parameters
        ----------
        client : Client
            Already authenticated.
        code, redirect_uri : str
            As sent.
        verifier : str or None
            PKCE code verifier.

        Raises
        ------
        OAuthRefusal
            `invalid_grant`, without saying which part was wrong more than a developer needs.

        References
        ----------
        RFC 6749, sections 4.1.2 and 4.1.3; RFC 7636, section 4.6.
        """
        with self._lock:
            held = self._codes.get(code)
            if held is None or held.approval.client_id != client.client_id:
                raise OAuthRefusal("invalid_grant", "The code is unknown.")
            if held.used:
                self.end(held.approval.approval_id)
                raise OAuthRefusal("invalid_grant", "The code was used before; what was issued for it has ended.")
            self._codes[code] = replace(held, used=True)
            if held.expires_at <= self.now():
                raise OAuthRefusal("invalid_grant", f"The code is older than {CODE_LIFETIME_S} s.")
            if held.redirect_uri != redirect_uri:
                raise OAuthRefusal("invalid_grant", "redirect_uri differs from the one of the authorization request.")
            if not _proves(held.challenge, verifier):
                raise OAuthRefusal("invalid_grant", "code_verifier does not fit the code_challenge.")
            return self._issue(held.approval, held.approval.scope)

    def refresh(self, client: Client, token: str, scope: str | None) -> dict[str, Any]:
        """Exchange a refresh token for new tokens; the old one ends, and its reuse ends the whole family.

        Parameters
        ----------
        client : Client
            Already authenticated.
        token : str
            The refresh token.
        scope : str or None
            At most what was granted; None for all of it.

        Raises
        ------
        OAuthRefusal
            `invalid_grant` or `invalid_scope`.

        References
        ----------
        RFC 6749, section 6; RFC 9700, section 4.14.2 (rotation).
        """
        with self._lock:
            held = self._tokens.get(token)
            if held is None or held.kind != "refresh" or held.approval.client_id != client.client_id:
                raise OAuthRefusal("invalid_grant", "The refresh token is unknown or has ended.")
            if held.used:
                self.end(held.approval.approval_id)
                raise OAuthRefusal("invalid_grant", "The refresh token was used before; every token of it has ended.")
            asked = held.scope if scope is None else scope
            if not set(asked.split()) <= set(held.scope.split()):
                raise OAuthRefusal("invalid_scope", "More is asked than was granted.")
            self._tokens[token] = replace(held, used=True)
            return self._issue(held.approval, asked)

    def _issue(self, approval: Approval, scope: str) -> dict[str, Any]:
        access = issue("access")
        now = self.now()
        self._tokens[access] = Token(approval, "access", scope, now, now + ACCESS_LIFETIME_S)
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": ACCESS_LIFETIME_S,
            "scope": scope,
        }
        if {LAUNCH, LAUNCH_EHR} & set(scope.split()):
            answer["patient"] = approval.patient_id
        if OFFLINE in approval.scope.split():
            refresh = issue("refresh")
            # The new refresh token keeps the approved scope: asking for less once does not narrow what comes later.
            self._tokens[refresh] = Token(approval, "refresh", approval.scope, now, float("inf"))
            answer["refresh_token"] = refresh
        return answer

    def find(self, token: str) -> Token | None:
        """Return a token that is good now, or None.

        Parameters
        ----------
        token : str
            As it came.
        """
        with self._lock:
            held = self._tokens.get(token)
        return None if held is None or held.used or held.expires_at <= self.now() else held

    def revoke(self, client: Client, token: str) -> None:
        """End a token: an access token alone, a refresh token with its whole family; unknown ones need no ending.

        Parameters
        ----------
        client : Client
            Already authenticated; other clients' tokens are left alone.
        token : str
            The token.

        References
        ----------
        RFC 7009, sections 2.1 and 2.2.
        """
        with self._lock:
            held = self._tokens.get(token)
            if held is None or held.approval.client_id != client.client_id:
                return
            if held.kind == "refresh":
                self.end(held.approval.approval_id)
            else:
                del self._tokens[token]

    def end(self, approval_id: str) -> bool:
        """End an approval with every token and code of it; say whether there was one.

        Parameters
        ----------
        approval_id : str
            Of the approval.
        """
        with self._lock:
            ended = self._approvals.pop(approval_id, None)
            if ended is not None:
                self._tokens = {name: one for name, one in self._tokens.items() if one.approval != ended}
                self._codes = {name: one for name, one in self._codes.items() if one.approval != ended}
            return ended is not None

    def approvals(self) -> list[Approval]:
        """Return every approval with a good token, oldest first."""
        with self._lock:
            alive = {one.approval for name, one in self._tokens.items() if self.find(name)}
            return [one for one in self._approvals.values() if one in alive]


def _proves(challenge: str | None, verifier: str | None) -> bool:
    if challenge is None or verifier is None:
        # A verifier without a challenge may be a sign that the challenge was stripped (RFC 9700, section 4.8.2).
        return challenge is None and verifier is None
    return hmac.compare_digest(challenge_of(verifier).encode(), challenge.encode())
