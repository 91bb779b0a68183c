"""The switch of one broker's feed: what a person wants of it, and doing that.

A stop is a cancellation of this feed's scope alone, so it ends as the end of the service
ends it: what has been read is handed over, the broker is told goodbye, and everything that
the connection had opened is closed before the switch says that it is off.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.supervisor import Supervisor
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# The last frame's hand-over, the farewell and the close of each socket have a limit of a
# second or less each; REST connections close at once.
STOP_LIMIT_S: Final = 5.0


class FeedSwitch:
    """Runs one broker's feed while a person wants it, which is so from the start.

    Args:
        supervisor: Runs the connections.
        retry_now: What the supervisor waits for when it waits.

    Attributes:
        is_wanted: Whether the feed shall run.
    """

    def __init__(
        self, health: FeedHealth, supervisor: Supervisor, retry_now: WakeUp
    ) -> None:
        self.is_wanted = True
        self._health = health
        self._supervisor = supervisor
        self._retry_now = retry_now
        self._is_running = False
        self._is_over = False
        self._scope = trio.CancelScope()
        self._changed = WakeUp()
        # Who asks waits for the one who asked before: each sees what became of its wish.
        self._turn = trio.Lock()

    async def run(self, run_connection: Callable[[], Awaitable[object]]) -> None:
        """Run the feed whenever it is wanted, until cancelled.

        Ends the connection before it ends, in either case.
        """
        try:
            while True:
                while not self.is_wanted:
                    await self._changed.wait()
                self._is_running = True
                with trio.CancelScope() as self._scope:
                    await self._supervisor.run(run_connection)
                self._is_running = False
                self._turned_off()
                self._changed.wake()
        finally:
            self._is_running, self._is_over = False, True
            self._changed.wake()

    async def stop(self) -> bool:
        """End the feed, and keep it ended until `start`; nothing if it is stopped.

        Waits until the connection has really ended, at most `STOP_LIMIT_S` after its
        turn has come.  Returns whether it has; if not, it still will.  Cancelled, it has
        asked all the same.
        """
        async with self._turn:
            if self.is_wanted and not self._is_over:
                self.is_wanted = False
                self._health.stop_requested()
                if self._is_running:
                    self._scope.cancel()
                else:
                    self._turned_off()
            with trio.move_on_after(STOP_LIMIT_S):
                while self._is_running:
                    await self._changed.wait()
            if self._is_running:
                logger.warning("streaming.stop_takes_long broker=%s", self._broker)
            return not self._is_running

    async def start(self) -> None:
        """Run the feed again, or try at once if it waits; nothing if it is connected.

        Does not wait for the connection.
        """
        async with self._turn:
            if self._is_over:
                return
            if self.is_wanted:
                self.retry()
                return
            self.is_wanted = True
            self._supervisor.forgive()
            if not self._is_running:
                self._turned_on()
            self._changed.wake()

    def retry(self) -> None:
        """Try at once if there is no connection and the feed waits."""
        self._retry_now.wake()

    def _turned_off(self) -> None:
        self._health.stopped_by_request()
        logger.info("streaming.stopped broker=%s", self._broker)
        if self.is_wanted:  # again: the connection took so long to end
            self._turned_on()

    def _turned_on(self) -> None:
        self._health.start_requested()
        logger.info("streaming.started broker=%s", self._broker)

    @property
    def _broker(self) -> str:
        return self._health.broker
