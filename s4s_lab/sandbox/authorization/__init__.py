"""The SMART authorization server: registration, consent, tokens."""

from s4s_lab.sandbox.authorization.clients import Client, Clients
from s4s_lab.sandbox.authorization.grants import Grants, Token
from s4s_lab.sandbox.authorization.service import authorization_routes, smart_configuration

__all__ = ["Client", "Clients", "Grants", "Token", "authorization_routes", "smart_configuration"]
