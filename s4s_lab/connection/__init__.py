"""What a launch gives: one participant at one server, and a client that may read there."""

from s4s_lab.connection.access import Access, kept_access
from s4s_lab.connection.connection import Connection, ConnectionState
from s4s_lab.connection.launching import PendingLaunch, connect, prepare_launch
from s4s_lab.connection.reopening import reopen

__all__ = [
    "Access",
    "Connection",
    "ConnectionState",
    "PendingLaunch",
    "connect",
    "kept_access",
    "prepare_launch",
    "reopen",
]
