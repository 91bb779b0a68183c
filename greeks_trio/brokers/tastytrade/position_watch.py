"""Follows the positions beside a running stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.account_stream import AccountWatch
from greeks_trio.brokers.tastytrade.portfolio import Portfolio
from greeks_trio.brokers.tastytrade.session import TastytradeSession
from greeks_trio.brokers.tastytrade.subscriber import SubscriptionSender
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import BrokerError, CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls

# A fill of several legs comes as several messages, and the streamer may send many.
POSITIONS_DISTANCE_S: Final = 1.0
# An answer that may be wrong is compared with another one after this time.
CONFIRM_AFTER_S: Final = 5.0
# The server may ask for a longer distance, up to this.
MAX_POSITIONS_DISTANCE_S: Final = 300.0
_POSITIONS: Final = "positions"


class PositionWatch:
    """Reads the positions and applies the difference.

    Positions that cannot be read do not end the stream, not even when the login is
    refused: the quote token is valid for a day.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        session: TastytradeSession,
        subscriber: SubscriptionSender,
        shortfalls: Shortfalls,
        health: FeedHealth,
        current_config: Callable[[], TastytradeConfig],
        account_watch: AccountWatch | None,
    ) -> None:
        self._portfolio = portfolio
        self._session = session
        self._subscriber = subscriber
        self._shortfalls = shortfalls
        self._health = health
        self._current_config = current_config
        self._account_watch = account_watch

    async def apply(self) -> None:
        """Give the portfolio to the subscriber, the account streamer and the state."""
        if self._account_watch is not None:
            self._account_watch.follow(self._portfolio.account_ids)
        await self._subscriber.apply(self._portfolio.wanted)
        self._portfolio.report(self._shortfalls)
        if self._portfolio.unread is None:
            self._shortfalls.clear(_POSITIONS)
        else:
            self._shortfalls.add(_POSITIONS, self._portfolio.unread)

    async def run_positions(self, wait_due: Callable[[], Awaitable[None]]) -> NoReturn:
        """Read the positions whenever they are due; runs until cancelled.

        Raises:
            FeedInterrupted: ``wait_due`` raises it.
        """
        pause_s, is_due = self._next_read()
        while True:
            await trio.sleep(pause_s)
            if not is_due:
                await wait_due()
            pause_s, is_due = await self._refresh()

    def _next_read(self) -> tuple[float, bool]:
        """Return for how many seconds not to read again, and whether to read then."""
        if self._portfolio.needs_confirmation and self._portfolio.unread is None:
            return CONFIRM_AFTER_S, True
        return POSITIONS_DISTANCE_S, False

    async def _refresh(self) -> tuple[float, bool]:
        """Read the positions; return the same as `_next_read`."""
        try:
            await self._portfolio.read(self._session, self._current_config())
        except (FeedInterrupted, CredentialsRejected) as exc:
            self._health.count("positions.failed")
            self._shortfalls.add(_POSITIONS, f"positions cannot be read: {exc}")
            return _distance(exc), False
        await self.apply()
        return self._next_read()


def _distance(exc: BrokerError) -> float:
    """Return the seconds that the server asks for, within our own limits."""
    asked_s = exc.retry_after if isinstance(exc, FeedInterrupted) else None
    return max(POSITIONS_DISTANCE_S, min(asked_s or 0.0, MAX_POSITIONS_DISTANCE_S))
