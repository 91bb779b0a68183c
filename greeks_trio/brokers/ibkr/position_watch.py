"""Follows the positions and the watch-list beside a running stream."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.ibkr.portfolio import Portfolio
from greeks_trio.brokers.ibkr.session import GatewaySession
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.subscriber import SubscriptionSender
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls

_POSITIONS_RETRY_S: Final = 10.0
_SEARCH_RETRY_S: Final = 60.0

WaitDue = Callable[[], Awaitable[None]]


class PositionWatch:
    """Reads positions and watch-list and applies the difference.

    A gateway that does not answer does not end the stream.  The failure is shown, and
    the request is sent again soon, or after the end of a lock-out.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        session: GatewaySession,
        state: StreamState,
        subscriber: SubscriptionSender,
        shortfalls: Shortfalls,
        health: FeedHealth,
        current_config: Callable[[], IbkrConfig],
    ) -> None:
        self._portfolio = portfolio
        self._session = session
        self._state = state
        self._subscriber = subscriber
        self._shortfalls = shortfalls
        self._health = health
        self._current_config = current_config
        self._to_resolve = trio.Event()

    def apply(self) -> None:
        """Give the portfolio to the subscriber."""
        self._subscriber.apply(self._portfolio.view(self._current_config()))

    async def run_positions(self, wait_due: WaitDue) -> NoReturn:
        """Read the positions whenever they are due; runs until cancelled.

        Raises:
            FeedInterrupted: ``wait_due`` raises it.
        """
        pause_s = self._pause_s()
        while True:
            with trio.move_on_after(pause_s):
                await wait_due()
            pause_s = await self._refresh()

    async def run_watchlist(self) -> NoReturn:
        """Search the watched contracts without a position, symbol by symbol.

        Runs until cancelled; begins again after each reading of the positions.
        """
        while True:
            to_resolve = self._to_resolve = trio.Event()
            pause_s = await self._resolve()
            with trio.move_on_after(pause_s):
                await to_resolve.wait()

    async def _refresh(self) -> float:
        """Return after how many seconds to try again; infinity after a success."""
        try:
            await self._portfolio.read(self._session, self._current_config())
        except FeedInterrupted as exc:
            self._health.count("positions.failed")
            # A session that was opened anew refuses positions before the accounts.
            self._session.accounts.forget()
            words = f"positions could not be read: {exc}"
            return self._failed("positions", words, exc, _POSITIONS_RETRY_S)
        self._shortfalls.clear("positions")
        self.apply()
        self._to_resolve.set()
        return self._pause_s()

    def _pause_s(self) -> float:
        """Return when to read again an account that IBKR did not list."""
        if not self._portfolio.has_unread_accounts:
            return math.inf
        # A session that was opened anew refuses positions before the accounts.
        self._session.accounts.forget()
        return _POSITIONS_RETRY_S

    async def _resolve(self) -> float:
        try:
            while await self._portfolio.resolve_next(
                self._session, self._current_config()
            ):
                self.apply()
        except FeedInterrupted as exc:
            words = f"watched contracts could not be looked up: {exc}"
            return self._failed("watchlist", words, exc, _SEARCH_RETRY_S)
        self._shortfalls.clear("watchlist")
        return math.inf

    def _failed(
        self, about: str, words: str, exc: FeedInterrupted, retry_s: float
    ) -> float:
        self._shortfalls.add(about, words)
        # The session may be lost; the keep-alive asks for its state.
        self._state.request_failed()
        return max(retry_s, exc.retry_after or 0.0)
