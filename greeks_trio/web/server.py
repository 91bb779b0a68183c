"""Serves the HTTP interface inside the service's own nurseries."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, cast

import trio
from fastapi import APIRouter
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve

from greeks_trio.config import HttpConfig
from greeks_trio.errors import ConfigError
from greeks_trio.web.api import make_api
from greeks_trio.web.guard import Guard

logger = logging.getLogger(__name__)

# Connections that may wait to be accepted; a few dashboards ask once a second.
_BACKLOG: Final = 128
# A request is a line and some headers; whoever needs longer holds a connection only.
_READ_TIMEOUT_S: Final = 30


async def run_http(
    config: HttpConfig,
    routers: Iterable[APIRouter],
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer HTTP requests from these routers until cancelled.

    Reports its base URL, such as ``http://127.0.0.1:8080``, when the port accepts.  A
    request that is under way at the cancellation has no answer.

    Raises:
        ConfigError: the address cannot be had.
    """
    with await _bind(config) as listening:
        url = _base_url(listening)
        # Hypercorn closes what it is given, also when it is cancelled.
        settings = _settings(os.dup(listening.fileno()))
        app = Guard(cast("Any", make_api(routers)), config)
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve, cast("Any", app), settings, mode="asgi"),
                name="hypercorn",
            )
            logger.info("http.listening url=%s", url)
            task_status.started(url)


async def _bind(config: HttpConfig) -> socket.socket:
    """Return a socket that listens; ours, because only then port 0 has a number."""
    where = f"{config.host}:{config.port}"
    try:
        found = await trio.socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM
        )
        # A name such as localhost has several; IPv4 is what people type.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return _listen(family, address)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError(
            [f"GREEKS_HTTP_BIND is {where}, which cannot be used: {reason}."]
        ) from exc


def _listen(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Or a restart would wait a minute for the last connections to be forgotten.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _base_url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _settings(fileno: int) -> HypercornConfig:
    settings = HypercornConfig()
    settings.bind = [f"fd://{fileno}"]
    settings.backlog = _BACKLOG
    settings.accesslog = None
    # A logger of its own would write to stderr in its own format.
    settings.errorlog = logging.getLogger("hypercorn.error")
    settings.include_server_header = False
    settings.read_timeout = _READ_TIMEOUT_S
    settings.graceful_timeout = 0.5
    return settings
