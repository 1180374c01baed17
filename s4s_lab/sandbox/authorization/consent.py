"""The authorization endpoint and what follows it in the browser: consent, the way back, what is shared."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from s4s_lab.sandbox.archive import Archive, Participant
from s4s_lab.sandbox.authorization.clients import Client, Clients
from s4s_lab.sandbox.authorization.grants import Grants
from s4s_lab.sandbox.authorization.scopes import LAUNCH_EHR, grantable, plain_words
from s4s_lab.sandbox.pages import Question, Share, consent_page, manage_page
from s4s_lab.sandbox.site import Site
from s4s_lab.sandbox.web import OAuthRefusal, PageRefusal, read_form

SESSION_COOKIE = "s4s_sandbox"
PENDING_LIFETIME_S = 600
MAX_PENDING = 500
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LIST_TYPES = (("ImagingStudy", "imaging studies"), ("ExplanationOfBenefit", "claims"))


@dataclass(frozen=True)
class Pending:
    """An authorization request that waits for the participant's answer.

    Parameters
    ----------
    client : Client
        Who asks.
    redirect_uri, state, scope : str
        As asked; the scope narrowed to what can be granted.
    challenge : str or None
        PKCE challenge.
    asked_at : float
        Monotonic clock [s].
    nonce : str or None
        For the ID token.
    patient_id : str or None
        Whose record an EHR launch is about; None: the participant chooses.
    """

    client: Client
    redirect_uri: str
    state: str
    scope: str
    challenge: str | None
    asked_at: float
    nonce: str | None = None
    patient_id: str | None = None


class Consent:
    """The pages of the authorization server.

    Parameters
    ----------
    site : Site
        Its addresses.
    archive : Archive
        Whose records there are.
    clients : Clients
        Which apps are known.
    grants : Grants
        Where approvals are kept.

    References
    ----------
    RFC 6749, section 4.1; RFC 7636; RFC 9207; SMART App Launch 2.2, "Obtain authorization code".
    """

    def __init__(self, site: Site, archive: Archive, clients: Clients, grants: Grants) -> None:
        self._site = site
        self._archive = archive
        self._clients = clients
        self._grants = grants
        self._pending: OrderedDict[str, Pending] = OrderedDict()
        self._launches: OrderedDict[str, str] = OrderedDict()
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()

    def open_app(self, patient_id: str) -> str:
        """Begin an EHR launch: return what stands for the patient who is open in the EHR.

        Parameters
        ----------
        patient_id : str
            Of the patient.

        References
        ----------
        SMART App Launch 2.2, "Launch app: EHR launch".
        """
        launch = secrets.token_urlsafe(16)
        with self._lock:
            self._launches[launch] = patient_id
            while len(self._launches) > MAX_PENDING:
                self._launches.popitem(last=False)
        return launch

    async def authorize(self, request: Request) -> Response:
        """Answer an authorization request with the consent page, or send the browser back with an error.

        Parameters
        ----------
        request : Request
            With the parameters in its query.

        Raises
        ------
        PageRefusal
            When it must not be sent back: client, redirect URI or `aud` are wrong.
        """
        pairs = list(request.query_params.multi_items())
        asked = {name: value for name, value in pairs if value}
        client = self._trusted_return(pairs, asked)
        try:
            pending = self._checked(client, pairs, asked)
        except OAuthRefusal as refusal:
            return self._back(asked["redirect_uri"], asked.get("state"), 302, error=refusal.error, why=refusal.detail)
        return self._ask(request, pending)

    def _trusted_return(self, pairs: list[tuple[str, str]], asked: dict[str, str]) -> Client:
        """Return the client, once it is certain that its redirect URI is its own and the app means this server."""
        names = [name for name, _ in pairs]
        client = self._clients.get(asked.get("client_id"))
        if client is None or names.count("client_id") > 1:
            raise PageRefusal("The app that sent you here is not known to this server (client_id).")
        redirect_uri = asked.get("redirect_uri", "")
        if names.count("redirect_uri") > 1 or not client.may_return_to(redirect_uri):
            raise PageRefusal("The app asks to send you to an address it has not registered (redirect_uri).")
        if "aud" in asked and asked["aud"].rstrip("/") != self._site.fhir_url:
            raise PageRefusal(f"The app means another server (aud): this one is {self._site.fhir_url}.")
        return client

    def _checked(self, client: Client, pairs: list[tuple[str, str]], asked: dict[str, str]) -> Pending:
        if len(pairs) != len({name for name, _ in pairs}):
            raise OAuthRefusal("invalid_request", "A parameter came more than once.")
        self._grants.profile.fail_at("authorize")
        for name in ("response_type", "state", "aud"):
            if name not in asked:
                raise OAuthRefusal("invalid_request", f"{name} is missing.")
        if asked["response_type"] != "code":
            raise OAuthRefusal("unsupported_response_type", "Only response_type=code is offered.")
        scope = grantable(asked.get("scope", ""))
        if not scope:
            raise OAuthRefusal("invalid_scope", "No scope is asked that could be granted, such as patient/*.read.")
        return Pending(
            client,
            asked["redirect_uri"],
            asked["state"],
            scope,
            _checked_challenge(client, asked),
            time.monotonic(),
            asked.get("nonce"),
            self._opened(asked, scope),
        )

    def _opened(self, asked: dict[str, str], scope: str) -> str | None:
        """Return whose record is open in the EHR that launched the app; None for a standalone launch."""
        if "launch" not in asked and LAUNCH_EHR not in scope.split():
            return None
        with self._lock:
            patient_id = self._launches.get(asked.get("launch", ""))
        if patient_id is None or LAUNCH_EHR not in scope.split():
            raise OAuthRefusal("invalid_request", "An EHR launch needs the scope launch and the launch it was given.")
        return patient_id

    def _ask(self, request: Request, pending: Pending) -> Response:
        request_id = secrets.token_urlsafe(16)
        with self._lock:
            self._pending[request_id] = pending
            while len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
        session = request.cookies.get(SESSION_COOKIE) or secrets.token_urlsafe(24)
        parts = urlsplit(pending.redirect_uri)
        question = Question(
            app_name=pending.client.name,
            returns_to=parts.netloc or f"{parts.scheme}:",
            form_action=f"'self' {parts.scheme}:" + (f"//{parts.netloc}" if parts.netloc else ""),
            asks_for=plain_words(pending.scope),
            notice=self._archive.notice,
            request_id=request_id,
            csrf=self._csrf(session),
        )
        people = [
            (one, self._summary(one))
            for one in self._archive.participants
            if pending.patient_id in (None, one.patient_id)
        ]
        return _remember(consent_page(question, people), session)

    def _summary(self, one: Participant) -> str:
        counts = ((self._archive.count(kind, one.patient_id), words) for kind, words in _LIST_TYPES)
        return ", ".join(f"{count} {words}" for count, words in counts if count) or "nothing to share yet"

    def _csrf(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), "sha256").hexdigest()

    async def _own_form(self, request: Request) -> dict[str, str]:
        """Return the fields of a form that this server itself gave to this browser."""
        try:
            form = await read_form(request)
        except OAuthRefusal as refusal:
            raise PageRefusal(refusal.detail) from None
        session = request.cookies.get(SESSION_COOKIE, "")
        if not session or not hmac.compare_digest(self._csrf(session).encode(), form.get("csrf", "").encode()):
            raise PageRefusal("This form does not come from this server's own page, or cookies are off.", status=403)
        return form

    async def answer(self, request: Request) -> Response:
        """Take the participant's answer and send the browser back to the app, once.

        Parameters
        ----------
        request : Request
            The form of the consent page.

        Raises
        ------
        PageRefusal
            When the form is not this server's own, or no answer to an open question.
        """
        form = await self._own_form(request)
        with self._lock:
            pending = self._pending.get(form.get("request", ""))
            if pending is None or time.monotonic() - pending.asked_at > PENDING_LIFETIME_S:
                raise PageRefusal("This question was answered before, or is too old.")
            chosen = self._archive.participant(form.get("participant", ""))
            decision = form.get("decision")
            if chosen is not None and pending.patient_id not in (None, chosen.patient_id):
                chosen = None
            if decision not in ("approve", "deny") or (decision == "approve" and chosen is None):
                raise PageRefusal("Choose whose records are meant, and Approve or Deny.")
            del self._pending[form["request"]]
        if decision == "deny" or chosen is None:
            why = "The participant said no."
            return self._back(pending.redirect_uri, pending.state, 303, error="access_denied", why=why)
        code = self._grants.approve(
            pending.client,
            chosen.patient_id,
            pending.scope,
            redirect_uri=pending.redirect_uri,
            challenge=pending.challenge,
            nonce=pending.nonce,
        )
        return self._back(pending.redirect_uri, pending.state, 303, code=code)

    def _back(
        self, redirect_uri: str, state: str | None, status: int, *, code: str = "", error: str = "", why: str = ""
    ) -> Response:
        fields = {"code": code, "error": error, "error_description": why, "state": state, "iss": self._site.fhir_url}
        answer = urlencode({name: value for name, value in fields.items() if value})
        location = redirect_uri + ("&" if "?" in redirect_uri else "?") + answer
        response = RedirectResponse("", status, {"Cache-Control": "no-store"})
        # Set as it is: a redirect URI must go back exactly as registered, and RedirectResponse would quote it anew.
        response.headers["Location"] = location
        return response

    async def manage(self, request: Request) -> Response:
        """Show what is shared with whom, and stop what the participant wants stopped.

        Parameters
        ----------
        request : Request
            GET, or POST with the form of this page.

        Raises
        ------
        PageRefusal
            When the form is not this server's own.
        """
        if request.method == "POST":
            form = await self._own_form(request)
            self._grants.end(form.get("approval", ""))
            return RedirectResponse("manage", 303, {"Cache-Control": "no-store"})
        session = request.cookies.get(SESSION_COOKIE) or secrets.token_urlsafe(24)
        shares = []
        for one in self._grants.approvals():
            client, person = self._clients.get(one.client_id), self._archive.participant(one.patient_id)
            since = datetime.fromtimestamp(one.approved_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
            names = (client.name if client else one.client_id, person.name if person else one.patient_id)
            shares.append(Share(one.approval_id, *names, since, plain_words(one.scope)))
        return _remember(manage_page(shares, self._csrf(session)), session)


def _remember(page: Response, session: str) -> Response:
    page.set_cookie(SESSION_COOKIE, session, path="/oauth", httponly=True, samesite="lax")
    return page


def _checked_challenge(client: Client, asked: dict[str, str]) -> str | None:
    challenge = asked.get("code_challenge")
    if challenge is None:
        if client.public:
            raise OAuthRefusal("invalid_request", "Public clients must send a code_challenge (PKCE, S256).")
        return None
    if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise OAuthRefusal(
            "invalid_request", "Only code_challenge_method=S256 is offered, with 43 base64url characters."
        )
    return challenge
