"""IBKR's feed: one call is one connection, from the login to the end of the stream."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, NoReturn
from urllib.parse import urlsplit

import trio

from greeks_trio.brokers.ibkr.connection import Connection
from greeks_trio.brokers.ibkr.lines.rotation import Rotation
from greeks_trio.brokers.ibkr.portfolio import Portfolio
from greeks_trio.brokers.ibkr.rest import Pacer
from greeks_trio.brokers.ibkr.session import (
    OpenSession,
    check_login,
)
from greeks_trio.brokers.ibkr.session import (
    open_session as open_gateway_session,
)
from greeks_trio.brokers.ibkr.socket import OpenSocket, open_socket
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import IbkrConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.feed import FeedKind, FeedOutputs

logger = logging.getLogger(__name__)


class IbkrFeed:
    """Streams the Greeks of the accounts' open options and of the watch-list.

    This object outlives a connection.  It keeps the configuration, the positions, the
    pace of requests, the open gaps of contracts, and the turns on shared lines.
    """

    def __init__(
        self,
        config: IbkrConfig,
        outputs: FeedOutputs,
        *,
        open_session: OpenSession | None = None,
        open_socket: OpenSocket = open_socket,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._health = outputs.health
        self._health.accepts_delayed = config.accept_delayed
        self._health.kept_payloads = config.source_payload
        self._out = outputs.ticks
        self._open_session = open_session or partial(
            open_gateway_session, take_date=self._take_date
        )
        self._open_socket = open_socket
        self._jitter = jitter
        self._portfolio = Portfolio(outputs.health, outputs.positions)
        self._pacer = Pacer()
        self._gaps = ContractGaps(outputs.health.gaps)
        self._rotation = Rotation()
        self._reload = trio.Event()

    async def run_connection(self) -> NoReturn:
        """Run one connection: login, positions, websocket, ticks into the channel.

        Raises:
            FeedInterrupted: There is no connection, or it has ended.

        The error may come inside an `ExceptionGroup`.
        """
        self._health.connecting()
        config = self._config
        if self._health.sharing.takes_session:
            config = replace(config, compete=True)
        self._reload = trio.Event()
        async with self._open_session(config, self._pacer) as session:
            session_id = await session.log_in()
            self._health.sharing.session_taken()
            await self._portfolio.read_first(session, config)
            async with self._open_socket(config, session_id) as socket:
                connection = Connection(
                    socket,
                    session,
                    self._portfolio,
                    health=self._health,
                    out=self._out,
                    session_id=session_id,
                    gaps=self._gaps,
                    rotation=self._rotation,
                    current_config=lambda: self._config,
                    jitter=self._jitter,
                )
                await connection.run(partial(self._wait_positions_due, config))
        raise AssertionError("a connection ends by raising")

    def reload(self, config: IbkrConfig) -> None:
        """Take a new configuration and read the positions again.

        Applies only the difference: an unchanged contract misses no tick.
        """
        self._config = config
        self._health.accepts_delayed = config.accept_delayed
        self._health.kept_payloads = config.source_payload
        self._health.account_values.changed.wake()
        self._portfolio.retry_unknown()
        self._reload.set()

    async def _wait_positions_due(self, connected: IbkrConfig) -> None:
        with trio.move_on_after(self._config.positions_interval_s):
            await self._reload.wait()
        self._reload = trio.Event()
        if _gateway(self._config) != _gateway(connected):
            raise FeedInterrupted("the configuration names another IBKR gateway")

    def _take_date(self, date: datetime, round_trip_s: float) -> None:
        host = urlsplit(self._config.api_url).hostname
        self._health.date_read(date, round_trip_s, is_here=is_loopback(host))


FEED: Final[FeedKind[IbkrConfig]] = FeedKind(
    name="ibkr",
    broker="ibkr",
    section=lambda config: config.ibkr,
    make=IbkrFeed,
    check_login=check_login,
    is_exclusive=True,
)


def _gateway(config: IbkrConfig) -> tuple[object, ...]:
    """Return the settings that a connection cannot change."""
    return (config.api_url, config.ws_url, config.ca_file)
