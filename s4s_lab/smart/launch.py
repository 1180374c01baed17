"""The launch: an address for the participant's browser, and what becomes of the answer."""

from __future__ import annotations

import secrets
import time
import warnings
from dataclasses import dataclass, field, replace

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from s4s_lab.errors import ScopeNarrowed
from s4s_lab.net import HttpClient
from s4s_lab.smart.answers import belongs_to, code_of, read_answer
from s4s_lab.smart.configuration import SmartConfiguration, shown_server
from s4s_lab.smart.grants import Grant
from s4s_lab.smart.id_tokens import fhir_user_of
from s4s_lab.smart.scopes import scope_to_ask
from s4s_lab.smart.tokens import narrowed, redeem_code
from s4s_lab.values import Registration, Secret

_STATE_BYTES = 32
_VERIFIER_BYTES = 64
# A link that lies around, in a notebook or a mail, is good for this long.
GOOD_FOR_S = 600.0


@dataclass(frozen=True, repr=False)
class Launch:
    """One launch that is under way; good for one answer.

    Parameters
    ----------
    authorize_url : str
        Where the participant's browser is to go.
    configuration : SmartConfiguration
        Of the server.
    registration : Registration
        The client that launches.
    state : Secret
        Ties the answer to this launch, 256 random bits.
    verifier : Secret or None
        The PKCE code verifier, 86 characters; None for a registration without PKCE.
    token : Secret or None
        Of a launch that began in an EHR.
    nonce : Secret or None
        Ties an ID token to this launch; None where none is asked for.
    begun : float
        When, by the monotonic clock [s]; after ten minutes no answer counts any more.

    References
    ----------
    S4S imaging page, "Authorization expectations", item 2. SMART App Launch 2.2, "Standalone launch".
    """

    authorize_url: str
    configuration: SmartConfiguration
    registration: Registration
    state: Secret
    verifier: Secret | None
    token: Secret | None = None
    nonce: Secret | None = None
    begun: float = field(default_factory=time.monotonic, compare=False)

    @property
    def seconds_left(self) -> float:
        """How long an answer still counts [s]."""
        return max(0.0, self.begun + GOOD_FOR_S - time.monotonic())

    @property
    def scope(self) -> str:
        """What is asked for, in the form that the server understands."""
        return _scope(self.configuration, self.registration, from_ehr=self.token is not None)

    def owns(self, answer: dict[str, str]) -> bool:
        """Say whether an answer is to this launch: its state is ours, and ten minutes are not over.

        Parameters
        ----------
        answer : dict of str to str
            From `read_answer`.
        """
        return belongs_to(answer, self.state) and self.seconds_left > 0

    def finish(self, client: HttpClient, redirected_to: str) -> Grant:
        """Turn the answer that the browser brought back into a grant.

        Parameters
        ----------
        client : HttpClient
            Asks the token endpoint; needs no credentials of its own.
        redirected_to : str
            The whole address that the browser ended on, its query, or bare `code=…&state=…`.

        Returns
        -------
        Grant
            Of the patient that the participant chose.

        Raises
        ------
        UsageError
            If there is no answer in `redirected_to`.
        LaunchRefused
            If the server or the participant said no, or the answer is not to this launch.
        UnexpectedAnswer
            If the token endpoint's answer cannot be used.
        NotReachable
            If the token endpoint does not answer.
        Waiting
            If the token endpoint asks for more time than a code lives.

        Warns
        -----
        ScopeNarrowed
            If less was granted than asked.
        """
        given = Secret(redirected_to)
        del redirected_to  # some tracebacks show what their frames hold
        grant = self._redeem(client, given)
        said = narrowed(grant, self.scope)
        if said:
            warnings.warn(ScopeNarrowed(said), stacklevel=2)
        return grant

    def redeem(self, client: HttpClient, redirected_to: str) -> Grant:
        """Do what `finish` does without its warning, for threads in which nobody would see one.

        Parameters
        ----------
        client : HttpClient
            As for `finish`.
        redirected_to : str
            As for `finish`.

        Raises
        ------
        UsageError, LaunchRefused, UnexpectedAnswer, NotReachable, Waiting
            As `finish`.
        """
        given = Secret(redirected_to)
        del redirected_to
        return self._redeem(client, given)

    def _redeem(self, client: HttpClient, given: Secret) -> Grant:
        code = code_of(read_answer(given.reveal()), self.state, self.configuration)
        grant, id_token = redeem_code(
            client,
            self.configuration.token_endpoint,
            self.registration,
            code=code,
            verifier=self.verifier,
            scope=self.scope,
        )
        if self.nonce is None or id_token is None:
            return grant
        client_id = self.registration.client_id
        return replace(grant, fhir_user=fhir_user_of(client, self.configuration, client_id, id_token, self.nonce))

    def __repr__(self) -> str:
        return f"Launch(server={shown_server(self.configuration.fhir_url)})"


def begin_launch(
    configuration: SmartConfiguration, registration: Registration, *, token: Secret | None = None
) -> Launch:
    """Begin a launch with a fresh state and PKCE verifier.

    Parameters
    ----------
    configuration : SmartConfiguration
        Of the server, from `discover`.
    registration : Registration
        The client that launches.
    token : Secret, optional
        What an EHR said as `launch`; a standalone launch when it is left out.

    Returns
    -------
    Launch
        Its `authorize_url` asks for a code, with `aud` the FHIR base URL exactly and an S256 code challenge.

    References
    ----------
    SMART App Launch 2.2, "Obtain authorization code". RFC 7636, sections 4.1 to 4.3.
    """
    state = Secret(secrets.token_urlsafe(_STATE_BYTES))
    verifier = Secret(secrets.token_urlsafe(_VERIFIER_BYTES)) if registration.pkce else None
    nonce = Secret(secrets.token_urlsafe(_STATE_BYTES)) if "openid" in registration.scope.split() else None
    optional = {"launch": token, "nonce": nonce}
    authorize_url = prepare_grant_uri(
        configuration.authorization_endpoint,
        registration.client_id,
        "code",
        redirect_uri=registration.redirect_uri,
        scope=_scope(configuration, registration, from_ehr=token is not None),
        state=state.reveal(),
        aud=configuration.fhir_url,
        **_challenge(verifier),
        **{name: value.reveal() for name, value in optional.items() if value is not None},
    )
    return Launch(authorize_url, configuration, registration, state, verifier, token, nonce)


def _challenge(verifier: Secret | None) -> dict[str, str]:
    if verifier is None:
        return {}
    return {"code_challenge": create_s256_code_challenge(verifier.reveal()), "code_challenge_method": "S256"}


def _scope(configuration: SmartConfiguration, registration: Registration, *, from_ehr: bool) -> str:
    """Return what to ask for: an EHR names the patient itself, so nobody is to choose one (`launch`)."""
    asked = registration.scope.split()
    if from_ehr:
        asked = ["launch", *(scope for scope in asked if not scope.startswith("launch"))]
    return scope_to_ask(" ".join(asked), configuration.capabilities)
