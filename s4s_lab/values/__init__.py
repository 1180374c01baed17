"""Pure values: instants, UIDs, secrets, origins, registrations. Standard library only, no I/O."""

from s4s_lab.values.registration import DEMO_REDIRECT_URI, S4S_SCOPE, Registration
from s4s_lab.values.secret import Secret

__all__ = ["DEMO_REDIRECT_URI", "S4S_SCOPE", "Registration", "Secret"]
