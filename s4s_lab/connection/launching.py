"""Launching: from a server's address to a connection, by way of a participant who consents."""

from __future__ import annotations

import getpass
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from s4s_lab.connection.connection import Connection, connection_of, lacks_of
from s4s_lab.errors import DatasetBusy, LaunchRefused, NotDeclared, S4SError, UsageError
from s4s_lab.fhir import Capability
from s4s_lab.net import HttpClient, Patience
from s4s_lab.smart import (
    LAUNCH_PATIENCE,
    Capture,
    FileGrants,
    Grant,
    GrantOrigin,
    KeptClient,
    Launch,
    LaunchInProgress,
    MemoryGrants,
    RedirectListener,
    SmartConfiguration,
    begin_launch,
    discover,
    jwks_of,
    listen_for,
    redirect_uri_here,
    redirect_uri_of,
)
from s4s_lab.values import Registration, Secret
from s4s_lab.values.instants import utc_now
from s4s_lab.values.origins import origin_of, without_query

# The launches that may be waiting, by whom and what they are for.
_newest: WeakValueDictionary[tuple[str, str, str | None], PendingLaunch] = WeakValueDictionary()
_TO_PASTE = "Paste the address that the browser ended on (its page may have failed; what you paste is not shown): "
_newest_lock = threading.Lock()
_UNKNOWN_CLIENT = ("invalid_client", "unauthorized_client")


class PendingLaunch(LaunchInProgress[Connection]):
    """One launch that waits for the participant, and makes a connection of the answer.

    Parameters
    ----------
    launch, connect, listener
        As for `LaunchInProgress`.
    lacks : tuple of str
        What S4S needs and the server does not declare, in words.
    """

    @property
    def connection(self) -> Connection | None:
        """What came of it, when it ended well."""
        return self.made

    def __init__(
        self,
        launch: Launch,
        connect: Callable[[Grant], Connection],
        listener: RedirectListener | None,
        lacks: tuple[str, ...] = (),
    ) -> None:
        self.lacks = lacks
        super().__init__(launch, connect, listener)

    def ask(self, timeout_s: float, *, show: Callable[[str], None], ask: Callable[[str], str] | None = None) -> None:
        """Ask for the address that the browser ended on until one counts, or the answer has come by itself meanwhile.

        Parameters
        ----------
        timeout_s : float
            How long to ask anew [s].
        show : callable
            Receives what was wrong with an address.
        ask : callable, optional
            Gets a prompt, returns what was pasted; `getpass.getpass` by default. It may raise EOFError or
            NotImplementedError where nobody is there.
        """
        ends = time.monotonic() + timeout_s
        while self.status == "waiting" and time.monotonic() < ends:
            try:
                error = self.take((ask or _ask_unseen)(_TO_PASTE))
            except (EOFError, NotImplementedError):  # the latter is a kernel's way to say so
                return
            if error not in (None, self.stray) and self.status == "waiting":
                show(str(error))


@dataclass(frozen=True)
class _Client:
    """The client of one launch: as it is registered, and where the browser returns to this time."""

    registration: Registration
    redirect_uri: str
    kept: KeptClient | None

    def forget_if_unknown(self, pending: PendingLaunch) -> None:
        """Drop a registration of our own making that the server has forgotten; the next launch makes another."""
        unknown = isinstance(pending.error, LaunchRefused) and pending.error.error in _UNKNOWN_CLIENT
        if self.kept is not None and unknown:
            self.kept.drop(self.registration)


def prepare_launch(
    fhir_url: str,
    registration: Registration | None = None,
    *,
    participant_id: str | None = None,
    redirect_uri: str | None = None,
    capture: Capture | None = None,
    grants_file: Path | None = None,
    keyring: bool = False,
    allowed_origins: frozenset[str] = frozenset(),
    launch_token: Secret | str | None = None,
    patience: Patience = LAUNCH_PATIENCE,
) -> PendingLaunch:
    """Begin a launch, and listen for its answer where the redirect URI leads to this machine.

    It is good for ten minutes. An older launch of this process that nobody has answered, with the same server, redirect
    URI and participant_id, ends, and frees its port.

    Parameters
    ----------
    fhir_url : str
        FHIR base URL of the participant's server.
    registration : Registration, optional
        The client; when it is left out, one is registered with servers that offer that.
    participant_id : str, optional
        The study's own pseudonym.
    redirect_uri : str, optional
        Where the browser returns to, when a client is registered; a given registration has its own. Left out, it is
        `S4S_REDIRECT_URI`, an address of a JupyterHub's proxy, or `http://127.0.0.1:8723/callback`.
    capture : {"loopback", "proxy", "paste"}, optional
        How the redirect is caught; told by the redirect URI and by where this runs when it is left out.
    grants_file : Path, optional
        Where the grant is kept, in a folder of mode 0700; in memory when it is left out.
    keyring : bool
        Whether to put the grant into the system's keyring, and into `grants_file` only where there.
    allowed_origins : frozenset of str
        Origins that may be talked to, and get the access token, besides the server's own.
    launch_token : Secret or str, optional
        What an EHR that opened the app said as `launch` (`smart.EhrLaunch`), `fhir_url` being its `iss`; left out, the
        launch is a standalone one.
    patience : Patience
        How long to wait for a busy server while it is found out how to be authorized; a minute by default.

    Returns
    -------
    PendingLaunch
        To be shown to the participant, and closed in the end.

    Raises
    ------
    LaunchNotTried
        If there is no registration to be had, or the redirect URI's port is taken.
    UsageError
        If `grants_file` cannot be kept private or replaced, or there is no keyring, or the registration's private key
        cannot be used, or its scope names no patient.
    DatasetBusy
        If another process keeps `grants_file` locked.
    S4SError
        As `smart.discover`, with its warnings.

    Warns
    -----
    NotDeclared
        If the server does not declare what S4S needs; the launch goes on.
    """
    if keyring and grants_file is None:
        raise UsageError("A grant in the keyring needs a file that says where.", hint="Give grants_file too.")
    allowed = frozenset(map(origin_of, allowed_origins))
    if registration is not None:
        _require_usable(registration, from_ehr=launch_token is not None)
    if grants_file:
        FileGrants.prepare(grants_file, keyring=keyring)
    with HttpClient(patience=patience) as client:
        configuration = discover(client, fhir_url, allowed_origins=allowed)
        returns_to = redirect_uri_of(registration) if registration else (redirect_uri or redirect_uri_here(capture))
        listener = listen_for(returns_to, capture)
        try:
            used = _client_of(client, configuration, registration, returns_to)
        except S4SError:
            if listener:
                listener.close()
            raise
    endpoint = configuration.token_endpoint
    origin = GrantOrigin(configuration.fhir_url, endpoint, used.registration, participant_id, allowed_origins=allowed)

    def connect_with(grant: Grant) -> Connection:
        link = replace(connection_of(configuration, origin, MemoryGrants(grant)), granted_at=utc_now())
        try:
            return link.kept_at(grants_file, keyring=keyring) if grants_file else link
        except (UsageError, DatasetBusy) as error:
            raise _given_back(link, error) from None

    token = Secret(launch_token) if isinstance(launch_token, str) else launch_token
    launch = begin_launch(configuration, replace(used.registration, redirect_uri=returns_to), token=token)
    pending = PendingLaunch(launch, connect_with, listener, _lacks(configuration, used.registration, token))
    pending.watch(partial(used.forget_if_unknown, pending))
    # The cell ran again: the link of its last run would keep the port, and wait for nobody.
    key = configuration.fhir_url, returns_to, participant_id
    with _newest_lock:
        older, _newest[key] = _newest.get(key), pending
    if older is not None:
        older.supersede()
    return pending


def _require_usable(registration: Registration, *, from_ehr: bool) -> None:
    """Check what would be found out only after the participant's consent otherwise."""
    if registration.private_key is not None:
        jwks_of(registration.private_key)
    if not from_ehr and not any(scope.startswith("launch") for scope in registration.scope.split()):
        raise UsageError(
            "The scope asks for no patient, so the server would name none.", hint="Add launch/patient to the scope."
        )


def _given_back(link: Connection, error: UsageError | DatasetBusy) -> S4SError:
    """Give an access back that could not be kept, since nobody would find it again; return what to say of both."""
    said = "was given back to the server" if link.disconnect() else "ends at the server by itself"
    hint = "Mend that, then launch again: the participant has to approve once more."
    return type(error)(f"{error.args[0]} The access that was just granted {said}.", hint=hint)


def _client_of(
    client: HttpClient, configuration: SmartConfiguration, registration: Registration | None, redirect_uri: str
) -> _Client:
    if registration is not None:
        return _Client(registration, redirect_uri, None)
    kept = KeptClient.of(configuration, redirect_uri)
    return _Client(kept.registered(client, configuration, redirect_uri), redirect_uri, kept)


def _lacks(configuration: SmartConfiguration, registration: Registration, token: Secret | None) -> tuple[str, ...]:
    capability = Capability.from_json(dict(configuration.capability_statement))
    lacks = lacks_of(configuration, registration, capability, from_ehr=token is not None)
    if lacks:
        server = without_query(configuration.fhir_url)
        warnings.warn(NotDeclared(f"{server} does not declare: {'; '.join(lacks)}."), stacklevel=3)
    return lacks


def connect(
    fhir_url: str,
    registration: Registration | None = None,
    *,
    show: Callable[[str], None],
    timeout_s: float = 300.0,
    participant_id: str | None = None,
    redirect_uri: str | None = None,
    capture: Capture | None = None,
    grants_file: Path | None = None,
    keyring: bool = False,
    allowed_origins: frozenset[str] = frozenset(),
    launch_token: Secret | str | None = None,
    ask: Callable[[str], str] | None = None,
) -> Connection:
    """Launch, and wait until the participant has answered; may be interrupted.

    Parameters
    ----------
    fhir_url, registration, participant_id, redirect_uri, capture, grants_file, keyring, allowed_origins, launch_token
        As for `prepare_launch`.
    show : callable
        Receives the authorize URL, for the participant to open; then what was wrong with an answer that ended nothing.
    timeout_s : float
        How long to wait [s], at most ten minutes.
    ask : callable, optional
        Where the browser cannot come back here: gets a prompt, and returns the address that the browser ended on, which
        somebody pastes. `getpass.getpass` by default, as a notebook keeps what is typed at `input`; where there is
        nobody to ask it may raise EOFError.

    Raises
    ------
    LaunchNotFinished
        If nobody answered in time.
    S4SError
        As `prepare_launch` and `PendingLaunch.wait`.
    """
    pending = prepare_launch(
        fhir_url,
        registration,
        participant_id=participant_id,
        redirect_uri=redirect_uri,
        capture=capture,
        grants_file=grants_file,
        keyring=keyring,
        allowed_origins=allowed_origins,
        launch_token=launch_token,
    )
    with closing(pending):
        pending.watch(partial(_show_stray, pending, show))
        show(pending.authorize_url)
        ends = time.monotonic() + timeout_s
        if pending.start_url is None:
            pending.ask(timeout_s, show=show, ask=ask)
        return pending.wait(max(0.0, ends - time.monotonic()))


def _ask_unseen(prompt: str) -> str:
    """Ask for what is not to be seen: a notebook keeps what is typed at `input`, and so does a shell's history."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", getpass.GetPassWarning)
        return getpass.getpass(prompt)


def _show_stray(pending: PendingLaunch, show: Callable[[str], None]) -> None:
    """Tell of an error without state, the one thing to hear of while the launch goes on waiting."""
    if pending.status == "waiting":
        show(str(pending.stray))
