"""The running sandbox as a notebook or a test holds it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlencode

from s4s_lab.errors import UsageError
from s4s_lab.sandbox.archive import Participant
from s4s_lab.sandbox.archive.synthetic import Change, change
from s4s_lab.sandbox.browser import answer_consent, return_to_app
from s4s_lab.sandbox.server import Running, Settings, write_ready_file
from s4s_lab.values import Registration

__all__ = ["Change", "Launch", "Participant", "Running", "Sandbox", "Settings", "write_ready_file"]


class Launch(Protocol):
    """Anything with an authorize URL: a launch panel, a pending launch."""

    @property
    def authorize_url(self) -> str:
        """Where the participant's browser is sent."""


class Sandbox:
    """A running reference server.

    Parameters
    ----------
    running : Running
        The server.

    Attributes
    ----------
    fhir_url, wado_url : str
        Base addresses.
    registration : Registration
        Of the demo app, with its secret.
    participants : list of Participant
        Whose records there are.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._changes: dict[str, int] = {}
        self.fhir_url: str = running.site.fhir_url
        self.wado_url: str = running.site.wado_url
        self.registration: Registration = running.registration
        self.participants: list[Participant] = list(running.archive.participants)

    def __repr__(self) -> str:
        studies = sum(self._running.archive.count("ImagingStudy", one.patient_id) for one in self.participants)
        people = "1 participant" if len(self.participants) == 1 else f"{len(self.participants)} participants"
        images = "1 imaging study" if studies == 1 else f"{studies} imaging studies"
        return f"<Sandbox: profile {self._running.profile}, {people}, {images}>"

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _participant(self, choice: int | str) -> Participant:
        found = self._running.archive.participant(choice)
        if found is None:
            hint = f"Choose by position (0 to {len(self.participants) - 1}), patient id or name."
            raise UsageError(f"The sandbox has no participant {choice!r}.", hint=hint)
        return found

    def approve(self, launch: Launch | str, participant: int | str = 0) -> None:
        """Approve a launch as the participant would in a browser: open the page, choose, submit, return to the app.

        Parameters
        ----------
        launch : object or str
            A launch with `.authorize_url`, or that address.
        participant : int or str
            Position, patient id or name.

        Raises
        ------
        UsageError
            If there is no such participant.
        LaunchRefused
            If the server does not ask.
        LaunchNotTried
            If the app does not listen at its redirect URI.
        """
        chosen = self._participant(participant).patient_id
        return_to_app(answer_consent(_address(launch), {"participant": chosen, "decision": "approve"}))

    def deny(self, launch: Launch | str) -> None:
        """Deny a launch as the participant would in a browser.

        Parameters
        ----------
        launch : object or str
            A launch with `.authorize_url`, or that address.

        Raises
        ------
        LaunchRefused
            If the server does not ask.
        LaunchNotTried
            If the app does not listen at its redirect URI.
        """
        return_to_app(answer_consent(_address(launch), {"decision": "deny"}))

    def ehr_launch(self, participant: int | str = 0) -> str:
        """Open the app as an EHR would, with one patient's record open.

        Parameters
        ----------
        participant : int or str
            Position, patient id or name.

        Returns
        -------
        str
            What the EHR puts after the app's launch address: `?iss=…&launch=…`.

        Raises
        ------
        UsageError
            If there is no such participant.

        References
        ----------
        SMART App Launch 2.2, "Launch app: EHR launch".
        """
        token = self._running.consent.open_app(self._participant(participant).patient_id)
        return "?" + urlencode({"iss": self.fhir_url, "launch": token})

    def change(self, participant: int | str = 0) -> Change:
        """Let something happen on the server: a new study with a claim, one study changed, one removed.

        Parameters
        ----------
        participant : int or str
            Position, patient id or name.

        Raises
        ------
        UsageError
            If there is no such participant.
        """
        chosen = self._participant(participant)
        number = self._changes.get(chosen.patient_id, 0)
        self._changes[chosen.patient_id] = number + 1
        return change(self._running.archive, chosen.patient_id, number, self.wado_url)

    def ready(self) -> dict[str, Any]:
        """Return what the ready-file holds; with the demo app's secret in plain text."""
        registration = self.registration
        secret = registration.client_secret
        return {
            "fhir_url": self.fhir_url,
            "wado_url": self.wado_url,
            "registration": {
                "client_id": registration.client_id,
                "client_secret": secret.reveal() if secret is not None else None,
                "redirect_uri": registration.redirect_uri,
                "scope": registration.scope,
            },
            "participants": [{"patient_id": one.patient_id, "name": one.name} for one in self.participants],
        }

    def stop(self) -> None:
        """Stop the server; a second time does nothing."""
        self._running.stop()


def _address(launch: Launch | str) -> str:
    return launch if isinstance(launch, str) else launch.authorize_url
