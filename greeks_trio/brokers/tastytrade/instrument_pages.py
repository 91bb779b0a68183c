"""The pages of instruments, requested side by side and remembered across connections."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

import trio

from greeks_trio.brokers.tastytrade.positions.instruments import (
    Instrument,
    InstrumentAnswers,
)
from greeks_trio.brokers.tastytrade.session import SERVER_TROUBLE, TastytradeSession
from greeks_trio.errors import CredentialsRejected, FeedInterrupted

logger = logging.getLogger(__name__)

# A book of 250 futures options takes some seconds; more at once could look like an attack.
MAX_AT_ONCE: Final = 6
# A page can change, but seldom does.
REFRESH_S: Final = 6 * 3600.0
# A page that is refused is hardly there a moment later.
ASK_AGAIN_S: Final = 300.0


class InstrumentPages:
    """Asks for the pages of instruments, each seldom."""

    def __init__(self) -> None:
        # By Tastytrade's symbol.
        self._pages: dict[str, Instrument] = {}
        self._refusals: dict[str, str] = {}
        # From when on the page is requested again.
        self._due_at: dict[str, float] = {}
        # Until then the server wants no request.
        self._stay_away_until = -inf

    async def get(
        self, session: TastytradeSession, symbols: Iterable[str]
    ) -> InstrumentAnswers:
        """Return the pages of these instruments; request those that are due.

        A page that cannot be read costs no other one.  If the server has a problem, the
        rest is not requested: a later call may do better.

        Raises:
            CredentialsRejected: The login was refused.
        """
        wanted = set(symbols)
        for known in (self._pages, self._refusals, self._due_at):
            for symbol in known.keys() - wanted:
                del known[symbol]
        now = trio.current_time()
        if now >= self._stay_away_until:
            due = (each for each in wanted if self._due_at.get(each, now) <= now)
            await self._ask(session, sorted(due))
        return InstrumentAnswers(dict(self._pages), dict(self._refusals))

    async def _ask(self, session: TastytradeSession, symbols: list[str]) -> None:
        left = deque(symbols)
        refused: list[CredentialsRejected] = []

        async def work() -> None:
            """Request one page after the other, until none is left."""
            while left:
                symbol = left.popleft()
                try:
                    page = await session.instrument(symbol)
                except CredentialsRejected as exc:
                    refused.append(exc)
                    left.clear()
                except FeedInterrupted as exc:
                    self._was_refused(symbol, exc)
                    if exc.http_status in SERVER_TROUBLE:
                        left.clear()
                else:
                    self._pages[symbol] = page
                    self._refusals.pop(symbol, None)
                    self._due_at[symbol] = trio.current_time() + REFRESH_S

        async with trio.open_nursery() as nursery:
            for _ in range(min(MAX_AT_ONCE, len(symbols))):
                nursery.start_soon(work, name="tastytrade instruments")
        if refused:
            raise refused[0]

    def _was_refused(self, symbol: str, exc: FeedInterrupted) -> None:
        # The caller names the fact that is missing; this is the reason.
        logger.debug("tastytrade.instrument_unread %s: %s", symbol, exc)
        self._refusals[symbol] = str(exc)
        now = trio.current_time()
        if exc.http_status not in SERVER_TROUBLE:
            self._due_at[symbol] = now + ASK_AGAIN_S
        elif exc.retry_after is not None:
            self._stay_away_until = now + exc.retry_after
