"""Connections that keep to an attempt's limits and refuse addresses nobody should be led to."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from s4s_lab.errors import OriginRefused
from s4s_lab.net.allowance import Allowance

# The HTTP layer asks for 64 KiB at a time, and takes more as gladly: images then cost a quarter less processor time.
_AT_ONCE = 1 << 20


def _now(timeout: float | None) -> float | None:
    return timeout.now() if isinstance(timeout, Allowance) else timeout


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class _WatchedStream(httpcore2.NetworkStream):
    """A connection whose every operation asks its attempt how much time is left.

    Parameters
    ----------
    inner : httpcore2.NetworkStream
        What does the work.
    """

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come, `max_bytes` or a mebibyte at most, whichever is more."""
        max_bytes = max(max_bytes, _AT_ONCE)
        if not isinstance(timeout, Allowance):
            return self._inner.read(max_bytes, timeout)
        attempt = timeout.attempt
        started = attempt.clock()
        try:
            data = self._inner.read(attempt.at_once(max_bytes), timeout.now())
        except httpcore2.ReadTimeout:
            timeout.now()  # tells when it is the whole attempt that ran out of time
            raise httpcore2.ReadTimeout(f"nothing came for {float(timeout):g} s") from None
        attempt.received(len(data), attempt.clock() - started)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of `buffer`."""
        self._inner.write(buffer, _now(timeout))

    def close(self) -> None:
        """Close the connection; a thread that waits for its bytes is woken."""
        with suppress(OSError):
            # Of the plain socket: an encrypted one would forget its keys under the thread that reads.
            socket.socket.shutdown(self._inner.get_extra_info("socket"), socket.SHUT_RDWR)
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Go on encrypted."""
        return _WatchedStream(self._inner.start_tls(ssl_context, server_hostname, _now(timeout)))

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows of itself."""
        return self._inner.get_extra_info(info)


def leads_astray(address: str, *, from_outside: bool = False) -> bool:
    """Say whether an IP address is one that no server of records or images has.

    Link-local ones are where clouds keep a machine's credentials (169.254.169.254); `0.0.0.0` is this machine under
    another name. A server on the open internet has nothing to name inside of this network, or on this machine.

    Parameters
    ----------
    address : str
        An IP address, version 4 or 6.
    from_outside : bool
        Whether a server on the open internet named it.
    """
    ip = _meant(address)
    return ip.is_link_local or ip.is_unspecified or ip.is_multicast or (from_outside and not ip.is_global)


def _meant(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address, out of the version 6 forms that carry one of version 4 (RFC 4291, 2.5.5.2; RFC 6052, 2.1)."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    return ip.ipv4_mapped or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip)


def _resolved(host: str, port: int, seconds: float | None) -> list[str]:
    """Return a host's addresses.

    The system's resolver knows no deadline and cannot be interrupted, so it works in a thread that nobody waits for
    longer than allowed.
    """
    found: SimpleQueue[list[str] | None] = SimpleQueue()

    def look() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found.put(None)
        else:
            found.put(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))

    if _is_address(host):
        look()
    else:
        threading.Thread(target=look, name="s4s-resolve", daemon=True).start()
    try:
        addresses = found.get(timeout=seconds)
    except Empty:
        raise httpcore2.ConnectTimeout(f"the name could not be looked up within {seconds:.1f} s") from None
    if addresses is None:
        raise httpcore2.ConnectError("the name is not known")
    return addresses


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class GuardedBackend(httpcore2.NetworkBackend):
    """Resolves names itself, so that the address that was checked is the one that is connected to.

    Parameters
    ----------
    trusted : frozenset of str or None
        Origins that the user connected to: any address of theirs is right. None trusts all, for the user's own proxy.
    """

    def __init__(self, trusted: frozenset[str] | None) -> None:
        self._plain = httpcore2.SyncBackend()
        self._trusts_all = trusted is None
        self._trusted = {(parts.hostname, parts.port) for parts in map(urlsplit, trusted or ())}
        self._outside: bool | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first of a host's addresses that answers.

        Parameters
        ----------
        host : str
            A name or an address.
        port : int
            The port.
        timeout : float, optional
            For one address, in [s]; an `Allowance` is asked anew for each.
        local_address : str, optional
            Where to connect from.
        socket_options : iterable, optional
            Passed on.

        Raises
        ------
        OriginRefused
            If the host leads to addresses that no server has.
        """
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for address in self._addresses(host, port, _now(timeout)):
            try:
                stream = self._plain.connect_tcp(address, port, _now(timeout), local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _WatchedStream(stream)
        raise failure

    def _addresses(self, host: str, port: int, seconds: float | None) -> list[str]:
        addresses = _resolved(host, port, seconds)
        if self._trusts_all or (host.rstrip("."), port) in self._trusted:
            return addresses
        outside = self._home_is_outside(seconds)
        usable = [address for address in addresses if not leads_astray(address, from_outside=outside)]
        if addresses and not usable:
            raise OriginRefused(f"{host} leads to {addresses[0]}, an address that no server of records or images has.")
        return usable

    def _home_is_outside(self, seconds: float | None) -> bool:
        """Say whether what the user connected to is on the open internet; where no name is known, it may be."""
        if self._outside is None:
            self._outside = any(_is_global(host, port, seconds) for host, port in self._trusted)
        return self._outside


def _is_global(host: str | None, port: int | None, seconds: float | None) -> bool:
    try:
        return any(_meant(address).is_global for address in _resolved(host or "", port or 0, seconds))
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
        return True
