"""Which addresses belong to this machine, and where secrets may go.  Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from greeks_trio.errors import FeedInterrupted


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or an address always means this machine.

    The rule asks no name server.  `localhost` in any capitals counts.  A name such as
    `a.localhost` does not count, because a resolver may send it to another machine.
    """
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_this_machine(host: str) -> bool:
    """Return whether PostgreSQL's host is a Unix socket or a loopback address."""
    return host.startswith(("/", "@")) or is_loopback(host)


def require_private(url: str, *, what: str) -> str:
    """Return the URL if a secret can be sent there unread.

    The URL must use TLS or name this machine, where simulated brokers run.

    Args:
        url: The address.
        what: The name of the address in the message.

    Raises:
        FeedInterrupted: The URL is neither, or it is no address.
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
