"""The one freedom of a redirect URI: public clients on this machine may return to any port."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from s4s_lab.values import Registration

_LOOPBACK = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


def redirect_uri_of(registration: Registration) -> str:
    """Return where the browser is to return to in one launch.

    Parameters
    ----------
    registration : Registration
        With a redirect URI such as `http://127.0.0.1/callback`, without a port, a public client gets a free one.

    References
    ----------
    RFC 8252, section 7.3: any port, on the loopback IP literals. Section 8.3: not on `localhost`.
    """
    parts = urlsplit(registration.redirect_uri)
    family = _LOOPBACK.get(parts.hostname or "")
    if registration.confidential or parts.scheme != "http" or parts.port is not None or family is None:
        return registration.redirect_uri
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((parts.hostname, 0))
        port = probe.getsockname()[1]
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl()
