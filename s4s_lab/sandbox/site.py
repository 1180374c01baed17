"""The addresses of one running sandbox."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """Where a sandbox is to be found.

    Parameters
    ----------
    root : str
        Scheme, host and port, such as `http://127.0.0.1:8400`.
    """

    root: str

    @property
    def fhir_url(self) -> str:
        """FHIR base URL, the issuer of its authorization server, and the `aud` of every launch."""
        return f"{self.root}/fhir"

    @property
    def wado_url(self) -> str:
        """Base of the WADO-RS service, as in `Endpoint.address`."""
        return f"{self.root}/wado"

    def oauth(self, name: str) -> str:
        """Return an address of the authorization server.

        Parameters
        ----------
        name : str
            `authorize`, `token`, `register`, `manage`, `introspect` or `revoke`.
        """
        return f"{self.root}/oauth/{name}"
