"""The Tastytrade feed: one call is one connection, from login to its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NoReturn

import httpx2
import trio

from greeks_trio.brokers.feed import TickSender
from greeks_trio.brokers.tastytrade.account_stream import AccountWatch
from greeks_trio.brokers.tastytrade.connection import DxlinkConnection
from greeks_trio.brokers.tastytrade.dxlink_requests import MAX_REQUEST_BYTES
from greeks_trio.brokers.tastytrade.portfolio import (
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
from greeks_trio.errors import BrokerError, CredentialsRejected, FeedInterrupted
from greeks_trio.model.contracts import ContractKey, StreamerSymbol
from greeks_trio.model.records import Broker
from greeks_trio.pipeline.health import SessionHealth

logger = logging.getLogger(__name__)

# A fill of several legs comes as several messages, and the streamer may be chatty.
POSITIONS_DISTANCE_S: Final = 1.0
# The longest that the server may keep us from them.
MAX_POSITIONS_DISTANCE_S: Final = 300.0
# A server that found a request too long gets them half as long, down to this.
MIN_REQUEST_BYTES: Final = 500
_POSITIONS, _PORTFOLIO, _SYMBOLS = "positions", "portfolio", "streamer symbols"


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
        # What could be read last time stands in for what cannot be read.
        self._portfolio: Portfolio | None = None
        # By which login and of which accounts that was.
        self._asked_for: tuple[object, object] | None = None
        # What was missing and has been told of.
        self._told: frozenset[str] = frozenset()
        self._request_bytes = MAX_REQUEST_BYTES

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
            portfolio, unread = await self._first_portfolio(session)
            wanted = await self._wanted(session, portfolio)
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
                try:
                    await self._stream(config, session, connection, wanted)
                finally:
                    if connection.was_too_long:
                        self._shorten_requests()
        raise FeedInterrupted("the connection ended")

    async def _stream(
        self,
        config: TastytradeConfig,
        session: TastytradeSession,
        connection: DxlinkConnection,
        wanted: dict[ContractKey, Wanted | None],
    ) -> None:
        """Stream over the connection until its end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run_reader)
            nursery.start_soon(connection.run_silence_watch)
            await connection.open_feed()
            nursery.start_soon(connection.run_upkeep)
            await connection.subscribe(wanted)
            self._tell(connection, wanted)
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
        watch.follow(self._followed)
        return watch

    @property
    def _followed(self) -> tuple[str, ...]:
        return self._portfolio.account_ids if self._portfolio is not None else ()

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
            if _login(self._config) != _login(config):
                raise FeedInterrupted("the configuration names another login")
            try:
                portfolio = await self._read_portfolio(session)
                wanted = await self._wanted(session, portfolio)
            except (FeedInterrupted, CredentialsRejected) as exc:
                self._health.count("positions.failed")
                reason = f"positions cannot be read: {exc}"
                connection.condition.lack(_POSITIONS, reason)
                distance_s = _positions_distance(exc)
                continue
            if watch is not None:
                watch.follow(self._followed)
            await connection.subscribe(wanted)
            self._tell(connection, wanted)
            connection.condition.mended(_POSITIONS)

    async def _first_portfolio(
        self, session: TastytradeSession
    ) -> tuple[Portfolio, str | None]:
        """Return the portfolio, or the last one known and why there is no newer.

        What was held a moment ago is better streamed than nothing, but not before the
        time that the server asked for.
        """
        if self._asked_for != (_login(self._config), self._config.accounts):
            self._portfolio = None
        try:
            return await self._read_portfolio(session), None
        except FeedInterrupted as exc:
            if self._portfolio is None or exc.retry_after is not None:
                raise
            self._health.count("positions.failed")
            self._refresh_soon()
            return self._portfolio, f"positions cannot be read: {exc}"

    async def _read_portfolio(self, session: TastytradeSession) -> Portfolio:
        config = self._config
        portfolio = await session.read_portfolio(config.accounts, self._portfolio)
        self._portfolio = portfolio
        self._asked_for = _login(config), config.accounts
        if portfolio.malformed:
            self._health.count("positions.malformed", portfolio.malformed)
        if portfolio.refused:
            self._health.count("positions.refused", portfolio.refused)
        self._health.positions_read(
            portfolio.account_ids,
            portfolio.positions,
            incomplete=portfolio.incomplete,
        )
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
        return {**wanted, **dict.fromkeys(unknown)}

    def _tell(
        self,
        connection: DxlinkConnection,
        wanted: dict[ContractKey, Wanted | None],
    ) -> None:
        """Show what is missing in the state; log each thing when it is first missing."""
        condition = connection.condition
        unknown = [str(key) for key, each in wanted.items() if each is None]
        problems = self._portfolio.problems if self._portfolio is not None else ()
        for thing, reasons in (
            (_PORTFOLIO, problems),
            (_SYMBOLS, [f"no streamer symbol for {key}" for key in unknown]),
        ):
            if reasons:
                condition.lack(thing, _in_short(reasons))
            else:
                condition.mended(thing)
        for key in unknown:
            if key not in self._told:
                logger.warning("tastytrade.streamer_symbol_unknown contract=%s", key)
        for problem in problems:
            if problem not in self._told:
                logger.warning("tastytrade.position_unread problem=%s", problem)
        self._told = frozenset([*unknown, *problems])


def _in_short(reasons: Sequence[str]) -> str:
    """Return the first reason and how many more there are."""
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"


def _positions_distance(exc: BrokerError) -> float:
    """Return the seconds to stay away; the account stream may ask all the time."""
    asked_s = exc.retry_after if isinstance(exc, FeedInterrupted) else None
    return max(POSITIONS_DISTANCE_S, min(asked_s or 0.0, MAX_POSITIONS_DISTANCE_S))


def _login(config: TastytradeConfig) -> tuple[object, ...]:
    """Return what a connection cannot change while it lives."""
    return config.secret, config.refresh, config.api_url, config.streamer_url
