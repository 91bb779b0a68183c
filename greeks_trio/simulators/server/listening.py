"""A port on this machine for a simulator's clients, with TLS or without."""

from __future__ import annotations

import errno
import ssl
from typing import Final, TypeAlias

import trio

# Under load many clients may connect at once.
_BACKLOG: Final = 128
# A free port of IPv4 may be taken on IPv6 by another program.
_ATTEMPTS: Final = 10

Listener: TypeAlias = trio.SocketListener | trio.SSLListener[trio.SocketStream]


async def open_local_listeners(
    port: int, tls: ssl.SSLContext | None
) -> tuple[list[Listener], int]:
    """Listen on loopback; return the listeners and the port.  0 means any free port.

    With TLS it listens on 127.0.0.1 and, if there is IPv6, on ::1; the certificate's
    name is ``localhost``, which may mean either.  Without TLS it listens on 127.0.0.1.

    Raises:
        OSError: the port is taken.
    """
    for attempt in range(_ATTEMPTS):
        [first] = await trio.open_tcp_listeners(
            port, host="127.0.0.1", backlog=_BACKLOG
        )
        chosen = int(first.socket.getsockname()[1])
        if tls is None:
            return [first], chosen
        try:
            others = await _open_ipv6(chosen)
        except OSError:
            with trio.move_on_after(1, shield=True):
                await first.aclose()
            if port or attempt == _ATTEMPTS - 1:
                raise
            continue
        listeners: list[Listener] = [
            trio.SSLListener(each, tls, https_compatible=True)
            for each in (first, *others)
        ]
        return listeners, chosen
    raise AssertionError("the last attempt returns or raises")


async def _open_ipv6(port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host="::1", backlog=_BACKLOG)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise
        return []
