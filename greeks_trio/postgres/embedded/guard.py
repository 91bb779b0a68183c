"""Start the embedded server again whenever it ends.

The kernel may kill it, for instance when memory runs out.  The service spools its ticks
meanwhile, so the attempts never stop.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.binaries import ServerVersion
from greeks_trio.postgres.embedded.process import STOP_LIMIT_S
from greeks_trio.postgres.embedded.server import EmbeddedServer, start_server
from greeks_trio.waiting import Backoff

logger = logging.getLogger(__name__)

_MIN_DELAY_S: Final = 0.5
_MAX_DELAY_S: Final = 30.0
# After a run of this length the delay starts again from its minimum.
_HEALTHY_AFTER_S: Final = 120.0


@asynccontextmanager
async def open_guarded_server(
    data_dir: Path | None = None,
    *,
    port: int = 0,
    version: ServerVersion = 18,
    settings: Mapping[str, str] | None = None,
    backoff: Backoff | None = None,
) -> AsyncIterator[DatabaseConfig]:
    """Do as `open_embedded_server`, and start the server again whenever it ends.

    Port, password and data stay the same.  A server of ``db start`` is used as well, and
    left running at the end.  ``backoff`` gives the delay between starts.
    The block runs inside a nursery, so its exceptions arrive in an `ExceptionGroup`.

    Raises:
        StoreUnavailable: the first start failed, or another process uses the directory.
    """
    server = EmbeddedServer(data_dir, version, settings or {}, port=port)
    backoff = backoff or Backoff(min_delay_s=_MIN_DELAY_S, max_delay_s=_MAX_DELAY_S)
    try:
        await trio.to_thread.run_sync(server.prepare)
        await start_server(server)
        database = await trio.to_thread.run_sync(server.make_database)
        server.keeps_port = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_guard, server, backoff, name="embedded server")
            try:
                yield database
            finally:
                # Before the server is stopped, so that it is not started again.
                nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(STOP_LIMIT_S + 5, shield=True):
            await trio.to_thread.run_sync(server.close)


async def run_guard(server: EmbeddedServer, backoff: Backoff) -> NoReturn:
    """Start the server again whenever it has ended, until cancelled.

    It runs in the main thread, as `EmbeddedServer.spawn` requires.  The caller that
    cancels this stops the server afterwards; that also ends the waiting thread.
    """
    while True:
        started_at = trio.current_time()
        status = await trio.to_thread.run_sync(
            server.wait_ended, abandon_on_cancel=True
        )
        ended_at = trio.current_time()
        logger.critical("embedded.ended status=%d", status)
        if ended_at - started_at >= _HEALTHY_AFTER_S:
            backoff.reset()
        server.is_ready = False
        await _start_again(server, backoff)
        logger.warning(
            "embedded.started_again after_s=%.1f", trio.current_time() - ended_at
        )


async def _start_again(server: EmbeddedServer, backoff: Backoff) -> None:
    """Try until the server accepts connections, after a delay each time."""
    while not server.is_ready:
        await backoff.wait()
        try:
            await trio.to_thread.run_sync(server.clear_dead_server)
            # No limit: a recovery that is interrupted begins again from the start.
            await start_server(server, limit_s=None)
        except (StoreUnavailable, OSError) as exc:
            logger.error(
                "embedded.start_failed attempt=%d reason=%s", backoff.attempts, exc
            )
