"""The positions and the contracts to stream, remembered across connections."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from greeks_trio.brokers.tastytrade.positions.positions import (
    AccountPositions,
    WantedContract,
    future_symbols,
    wanted_contracts,
)
from greeks_trio.brokers.tastytrade.session import TastytradeSession
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.feeds.shortfalls import Shortfalls
from greeks_trio.model.contracts import ContractKey, StreamerSymbol

logger = logging.getLogger(__name__)

_PORTFOLIO: Final = "portfolio"
_SYMBOLS: Final = "streamer symbols"


class Portfolio:
    """Reads the accounts; the last reading replaces the parts that cannot be read.

    Attributes:
        wanted: The contracts to stream since the last `read`; `None` for a contract
            with an unknown streamer symbol.
        unread: The reason why the positions are from an earlier reading; `None` if
            they are new.
    """

    def __init__(self, health: FeedHealth, position_log: PositionLog) -> None:
        self._health = health
        self._position_log = position_log
        self.unread: str | None = None
        self.wanted: dict[ContractKey, WantedContract | None] = {}
        self._positions: AccountPositions | None = None
        # The login and the accounts of the last reading.
        self._asked_for: tuple[object, object] | None = None
        # Tastytrade's symbol -> dxFeed's, where no rule leads there.  These never
        # change, so they outlive the connection.
        self._streamer_symbols: dict[str, StreamerSymbol] = {}
        # The shortfalls in the log.
        self._told: frozenset[str] = frozenset()

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts that are streamed."""
        return self._positions.account_ids if self._positions is not None else ()

    async def read_first(
        self, session: TastytradeSession, config: TastytradeConfig
    ) -> None:
        """Read for a new connection; take the last known positions if that fails.

        Streaming the last known positions is better than streaming nothing.  But a
        server that asks us to stay away for a time gets it.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: nothing can be read, and nothing is known.
        """
        if self._asked_for != (login_of(config), config.accounts):
            self._positions = None
        try:
            await self.read(session, config)
        except FeedInterrupted as exc:
            if self._positions is None or exc.retry_after is not None:
                raise
            self._health.count("positions.failed")
            await self._find_wanted(session, config, self._positions)
            self.unread = f"positions cannot be read: {exc}"

    async def read(self, session: TastytradeSession, config: TastytradeConfig) -> None:
        """Read the positions and record them.

        Raises:
            CredentialsRejected: the login was refused.
            FeedInterrupted: nothing can be read at present.
        """
        positions = await session.read_positions(config.accounts, self._positions)
        self._positions, self.unread = positions, None
        self._asked_for = login_of(config), config.accounts
        if positions.malformed:
            self._health.count("positions.malformed", positions.malformed)
        if positions.refused:
            self._health.count("positions.refused", positions.refused)
        self._position_log.read(
            positions.account_ids,
            positions.positions,
            incomplete=positions.incomplete,
        )
        await self._find_wanted(session, config, positions)

    def report(self, shortfalls: Shortfalls) -> None:
        """Show the shortfalls; log each one when it is new."""
        unknown = [str(key) for key, each in self.wanted.items() if each is None]
        problems = self._positions.problems if self._positions is not None else ()
        for thing, reasons in (
            (_PORTFOLIO, problems),
            (_SYMBOLS, [f"no streamer symbol for {key}" for key in unknown]),
        ):
            if reasons:
                shortfalls.add(thing, _in_short(reasons))
            else:
                shortfalls.clear(thing)
        for key in unknown:
            if key not in self._told:
                logger.warning("tastytrade.streamer_symbol_unknown contract=%s", key)
        for problem in problems:
            if problem not in self._told:
                logger.warning("tastytrade.position_unread problem=%s", problem)
        self._told = frozenset([*unknown, *problems])

    async def _find_wanted(
        self,
        session: TastytradeSession,
        config: TastytradeConfig,
        positions: AccountPositions,
    ) -> None:
        symbols = future_symbols(positions)
        known = {
            symbol: streamer_symbol
            for symbol, streamer_symbol in self._streamer_symbols.items()
            if symbol in symbols
        }
        missing = sorted(symbols - known.keys())
        self._streamer_symbols = {**known, **await session.streamer_symbols(missing)}
        wanted, unknown = wanted_contracts(
            positions, config.watchlist, self._streamer_symbols
        )
        self.wanted = {**wanted, **dict.fromkeys(unknown)}


def login_of(config: TastytradeConfig) -> tuple[object, ...]:
    """Return the settings that a connection cannot change."""
    return config.secret, config.refresh, config.api_url, config.streamer_url


def _in_short(reasons: Sequence[str]) -> str:
    """Return the first reason and how many more there are."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"
