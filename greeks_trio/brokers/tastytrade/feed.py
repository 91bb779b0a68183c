"""Tastytrade's feed: one call is one connection, from the login to the end of the stream."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final, NoReturn
from urllib.parse import urlsplit

import trio

from greeks_trio.brokers.tastytrade.account_stream import AccountWatch
from greeks_trio.brokers.tastytrade.connection import Connection
from greeks_trio.brokers.tastytrade.login_check import check_login
from greeks_trio.brokers.tastytrade.portfolio import Portfolio, login_of
from greeks_trio.brokers.tastytrade.session import (
    OpenSession,
    TastytradeSession,
)
from greeks_trio.brokers.tastytrade.session import (
    open_session as log_in,
)
from greeks_trio.brokers.tastytrade.socket import (
    QUOTE_SERVER,
    OpenSocket,
    open_socket,
)
from greeks_trio.brokers.tastytrade.wire.requests import MAX_REQUEST_BYTES
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.feed import FeedKind, FeedOutputs

logger = logging.getLogger(__name__)

# A server that found a request too long gets requests of half the length, down to this.
MIN_REQUEST_BYTES: Final = 500


class TastytradeFeed:
    """Streams the Greeks of the accounts' open options and of the watch-list.

    This object outlives a connection.  It keeps the configuration, the positions, the
    length of requests, and the open gaps of contracts.
    """

    def __init__(
        self,
        config: TastytradeConfig,
        outputs: FeedOutputs,
        *,
        open_session: OpenSession | None = None,
        open_socket: OpenSocket = open_socket,
    ) -> None:
        self._config = config
        self._health = outputs.health
        self._health.accepts_delayed = config.accept_delayed
        self._health.kept_payloads = config.source_payload
        self._out = outputs.ticks
        self._open_session = open_session or partial(log_in, take_date=self._take_date)
        self._open_socket = open_socket
        self._portfolio = Portfolio(outputs.health, outputs.positions)
        self._gaps = ContractGaps(outputs.health.gaps)
        self._request_bytes = MAX_REQUEST_BYTES
        # The login that Tastytrade has accepted last in this run.
        self._accepted_login: tuple[object, ...] | None = None
        # Set when the positions should be read before their interval is over.
        self._refresh = trio.Event()

    async def run_connection(self) -> NoReturn:
        """Run one connection: login, positions, websocket, ticks into the channel.

        Raises:
            FeedInterrupted: There is no connection, or it has ended.
            CredentialsRejected: Tastytrade refused the login.

        Both may come inside an `ExceptionGroup`.
        """
        self._health.connecting()
        config = self._config
        self._refresh = trio.Event()
        async with self._session(config) as session:
            await self._portfolio.read_first(session, config)
            if self._portfolio.unread is not None:
                self._refresh_soon()
            token = await session.quote_token()
            async with self._open_socket(token.url, QUOTE_SERVER) as socket:
                connection = Connection(
                    socket,
                    session,
                    self._portfolio,
                    health=self._health,
                    out=self._out,
                    token=token,
                    gaps=self._gaps,
                    current_config=lambda: self._config,
                    account_watch=self._account_watch(config, session),
                    request_bytes=self._request_bytes,
                )
                try:
                    await connection.run(partial(self._wait_positions_due, config))
                finally:
                    if socket.was_request_too_long:
                        self._shorten_requests()
        raise AssertionError("a connection ends by raising")

    @asynccontextmanager
    async def _session(
        self, config: TastytradeConfig
    ) -> AsyncIterator[TastytradeSession]:
        """Log in; a refusal says whether this login has worked in this run."""
        try:
            async with self._open_session(config) as session:
                self._accepted_login = login_of(config)
                yield session
        except CredentialsRejected as exc:
            exc.worked_before = self._accepted_login == login_of(config)
            raise

    def reload(self, config: TastytradeConfig) -> None:
        """Take a new configuration and read the positions again.

        Applies only the difference: an unchanged contract misses no tick.  Another login
        or address ends the connection, and the next one has it.
        """
        self._config = config
        self._health.accepts_delayed = config.accept_delayed
        self._health.kept_payloads = config.source_payload
        self._health.account_values.changed.wake()
        self._health.market_metrics.wanted_changed.wake()
        self._refresh.set()

    async def _wait_positions_due(self, connected: TastytradeConfig) -> None:
        with trio.move_on_after(self._config.positions_interval_s):
            await self._refresh.wait()
        self._refresh = trio.Event()
        if login_of(self._config) != login_of(connected):
            raise FeedInterrupted("the configuration names another Tastytrade login")

    def _account_watch(
        self, config: TastytradeConfig, session: TastytradeSession
    ) -> AccountWatch | None:
        """Return the watch on the accounts; `None` without an account streamer."""
        if config.streamer_url is None:
            return None
        return AccountWatch(
            config.streamer_url,
            session,
            self._health,
            changed=self._refresh_soon,
            open_socket=self._open_socket,
        )

    def _refresh_soon(self) -> None:
        self._refresh.set()

    def _shorten_requests(self) -> None:
        self._request_bytes = max(MIN_REQUEST_BYTES, self._request_bytes // 2)
        logger.warning("tastytrade.requests_shortened bytes=%d", self._request_bytes)

    def _take_date(self, date: datetime, round_trip_s: float) -> None:
        host = urlsplit(self._config.api_url).hostname
        self._health.date_read(date, round_trip_s, is_here=is_loopback(host))


FEED: Final[FeedKind[TastytradeConfig]] = FeedKind(
    name="tastytrade",
    broker="tastytrade",
    section=lambda config: config.tastytrade,
    make=TastytradeFeed,
    check_login=check_login,
)
