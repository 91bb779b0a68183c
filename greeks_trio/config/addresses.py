"""Which addresses belong to this machine, and where secrets may go.  Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from greeks_trio.errors import FeedInterrupted


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or an address always means this machine.

    The rule asks no name server.  `localhost` in any capitals counts.  The names
    `a.localhost` and `localhost.` do not count: RFC 6761 reserves them, but a resolver
    may still send them to another machine.  The short form `127.1` does not count,
    because programs read it in different ways.
    """
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python's own answer for ::ffff:127.0.0.1 depends on its version.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


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
    # `urlsplit` drops some control characters without a word.
    if not url.isprintable() or " " in url:
        raise FeedInterrupted(f"{what} {url!r} is not an address")
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
