"""The end of a connection whose peer sends nothing any more.

Only silence that this process could hear counts.  Two things do not count:

- the time in which a frame is handed to the pipeline, because no frame is read then;
- a standstill of the whole process, for example a suspended machine.  The frames that
  came meanwhile wait in the socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

import trio

from greeks_trio.errors import FeedSilent

# The process must run without interruption through the last part of a silence, so that
# the reader has had time for everything that waits in the socket.
LAST_PART_S: Final = 1.0
# A timer that fires later than this fraction of the last part shows a standstill.
_LATE: Final = 0.25


class SilenceWatch:
    """Watches how long one connection has brought no frame.

    The reader calls `reading` before it waits for a frame and `heard` after it.

    Args:
        limit_s: Returns the longest allowed silence in seconds; a reload may change it.
    """

    def __init__(self, limit_s: Callable[[], float]) -> None:
        self._limit_s = limit_s
        # Since when the reader waits for a frame; `None` while it handles one.
        self._since: float | None = trio.current_time()

    def reading(self) -> None:
        """Note that the reader waits for the next frame from now on."""
        self._since = trio.current_time()

    def heard(self) -> None:
        """Note that a frame was read and is being handled."""
        self._since = None

    async def run(self, explain: Callable[[float], str]) -> NoReturn:
        """Wait until the peer has been silent for too long.

        Args:
            explain: Returns the message of the error for a limit in seconds.

        Raises:
            FeedSilent: The peer has been silent for too long.
        """
        while True:
            limit_s = self._limit_s()
            since = self._since
            if since is None:
                await trio.sleep(limit_s)
            elif await self._hears_nothing(since, limit_s):
                raise FeedSilent(explain(limit_s))

    async def _hears_nothing(self, since: float, limit_s: float) -> bool:
        """Wait for the end of the limit; return whether no frame has come."""
        last_part_s = min(LAST_PART_S, limit_s / 2)
        await trio.sleep_until(since + limit_s - last_part_s)
        if self._since != since:
            return False
        end = max(since + limit_s, trio.current_time() + last_part_s)
        await trio.sleep_until(end)
        was_late = trio.current_time() > end + _LATE * last_part_s
        return self._since == since and not was_late
