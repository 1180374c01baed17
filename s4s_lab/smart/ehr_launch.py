"""The launch that begins at the server: an EHR opens the app with `iss` and `launch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl

from s4s_lab.errors import UsageError
from s4s_lab.values import Secret
from s4s_lab.values.origins import base_url, require_secure


@dataclass(frozen=True)
class EhrLaunch:
    """What an EHR says when it opens the app.

    Parameters
    ----------
    fhir_url : str
        The server (`iss`). Whoever sends the participant chooses it: launch only at servers that you know.
    token : Secret
        Ties the launch to the patient who is open in the EHR; goes back as `launch`.

    References
    ----------
    SMART App Launch 2.2, "Launch app: EHR launch".
    """

    fhir_url: str
    token: Secret

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read the address that the EHR opened.

        Parameters
        ----------
        url : str
            Such as `https://app.example/launch?iss=https%3A%2F%2Fehr.example%2Ffhir&launch=xyz`.

        Raises
        ------
        UsageError
            If there is no `iss` or no `launch` in it, one of them twice, or `iss` is no encrypted address.
        """
        pairs = [pair for pair in parse_qsl(url.partition("?")[2].partition("#")[0]) if pair[0] in ("iss", "launch")]
        said = dict(pairs)
        if len(pairs) != 2 or len(said) != 2:
            raise UsageError(
                "This is not how an EHR opens an app: it has to hold iss=… and launch=…, once each.",
                hint="Copy the whole address that the EHR opened.",
            )
        return cls(require_secure(base_url(said["iss"])), Secret(said["launch"]))
