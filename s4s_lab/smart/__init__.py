"""SMART App Launch: discovery, registration, launch, redirect capture, grants and their renewal."""

from s4s_lab.smart.any_port import redirect_uri_of
from s4s_lab.smart.auth import SmartAuth
from s4s_lab.smart.client_keys import jwks_of
from s4s_lab.smart.configuration import SmartConfiguration, shown_server
from s4s_lab.smart.declared import not_declared
from s4s_lab.smart.discovery import discover
from s4s_lab.smart.ehr_launch import EhrLaunch
from s4s_lab.smart.grant_files import FileGrants
from s4s_lab.smart.grants import Grant, GrantStore
from s4s_lab.smart.in_progress import LAUNCH_PATIENCE, LaunchInProgress, LaunchStatus
from s4s_lab.smart.kept_clients import KeptClient
from s4s_lab.smart.kept_grants import GrantOrigin
from s4s_lab.smart.keyring_entries import require_keyring
from s4s_lab.smart.launch import Launch, begin_launch
from s4s_lab.smart.listener import RedirectListener
from s4s_lab.smart.memory_grants import MemoryGrants
from s4s_lab.smart.redirects import Capture, listen_for, redirect_uri_here
from s4s_lab.smart.registering import register
from s4s_lab.smart.token_services import Introspection, introspect, revoke
from s4s_lab.smart.tokens import lacking, refresh_grant

__all__ = [
    "LAUNCH_PATIENCE",
    "Capture",
    "EhrLaunch",
    "FileGrants",
    "Grant",
    "GrantOrigin",
    "GrantStore",
    "Introspection",
    "KeptClient",
    "Launch",
    "LaunchInProgress",
    "LaunchStatus",
    "MemoryGrants",
    "RedirectListener",
    "SmartAuth",
    "SmartConfiguration",
    "begin_launch",
    "discover",
    "introspect",
    "jwks_of",
    "lacking",
    "listen_for",
    "not_declared",
    "redirect_uri_here",
    "redirect_uri_of",
    "refresh_grant",
    "register",
    "require_keyring",
    "revoke",
    "shown_server",
]
