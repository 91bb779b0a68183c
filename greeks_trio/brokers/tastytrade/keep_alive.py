"""Keeps the DXLink connection alive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.wire.requests import encode_keepalive

KEEPALIVE_INTERVAL_S: Final = 30.0
# A server that wants keep-alives more often than this does not get them.
_SHORTEST_INTERVAL_S: Final = 1.0


class KeepAlive:
    """Sends the keep-alives of one connection."""

    def __init__(self) -> None:
        self._interval_s = KEEPALIVE_INTERVAL_S

    def take_timeout(self, timeout_s: float) -> None:
        """Take after how many seconds without a frame the server closes."""
        half_s = max(_SHORTEST_INTERVAL_S, timeout_s / 2.0)
        self._interval_s = min(KEEPALIVE_INTERVAL_S, half_s)

    async def run(self, send: Callable[[str], Awaitable[None]]) -> NoReturn:
        """Send a keep-alive on each interval, until cancelled.

        Raises:
            FeedInterrupted: The server takes no request.
        """
        while True:
            await trio.sleep(self._interval_s)
            await send(encode_keepalive())
