"""The HTTP server, which runs inside the nurseries of the service."""

from __future__ import annotations

import logging
import math
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias, cast

import trio
from fastapi import APIRouter

from greeks_trio.api.access.browser_sessions import BrowserSessions, make_router
from greeks_trio.api.access.guard import Guard
from greeks_trio.api.access.limits import LIMITS, App, Limits
from greeks_trio.api.access.open_paths import PAGES
from greeks_trio.api.app import make_api, methods_of
from greeks_trio.api.connection import Connection, make_settings, turn_away
from greeks_trio.api.page_files import PageFiles
from greeks_trio.api.routes import page
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError

logger = logging.getLogger(__name__)

# Connections that may wait to be accepted.  A few dashboards connect once a second.
_BACKLOG: Final = 128
# The address at which this machine itself reaches a socket that listens on all of its own.
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
# At most one line about full connections in this time.
_TELL_EVERY_S: Final = 60.0


OpenSocket: TypeAlias = Callable[[HttpConfig], Awaitable[socket.socket]]


async def run_http(
    config: HttpConfig,
    routers: Iterable[APIRouter],
    *,
    limits: Limits = LIMITS,
    open_socket: OpenSocket | None = None,
    counts: Counter[str] | None = None,
    pages: Mapping[str, str] = PAGES,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer HTTP requests from these routers until cancelled.

    A request that is under way at the cancellation gets no answer.

    Args:
        config: The address and the token.
        routers: The paths.
        limits: The bounds for clients.
        open_socket: Returns the listening socket; by default `bind` does.
        counts: Counts the connections that are ``dropped`` and ``refused``.
        pages: The file of the page at each address; the addresses are those of `PAGES`.
        task_status: Told the base URL, such as ``http://127.0.0.1:8080``, when the port
            accepts connections.

    Raises:
        ConfigError: the address cannot be used.
    """
    with await (open_socket or bind)(config) as listening:
        url = _url(listening, from_here=False)
        page_url = f"{_url(listening, from_here=True)}/"
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        app = _make_app(config, routers, limits, pages)
        door = _Door(app, limits, Counter() if counts is None else counts)
        async with listener:
            logger.info("http.listening page=%s url=%s", page_url, url)
            if not is_loopback(config.host):
                logger.warning("http.unencrypted url=%s token=readable-on-the-way", url)
            task_status.started(url)
            await trio.serve_listeners(door.admit, [listener])


def _make_app(
    config: HttpConfig,
    routers: Iterable[APIRouter],
    limits: Limits,
    page_names: Mapping[str, str],
) -> App:
    sessions = BrowserSessions(config.token)
    login = make_router(sessions, wrong_token_s=limits.wrong_token_s)
    pages = page.make_router(PageFiles(), page_names)
    api = make_api([*routers, login, pages], needs_token=bool(config.token))
    return Guard(
        cast("Any", api),
        config,
        sessions,
        methods_of=partial(methods_of, api),
        limits=limits,
    )


class _Door:
    """Serves clients up to the limit of connections.

    When every place is taken, the connection that has waited longest for its client loses
    its place.  So clients that only hold connections do not keep the others out.
    """

    def __init__(self, app: App, limits: Limits, counts: Counter[str]) -> None:
        self._app = app
        self._limits = limits
        self._counts = counts
        self._settings = make_settings(limits)
        # Oldest first.
        self._inside: dict[Connection, None] = {}
        self._told_at = -math.inf

    async def admit(self, stream: trio.SocketStream) -> None:
        """Serve a client until it leaves, or turn it away."""
        if len(self._inside) >= self._limits.connections and not self._make_place():
            self._count("refused")
            await turn_away(stream)
            return
        connection = Connection(stream, self._app, self._settings, self._limits)
        self._inside[connection] = None
        try:
            await connection.run()
        finally:
            self._inside.pop(connection, None)

    def _make_place(self) -> bool:
        """Drop one connection that waits for its client; return whether there was one."""
        waiting = (each for each in self._inside if each.waits_for_client)
        oldest = min(waiting, key=lambda each: each.waits_since, default=None)
        if oldest is None:
            return False
        del self._inside[oldest]
        oldest.drop()
        self._count("dropped")
        return True

    def _count(self, outcome: str) -> None:
        self._counts[outcome] += 1
        if trio.current_time() - self._told_at >= _TELL_EVERY_S:
            self._told_at = trio.current_time()
            logger.warning(
                "http.connections_full limit=%d dropped=%d refused=%d",
                self._limits.connections,
                self._counts["dropped"],
                self._counts["refused"],
            )


async def bind_or_any(config: HttpConfig) -> socket.socket:
    """Return a listening socket at the address, or at any free port of its host."""
    try:
        return await bind(config)
    except ConfigError:
        return await bind(replace(config, port=0))


async def bind(config: HttpConfig) -> socket.socket:
    """Return a listening socket.  Opened here, because that gives port 0 its number.

    Raises:
        ConfigError: the address cannot be used.
    """
    where = f"{config.host}:{config.port}"
    try:
        found = await trio.socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM
        )
        # A name such as localhost has several addresses.  People usually type IPv4.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return _listen(family, address)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError(
            [
                f"HTTP cannot listen at {where}: {reason}."
                " Choose another address with GREEKS_HTTP_BIND or --http."
            ]
        ) from exc


def _listen(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without this, a restart would fail until the kernel forgets old connections.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _url(listening: socket.socket, *, from_here: bool) -> str:
    """Return the address, or the one for programs on this machine."""
    host, port = listening.getsockname()[:2]
    if from_here:
        host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
