"""Which addresses secrets may be sent to.  Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from greeks_trio.errors import FeedInterrupted


def require_private(url: str, *, what: str) -> str:
    """Return the address if nobody on the way can read what is sent there.

    That is TLS, or this machine itself, where simulated brokers run.

    Raises:
        FeedInterrupted: it is neither, or no address at all.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise FeedInterrupted(f"{what} {url!r} is not an address") from None
    if not host or parts.scheme not in ("https", "wss", "http", "ws"):
        raise FeedInterrupted(f"{what} {url!r} is not an address")
    if parts.scheme in ("http", "ws") and not is_loopback(host):
        raise FeedInterrupted(f"{what} {url!r} is not encrypted; nothing was sent")
    return url


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine, without asking a name server."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
