"""What a server does not declare, and an S4S launch needs."""

from __future__ import annotations

from s4s_lab.smart.configuration import SmartConfiguration
from s4s_lab.values import Registration

_MEANING = {
    "launch-standalone": "launches that begin in the app (launch-standalone)",
    "launch-ehr": "launches that begin in the EHR (launch-ehr)",
    "context-standalone-patient": "to say which patient was chosen (context-standalone-patient)",
    "permission-patient": "scopes for one patient's record (permission-patient)",
    "permission-offline": "access while the participant is away (permission-offline)",
    "client-confidential-symmetric": "clients with a secret (client-confidential-symmetric)",
    "client-confidential-asymmetric": "clients with a key (client-confidential-asymmetric)",
    "client-public": "clients without a secret (client-public)",
    "sso-openid-connect": "to say who signed in (sso-openid-connect)",
}


def not_declared(configuration: SmartConfiguration, registration: Registration, *, from_ehr: bool = False) -> list[str]:
    """List what a launch needs that a server's SMART configuration does not declare, in words.

    Parameters
    ----------
    configuration : SmartConfiguration
        Of the server. One that lists no capabilities, such as a CapabilityStatement alone, is not judged.
    registration : Registration
        The client, and what it asks for.
    from_ehr : bool
        Whether the launch begins in the EHR.

    References
    ----------
    SMART App Launch 2.2, "Conformance: capabilities". S4S imaging page, "Authorization expectations".
    """
    lacks = []
    if configuration.capabilities:
        needed = _needed(registration, from_ehr=from_ehr)
        lacks = [_MEANING[name] for name in needed if name not in configuration.capabilities]
    if registration.pkce and configuration.challenge_methods and "S256" not in configuration.challenge_methods:
        lacks.append("PKCE with S256")
    return lacks


def _needed(registration: Registration, *, from_ehr: bool) -> list[str]:
    asked = registration.scope.split()
    needed = ["launch-ehr"] if from_ehr else ["launch-standalone", "context-standalone-patient"]
    needed += ["permission-patient"] if any(scope.startswith("patient/") for scope in asked) else []
    needed += ["permission-offline"] if "offline_access" in asked else []
    if registration.private_key is not None:
        needed.append("client-confidential-asymmetric")
    else:
        needed.append("client-confidential-symmetric" if registration.confidential else "client-public")
    return [*needed, "sso-openid-connect"] if "openid" in asked else needed
