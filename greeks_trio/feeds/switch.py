"""The switch of one feed, with which a person stops and starts it.

A stop cancels the scope of this feed only.  It has the same steps as the end of the
service: the ticks of the last frame are handed over, the broker is told that the client
leaves, and everything that the connection has opened is closed.  Then the switch is off.
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

# The steps at the end of a connection (hand over the last frame, unsubscribe, close each
# socket) have a limit of a second or less each; REST connections close at once.
STOP_LIMIT_S: Final = 5.0


class FeedSwitch:
    """Runs one feed while it is wanted.  It is wanted until a person stops it.

    Args:
        health: Told of every stop and start.
        supervisor: Runs the connections.
        retry_now: Ends a pause of the supervisor.

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
        # Requests are handled in order.  Each caller gets the outcome of its own request.
        self._turn = trio.Lock()

    async def run(self, run_connection: Callable[[], Awaitable[object]]) -> None:
        """Run the feed whenever it is wanted, until cancelled.

        The connection has ended when this returns or is cancelled.
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
        """Stop the feed until `start`; without effect if it is stopped.

        Waits until the connection has ended, but at most `STOP_LIMIT_S` once earlier
        requests are done.  A stop that is cancelled while it waits for the end of the
        connection has its effect all the same.

        Returns:
            Whether the connection has ended.  If not, it will end later.
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
        """Start the feed.  A feed that pauses between connections tries at once.

        Without effect if it is connected.  Does not wait for the connection.
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
        """End the pause between two connections, if there is one."""
        self._retry_now.wake()

    def _turned_off(self) -> None:
        self._health.stopped_by_request()
        logger.info("streaming.stopped broker=%s", self._broker)
        if self.is_wanted:  # started again before the connection had ended
            self._turned_on()

    def _turned_on(self) -> None:
        self._health.start_requested()
        logger.info("streaming.started broker=%s", self._broker)

    @property
    def _broker(self) -> str:
        return self._health.broker
