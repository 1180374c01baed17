"""Pure values: instants, UIDs, secrets, origins, registrations. Standard library only; nothing is read unasked."""

from s4s_lab.values.registration import DEMO_REDIRECT_URI, S4S_SCOPE, PrivateKey, Registration, read_secret
from s4s_lab.values.secret import Secret

__all__ = ["DEMO_REDIRECT_URI", "S4S_SCOPE", "PrivateKey", "Registration", "Secret", "read_secret"]
