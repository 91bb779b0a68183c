"""The Tastytrade feed: one call is one connection, from login to its end."""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import httpx2
import trio

from greeks_trio.brokers.tastytrade.account_stream import AccountWatch
from greeks_trio.brokers.tastytrade.connection import DxlinkConnection
from greeks_trio.brokers.tastytrade.portfolio import Holdings, login_of
from greeks_trio.brokers.tastytrade.session import (
    MakeTransport,
    TastytradeSession,
    check_login,
    open_session,
)
from greeks_trio.brokers.tastytrade.websocket import OpenSocket, open_socket
from greeks_trio.brokers.tastytrade.wire.requests import MAX_REQUEST_BYTES
from greeks_trio.config.settings import TastytradeConfig
from greeks_trio.errors import BrokerError, CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.feed import FeedKind, FeedOutputs

logger = logging.getLogger(__name__)

# A fill of several legs comes as several messages, and the streamer may be chatty.
POSITIONS_DISTANCE_S: Final = 1.0
# The longest that the server may keep us from them.
MAX_POSITIONS_DISTANCE_S: Final = 300.0
# A server that found a request too long gets them half as long, down to this.
MIN_REQUEST_BYTES: Final = 500
_POSITIONS: Final = "positions"


class TastytradeFeed:
    """Tastytrade's stream into us, across reconnects; a `Feed`."""

    def __init__(
        self,
        config: TastytradeConfig,
        outputs: FeedOutputs,
        *,
        make_transport: MakeTransport = httpx2.AsyncHTTPTransport,
        open_socket: OpenSocket = open_socket,
    ) -> None:
        self._config = config
        self._health = outputs.health
        self._out = outputs.ticks
        self._make_transport = make_transport
        self._open_socket = open_socket
        # Set when the positions should be read before their interval is over.
        self._refresh = trio.Event()
        self._holdings = Holdings(outputs.health, outputs.positions)
        self._request_bytes = MAX_REQUEST_BYTES

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
            unread = await self._holdings.read_first(session, config)
            token = await session.quote_token()
            async with self._open_socket(token.url) as socket:
                connection = DxlinkConnection(
                    socket,
                    token,
                    self._health,
                    self._out,
                    request_bytes=self._request_bytes,
                    silence_limit_s=config.silence_limit_s,
                )
                if unread is not None:
                    connection.condition.lack(_POSITIONS, unread)
                    self._refresh_soon()
                try:
                    await self._stream(config, session, connection)
                finally:
                    if connection.was_too_long:
                        self._shorten_requests()
        raise FeedInterrupted("the connection ended")

    async def _stream(
        self,
        config: TastytradeConfig,
        session: TastytradeSession,
        connection: DxlinkConnection,
    ) -> None:
        """Stream over the connection until its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run_reader)
            nursery.start_soon(connection.run_silence_watch)
            await connection.open_feed()
            nursery.start_soon(connection.run_upkeep)
            await self._subscribe(connection)
            connection.condition.stands()
            watch = self._watch(config, session)
            if watch is not None:
                nursery.start_soon(watch.run)
            await self._run_refreshes(config, session, connection, watch)

    def _watch(
        self, config: TastytradeConfig, session: TastytradeSession
    ) -> AccountWatch | None:
        """Return what watches the accounts, `None` if positions go by the interval."""
        if config.streamer_url is None:
            return None
        watch = AccountWatch(
            config.streamer_url,
            session,
            self._health,
            changed=self._refresh_soon,
            open_socket=self._open_socket,
        )
        watch.follow(self._holdings.account_ids)
        return watch

    async def _subscribe(self, connection: DxlinkConnection) -> None:
        await connection.subscribe(self._holdings.wanted)
        self._holdings.tell(connection.condition)

    def _refresh_soon(self) -> None:
        self._refresh.set()

    def _shorten_requests(self) -> None:
        self._request_bytes = max(MIN_REQUEST_BYTES, self._request_bytes // 2)
        logger.warning("tastytrade.requests_shortened bytes=%d", self._request_bytes)

    async def _run_refreshes(
        self,
        config: TastytradeConfig,
        session: TastytradeSession,
        connection: DxlinkConnection,
        watch: AccountWatch | None,
    ) -> NoReturn:
        """Read the positions on an interval and when asked to, until cancelled.

        Positions that cannot be read leave the market data running as it is, also when
        it is the login that is refused: the quote token is good for a day.
        """
        distance_s = POSITIONS_DISTANCE_S
        while True:
            await trio.sleep(distance_s)
            distance_s = POSITIONS_DISTANCE_S
            with trio.move_on_after(self._config.positions_interval_s):
                await self._refresh.wait()
            self._refresh = trio.Event()
            if login_of(self._config) != login_of(config):
                raise FeedInterrupted("the configuration names another login")
            try:
                await self._holdings.read(session, self._config)
            except (FeedInterrupted, CredentialsRejected) as exc:
                self._health.count("positions.failed")
                reason = f"positions cannot be read: {exc}"
                connection.condition.lack(_POSITIONS, reason)
                distance_s = _positions_distance(exc)
                continue
            if watch is not None:
                watch.follow(self._holdings.account_ids)
            await self._subscribe(connection)
            connection.condition.mended(_POSITIONS)


FEED: Final[FeedKind[TastytradeConfig]] = FeedKind(
    name="tastytrade",
    broker="tastytrade",
    section=lambda config: config.tastytrade,
    make=TastytradeFeed,
    check_login=check_login,
)


def _positions_distance(exc: BrokerError) -> float:
    """Return the seconds to stay away; the account stream may ask all the time."""
    asked_s = exc.retry_after if isinstance(exc, FeedInterrupted) else None
    return max(POSITIONS_DISTANCE_S, min(asked_s or 0.0, MAX_POSITIONS_DISTANCE_S))
