"""The Tastytrade feed: one call is one connection, from login to its end."""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import httpx2
import trio

from greeks_trio.brokers.feed import TickSender
from greeks_trio.brokers.tastytrade.account_stream import run_account_stream
from greeks_trio.brokers.tastytrade.connection import DxlinkConnection
from greeks_trio.brokers.tastytrade.positions import (
    Portfolio,
    Wanted,
    future_symbols,
    wanted_contracts,
)
from greeks_trio.brokers.tastytrade.session import (
    MakeTransport,
    TastytradeSession,
    open_session,
)
from greeks_trio.brokers.tastytrade.websocket import OpenSocket, open_socket
from greeks_trio.config import TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.model.records import Broker
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)

# A fill of several legs comes as several messages, and the streamer may be chatty.
POSITIONS_DISTANCE_S: Final = 1.0
# The longest that the server may keep us from them.
MAX_POSITIONS_DISTANCE_S: Final = 300.0


class TastytradeFeed:
    """Tastytrade's stream into us, across reconnects; a `Feed`."""

    def __init__(
        self,
        config: TastytradeConfig,
        health: SessionHealth,
        out: TickSender,
        *,
        make_transport: MakeTransport = httpx2.AsyncHTTPTransport,
        open_socket: OpenSocket = open_socket,
    ) -> None:
        self._config = config
        self._health = health
        self._out = out
        self._make_transport = make_transport
        self._open_socket = open_socket
        # Set when the positions should be read before their interval is over.
        self._refresh = trio.Event()
        # Tastytrade's symbol -> dxFeed's, where no rule leads there.  These never
        # change, so they outlive the connection.
        self._streamer_symbols: dict[str, StreamerSymbol] = {}
        # Contracts without one that have been told of.
        self._told_unknown: frozenset[ContractKey] = frozenset()

    @property
    def broker(self) -> Broker:
        """Tastytrade."""
        return "tastytrade"

    def reload(self, config: TastytradeConfig) -> None:
        """Take a new configuration and read the positions again.

        Applies the difference only.  Another login or address ends the connection, and
        the next one has it.
        """
        self._config = config
        self._refresh.set()

    async def run_connection(self) -> NoReturn:
        """Run one connection from login to its end.

        Raises:
            FeedInterrupted: the connection ended; another one may work.
            CredentialsRejected: Tastytrade refused the login.

        Both may come inside an `ExceptionGroup`.
        """
        self._health.connecting()
        self._refresh = trio.Event()
        config = self._config
        async with open_session(config, self._make_transport) as session:
            portfolio = await self._read_portfolio(session)
            wanted = await self._wanted(session, portfolio)
            token = await session.quote_token()
            async with self._open_socket(token.url) as socket:
                connection = DxlinkConnection(socket, token, self._health, self._out)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.run_reader)
                    nursery.start_soon(connection.run_silence_watch)
                    await connection.open_feed()
                    nursery.start_soon(connection.run_keep_alive)
                    nursery.start_soon(connection.run_resubscriber)
                    await self._subscribe(connection, wanted)
                    self._health.connected()
                    if config.streamer_url is not None:
                        nursery.start_soon(
                            self._run_account_stream,
                            config.streamer_url,
                            session,
                            portfolio.account_ids,
                        )
                    await self._run_refreshes(config, session, connection)
        raise FeedInterrupted("the connection ended")

    async def _run_account_stream(
        self, url: str, session: TastytradeSession, accounts: tuple[str, ...]
    ) -> None:
        """Watch for position changes until cancelled."""
        await run_account_stream(
            url,
            session,
            accounts,
            self._health,
            changed=self._refresh_soon,
            open_socket=self._open_socket,
        )

    def _refresh_soon(self) -> None:
        self._refresh.set()

    async def _run_refreshes(
        self,
        config: TastytradeConfig,
        session: TastytradeSession,
        connection: DxlinkConnection,
    ) -> NoReturn:
        """Read the positions on an interval and when asked to, until cancelled.

        Positions that cannot be read leave the market data running as it is.
        """
        distance_s = POSITIONS_DISTANCE_S
        while True:
            await trio.sleep(distance_s)
            distance_s = POSITIONS_DISTANCE_S
            with trio.move_on_after(self._config.positions_interval_s):
                await self._refresh.wait()
            self._refresh = trio.Event()
            if _login(self._config) != _login(config):
                raise FeedInterrupted("the configuration names another login")
            try:
                portfolio = await self._read_portfolio(session)
                wanted = await self._wanted(session, portfolio)
            except FeedInterrupted as exc:
                self._health.count("positions.failed")
                self._health.degraded(f"positions cannot be read: {exc}")
                # The account stream may call for positions all the time.
                asked_s = min(exc.retry_after or 0.0, MAX_POSITIONS_DISTANCE_S)
                distance_s = max(POSITIONS_DISTANCE_S, asked_s)
                continue
            await self._subscribe(connection, wanted)
            self._health.connected()

    async def _read_portfolio(self, session: TastytradeSession) -> Portfolio:
        portfolio = await session.read_portfolio(self._config.accounts)
        if portfolio.malformed:
            self._health.count("positions.malformed", portfolio.malformed)
        self._health.positions_read(portfolio.account_ids, portfolio.positions)
        return portfolio

    async def _wanted(
        self, session: TastytradeSession, portfolio: Portfolio
    ) -> dict[ContractKey, Wanted | None]:
        """Return what to stream; `None` where the streamer symbol is not known."""
        missing = sorted(future_symbols(portfolio) - self._streamer_symbols.keys())
        self._streamer_symbols |= await session.streamer_symbols(missing)
        wanted, unknown = wanted_contracts(
            portfolio, self._config.watchlist, self._streamer_symbols
        )
        for key in unknown:
            if key not in self._told_unknown:
                logger.warning("tastytrade.streamer_symbol_unknown contract=%s", key)
        self._told_unknown = frozenset(unknown)
        return {**wanted, **dict.fromkeys(unknown)}

    async def _subscribe(
        self, connection: DxlinkConnection, wanted: dict[ContractKey, Wanted | None]
    ) -> None:
        known = {key: each for key, each in wanted.items() if each is not None}
        await connection.subscribe(known)
        self._health.subscriptions(wanted=len(wanted), live=len(known))


def _login(config: TastytradeConfig) -> tuple[object, ...]:
    """Return what a connection cannot change while it lives."""
    return config.secret, config.refresh, config.api_url, config.streamer_url
