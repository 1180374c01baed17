"""What a research app is to a server: its client id, its secret, where the browser returns to."""

from __future__ import annotations

from dataclasses import dataclass

from s4s_lab.values.secret import Secret

S4S_SCOPE = "patient/*.read launch/patient offline_access"
DEMO_REDIRECT_URI = "http://127.0.0.1:8723/callback"


@dataclass(frozen=True)
class Registration:
    """A client as registered with one server.

    Parameters
    ----------
    client_id : str
        As assigned by the server.
    client_secret : Secret or None
        Present for confidential clients, None for public ones.
    redirect_uri : str
        Exactly as registered: the server compares the text.
    scope : str
        What to ask for; S4S needs `patient/*.read launch/patient offline_access`.

    References
    ----------
    S4S imaging page, "Authorization expectations", items 1 and 3. RFC 6749, section 2.
    """

    client_id: str
    client_secret: Secret | None = None
    redirect_uri: str = DEMO_REDIRECT_URI
    scope: str = S4S_SCOPE

    @property
    def confidential(self) -> bool:
        """Whether the client authenticates with a secret."""
        return self.client_secret is not None
