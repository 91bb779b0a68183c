"""A TLS port on this machine for a simulator's clients."""

from __future__ import annotations

import errno
import ssl
from typing import Final

import trio

# Under load many clients may connect at once.
_BACKLOG: Final = 128
# A port that is free on IPv4 may be in use on IPv6.
_ATTEMPTS: Final = 10

TlsListener = trio.SSLListener[trio.SocketStream]


async def open_local_listeners(
    port: int, context: ssl.SSLContext
) -> tuple[list[TlsListener], int]:
    """Listen on the loopback addresses, the same port on each; 0 means any free port.

    On a machine without IPv6 it listens on IPv4 alone.

    Raises:
        OSError: the port is taken.
    """
    for attempt in range(_ATTEMPTS):
        [first] = await trio.open_tcp_listeners(
            port, host="127.0.0.1", backlog=_BACKLOG
        )
        chosen = int(first.socket.getsockname()[1])
        try:
            others = await _open_ipv6(chosen)
        except OSError:
            with trio.move_on_after(1, shield=True):
                await first.aclose()
            if port or attempt == _ATTEMPTS - 1:
                raise
            continue
        tls = [
            trio.SSLListener(each, context, https_compatible=True)
            for each in (first, *others)
        ]
        return tls, chosen
    raise AssertionError("the last attempt returns or raises")


async def _open_ipv6(port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host="::1", backlog=_BACKLOG)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise
        return []
