"""The SMART authorization server: registration, consent, tokens."""

from s4s_lab.sandbox.authorization.clients import Client, Clients
from s4s_lab.sandbox.authorization.consent import Consent
from s4s_lab.sandbox.authorization.grants import Grants, Token
from s4s_lab.sandbox.authorization.service import authorization_routes, smart_configuration
from s4s_lab.sandbox.authorization.tokens import Tokens

__all__ = ["Client", "Clients", "Consent", "Grants", "Token", "Tokens", "authorization_routes", "smart_configuration"]
