"""Keeps the session and the socket alive, and notices a lost session.

Only requests keep the brokerage session alive; frames on the socket do not.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.ibkr.session import GatewaySession, Tickle
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.wire.events import TIC
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.waiting import WakeUp

logger = logging.getLogger(__name__)

# IBKR wants each of these at least once a minute; the jitter only shortens.
TIC_INTERVAL_S: Final = 45.0
TICKLE_INTERVAL_S: Final = 45.0
_JITTER: Final = 0.2
# A gateway that restarts its upstream answers with 503 for a while.  Frames in that time
# show that the session lives, and `SilenceWatch` watches their silence.
TICKLE_PATIENCE_S: Final = 90.0
_TICKLE_RETRY_S: Final = 5.0
# Frames that cast doubt come in swarms; one request answers them all.
_SWARM_S: Final = 0.2
# Between two requests.  The status shows a doubt for at least this time.
_DOUBT_SPACING_S: Final = 5.0
# Most doubts are wrong; requesting everything again is cheap, but not free.
_ASK_ALL_SPACING_S: Final = 15.0
_NO_LOGIN: Final = 401


class KeepAlive:
    """The two keep-alives of one connection."""

    def __init__(
        self,
        session: GatewaySession,
        state: StreamState,
        changes: WakeUp,
        shortfalls: Shortfalls,
        health: FeedHealth,
        jitter: Callable[[], float],
    ) -> None:
        self._session = session
        self._state = state
        self._changes = changes
        self._shortfalls = shortfalls
        self._health = health
        self._jitter = jitter
        self._asked_all_at = float("-inf")

    async def run_tic(self, send: Callable[[str], Awaitable[None]]) -> NoReturn:
        """Send the websocket's keep-alive; runs until cancelled."""
        while True:
            await trio.sleep(self._shortened(TIC_INTERVAL_S))
            await send(TIC)

    async def run_tickle(self) -> NoReturn:
        """Send the session's keep-alive, at once when a frame casts doubt on it.

        Raises:
            FeedInterrupted: The session is lost, or cannot be kept alive.
        """
        while True:
            with trio.move_on_after(self._pause_s()):
                while not self._state.must_ask:
                    await self._changes.wait()
                await trio.sleep(_SWARM_S)
            self._state.asking()
            tickle = await self._tickle()
            self._state.session_renewed(tickle.session_id)
            self._health.heartbeat()
            if not tickle.status.is_established:
                raise self._session.session_lost(tickle.status)
            if self._state.is_doubted:
                await self._ask_all_again()
            await trio.sleep(_DOUBT_SPACING_S)
            self._state.doubt_shown()

    def _pause_s(self) -> float:
        """Return the seconds until the next request, unless a frame casts doubt."""
        if not self._state.is_doubted:
            return self._shortened(TICKLE_INTERVAL_S)
        return max(0.0, self._asked_all_at + _ASK_ALL_SPACING_S - trio.current_time())

    async def _ask_all_again(self) -> None:
        """Start the streams again: a session that was lost for a moment has ended them."""
        now = trio.current_time()
        if now < self._asked_all_at + _ASK_ALL_SPACING_S:
            return
        self._asked_all_at = now
        try:
            await self._session.cross_bridge()
        except FeedInterrupted as exc:
            # The doubt remains, so that this is tried again.
            self._shortfalls.add("bridge", f"the IBKR session is not back: {exc}")
            return
        self._shortfalls.clear("bridge")
        self._record_loss(self._state.session_regained())

    def _record_loss(self, since: datetime | None) -> None:
        """Record a gap from the frame that called the session lost until now.

        Either the session was lost and is back, or the frame was wrong.  No sign tells
        the two apart.
        """
        if since is None or self._health.session().status == "connecting":
            return  # the gap of the feed is still open
        logger.warning("ibkr.session_in_doubt since=%s", since.isoformat())
        self._health.gaps.started(GapReason.SESSION_IN_DOUBT, since=since)
        self._health.gaps.ended()

    async def _tickle(self) -> Tickle:
        """Send the keep-alive until there is an answer, or for `TICKLE_PATIENCE_S`.

        During a lock-out it waits: more requests would prolong it, and the stream goes
        on.
        """
        failing_since: float | None = None
        while True:
            try:
                tickle = await self._session.tickle()
            except FeedInterrupted as exc:
                failure = exc
            else:
                self._shortfalls.clear("session")
                return tickle
            if failure.http_status == _NO_LOGIN:
                raise failure
            self._health.count("tickle.failed")
            self._shortfalls.add(
                "session", f"the IBKR session cannot be kept alive: {failure}"
            )
            if failure.retry_after is not None:
                failing_since = None
                await trio.sleep(failure.retry_after)
                continue
            now = trio.current_time()
            failing_since = now if failing_since is None else failing_since
            if now >= failing_since + TICKLE_PATIENCE_S:
                raise failure
            await trio.sleep(_TICKLE_RETRY_S)

    def _shortened(self, interval_s: float) -> float:
        return interval_s * (1 - _JITTER * self._jitter())
