"""Notices when Greeks come and none of them can be read.

Such a feed looks alive, because it has frames and heartbeats.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.feeds.shortfalls import Shortfalls

# The columns are announced before the first row; a server that is late is so by moments.
UNREADABLE_LIMIT_S: Final = 10.0
# After this time without another unreadable row, the state does not show it: the market
# may have closed, and no good row would come for days.
READABLE_AGAIN_S: Final = 300.0
_ROWS: Final = "rows"


class UnreadableGreeks:
    """Shows in the state that Greeks come and none can be read.

    Args:
        ask: Asks the server to announce its columns again.
    """

    def __init__(
        self, shortfalls: Shortfalls, ask: Callable[[], Awaitable[None]]
    ) -> None:
        self._shortfalls = shortfalls
        self._ask = ask
        self._reason = ""
        self._odd_at = 0.0
        self._odd = trio.Event()
        self._read = trio.Event()

    def take_odd(self, reason: str) -> None:
        """Note that Greeks could not be read; ``reason`` as it is counted."""
        self._reason = reason
        self._odd_at = trio.current_time()
        self._odd.set()

    def take_readable(self) -> None:
        """Note that Greeks could be read."""
        if self._odd.is_set():
            self._read.set()

    async def run(self) -> NoReturn:
        """Watch for Greeks that stay unreadable, until cancelled."""
        while True:
            await self._odd.wait()
            with trio.move_on_after(UNREADABLE_LIMIT_S):
                await self._read.wait()
            if not self._read.is_set():
                reason = f"Greeks come that cannot be read: {self._reason}"
                self._shortfalls.add(_ROWS, reason)
                await self._ask()
                await self._wait_end()
                self._shortfalls.clear(_ROWS)
            self._odd, self._read = trio.Event(), trio.Event()

    async def _wait_end(self) -> None:
        """Return when Greeks can be read again, or none came for a while."""
        while (left_s := self._odd_at + READABLE_AGAIN_S - trio.current_time()) > 0:
            with trio.move_on_after(left_s):
                await self._read.wait()
                return
