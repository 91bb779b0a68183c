"""A standstill of the whole process: SIGSTOP, a suspended machine, a blocked loop.

Frames that the brokers send meanwhile wait in the sockets.  Until the feeds have read them,
the newest frame is much older than the moment at which it is read.  So a gap that starts
then starts with the last event, and the end of the service first reads the sockets out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Final, NoReturn

import trio

from greeks_trio.feeds.health import FeedHealth

logger = logging.getLogger(__name__)

# The longest computation without a checkpoint takes far less.
STANDSTILL_S: Final = 1.0
# The end of the service reads the sockets for so long at most; full buffers of a socket
# take a tenth of that.
READ_OUT_LIMIT_S: Final = 3.0
_INTERVAL_S: Final = 0.1
# A socket that has brought nothing for so long is empty, if the process ran meanwhile.
_EMPTY_AFTER_S: Final = 0.5
# A look that comes so long after the one before says that the process did not run.
_LATE_S: Final = 0.3
# And after so long it is empty in any case.
_SURELY_EMPTY_AFTER_S: Final = 30.0


def boot_clock() -> float:
    """Return the seconds since the boot, with those in which the machine was suspended."""
    # The monotonic clock stands still while a Linux machine is suspended.
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class StandstillWatch:
    """Tells the feeds of a standstill, and of its end.

    Args:
        feeds: The health of each feed.
        clock: Seconds that go on during a standstill.
    """

    def __init__(
        self, feeds: Collection[FeedHealth], *, clock: Callable[[], float] = boot_clock
    ) -> None:
        self._feeds = feeds
        self._clock = clock
        self._alive_at = clock()
        self._resumed_at = 0.0
        self._on_time_since = 0.0

    async def run(self) -> NoReturn:
        """Look for a standstill again and again until cancelled."""
        while True:
            await trio.sleep(_INTERVAL_S)
            self.look()

    def look(self) -> None:
        """Note a standstill that has just ended, and feeds that have read all of it."""
        now = self._clock()
        stood_s, self._alive_at = now - self._alive_at, now
        if stood_s > _LATE_S:
            self._on_time_since = now
        if stood_s > STANDSTILL_S:
            logger.warning("service.stood_still seconds=%.1f", stood_s)
            self._resumed_at = now
            for feed in self._feeds:
                feed.stood_still(stood_s)
            return
        since_s = now - self._resumed_at
        on_time_s = now - self._on_time_since
        for feed in self._feeds:
            is_empty = min(on_time_s, feed.last_read.no_frame_for_s()) > _EMPTY_AFTER_S
            if feed.last_read.is_behind and (
                is_empty or since_s > _SURELY_EMPTY_AFTER_S
            ):
                feed.last_read.caught_up()

    async def read_out(self) -> None:
        """Wait until every feed has read the frames that came during a standstill.

        Without a standstill it returns at once.
        """
        self.look()
        with trio.move_on_after(READ_OUT_LIMIT_S):
            for feed in self._feeds:
                await feed.last_read.wait_caught_up()
