"""DXLink's side of the campaign: frames for `Connection.run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import chain
from random import Random
from typing import Any, Final

import trio

from greeks_trio.brokers.tastytrade.connection import Connection
from greeks_trio.brokers.tastytrade.portfolio import Portfolio
from greeks_trio.brokers.tastytrade.positions.positions import WantedContract
from greeks_trio.brokers.tastytrade.session import QuoteToken, TastytradeSession
from greeks_trio.config.settings import Secret, TastytradeConfig
from greeks_trio.errors import FeedInterrupted
from greeks_trio.feeds.contract_gaps import ContractGaps
from greeks_trio.feeds.position_log import PositionLog
from greeks_trio.model.contracts import (
    ContractKey,
    StreamerSymbol,
    contract_from_occ,
)
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import UnifiedPositionRecord
from greeks_trio.pipeline.journal import Journal
from tests.fuzz.target import START_MS, Enough, Lane, Sent, bent_frame, expect_nothing
from tests.fuzz.tick_rules import GREEKS, WrongTick

# Bent frames are about these.
SYMBOLS: Final = {
    ".SPY261218C600": "SPY   261218C00600000",
    ".F261218C12.5": "F     261218C00012500",
    ".SPXW261120P6000": "SPXW  261120P06000000",
}
UNDERLYING: Final = "SPY"
# The channel that the connection opens for Greeks.
FEED_CHANNEL: Final = 1
# No bent frame is about these, so their memory has to stay right.
CLEAN: Final = ".CLEAN261218P500"
CLEAN_KEY: Final = "CLEAN 261218P00500000"
CLEAN_UNDERLYING: Final = "CLEAN"
CLEAN_CHANNEL: Final = 918_273_645
HOLDERS: Final = (Holder("5WX00001", Decimal(-2)), Holder("5WX00002", Decimal(5)))

_DOUBLES: Final = (*GREEKS, "volatility")
_COLUMNS: Final = (
    *("eventType", "eventSymbol", "eventTime", "eventFlags", "index", "time"),
    *("sequence", "price", *_DOUBLES),
)
_PRICES: Final = {
    "Trade": ("eventSymbol", "price", "size", "time"),
    "TradeETH": ("eventSymbol", "price", "time"),
    "Quote": ("eventSymbol", "bidPrice", "askPrice"),
}
# What stands for "unset" in programs in C and Java.
_UNSET: Final = 1.7976931348623157e308
_ALL_COLUMNS: Final = {"Greeks": _COLUMNS, **_PRICES}
WORDS: Final = (
    *_COLUMNS,
    *("type", "channel", "data", "eventFields", "Greeks", "Quote", "Trade", "Candle"),
    "TradeETH",
    *(
        "bidPrice",
        "askPrice",
        "dataFormat",
        "state",
        "AUTHORIZED",
        "service",
        "version",
    ),
    *("FEED_DATA", "FEED_CONFIG", "SETUP", "KEEPALIVE", "ERROR", "CHANNEL_OPENED"),
    *("keepaliveTimeout", "error", "message", *SYMBOLS, UNDERLYING),
)


def wanted() -> dict[ContractKey, WantedContract]:
    """Return the contracts to stream."""
    pairs = [(symbol, key, UNDERLYING) for symbol, key in SYMBOLS.items()]
    pairs.append((CLEAN, CLEAN_KEY, CLEAN_UNDERLYING))
    return {
        ContractKey(key): WantedContract(
            contract_from_occ(key),
            HOLDERS,
            StreamerSymbol(symbol),
            StreamerSymbol(underlying),
        )
        for symbol, key, underlying in pairs
    }


class DxlinkFrames:
    """Makes the frames, and remembers the right ticks of the clean contract."""

    def __init__(self) -> None:
        self.lane: Lane
        self._underlying_price: float | None = None
        self._underlying_price_at: datetime | None = None

    def connected(self) -> None:
        """Announce the clean channel's columns; a connection forgets them."""
        self._underlying_price = self._underlying_price_at = None
        frame = _message("FEED_CONFIG", CLEAN_CHANNEL, eventFields=_ALL_COLUMNS)
        self.lane.pending.clear()
        self.lane.pending.append(Sent(json.dumps(frame), "good", expect_nothing))

    def make(self, _index: int, rng: Random) -> Sent:
        """Return the frame of an index."""
        kind = rng.random()
        if kind < 0.03:
            return self._full(rng)
        if kind < 0.06:
            return self._announced(rng)
        if kind < 0.10:
            return self._clean(rng)
        if kind < 0.12:
            return self._price(rng)
        kind_name, data = bent_frame(rng, partial(_seed, self.lane.now_ms), WORDS)
        if kind_name == "bytes" and not _is_json(data):
            kind_name = "not JSON"
        frame: str | bytes = data
        if rng.random() < 0.9:
            frame = data.decode("utf-8", rng.choice(("replace", "surrogateescape")))
        return Sent(frame, kind_name)

    def _full(self, rng: Random) -> Sent:
        symbol = rng.choice(list(SYMBOLS))
        event, expected = self._event(rng, symbol)
        frame = _message("FEED_DATA", FEED_CHANNEL, data=[event])
        return self._good(frame, [expected])

    def _announced(self, rng: Random) -> Sent:
        """Columns in another order, and then events in that order."""
        columns = list(_COLUMNS)
        rng.shuffle(columns)
        events = [self._event(rng, symbol) for symbol in SYMBOLS]
        values = [event[column] for event, _ in events for column in columns]
        data = _message("FEED_DATA", FEED_CHANNEL, data=["Greeks", values])
        self.lane.pending.append(self._good(data, [expected for _, expected in events]))
        config = _message("FEED_CONFIG", FEED_CHANNEL, eventFields={"Greeks": columns})
        return Sent(json.dumps(config), "good", expect_nothing)

    def _clean(self, rng: Random) -> Sent:
        event, expected = self._event(rng, CLEAN, missing=0.1)
        expected["underlying_price"] = self._underlying_price
        expected["underlying_price_at"] = self._underlying_price_at
        values = [event[column] for column in _COLUMNS]
        frame = _message("FEED_DATA", CLEAN_CHANNEL, data=["Greeks", values])
        return self._good(frame, [expected])

    def _price(self, rng: Random) -> Sent:
        """A market, and a trade in it, or an old one outside it."""
        cents = rng.randrange(1_000, 10**6)
        price = cents / 100
        self._underlying_price, self._underlying_price_at = price, self.lane.now
        now_ms = self.lane.now_ms
        trade, at_ms = rng.choice(((price, now_ms), (price, 0), (price / 2, START_MS)))
        trades = [CLEAN_UNDERLYING, trade, "NaN", at_ms]
        trades += [CLEAN_UNDERLYING, "NaN", 3, now_ms]
        late = [CLEAN_UNDERLYING, price * 3, START_MS - 1000]
        quote = [CLEAN_UNDERLYING, (cents - 1) / 100, (cents + 1) / 100]
        data = ["Trade", trades, "TradeETH", late, "Quote", quote]
        frame = _message("FEED_DATA", CLEAN_CHANNEL, data=data)
        return Sent(json.dumps(frame), "good", expect_nothing)

    def _event(
        self, rng: Random, symbol: str, missing: float = 0.0
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a Greeks event and what its ticks have to hold."""
        at_ms = self.lane.now_ms
        event = _greeks_event(rng, symbol, at_ms)
        for name in _DOUBLES[1:]:
            if rng.random() < missing:
                event[name] = rng.choice(("NaN", "Infinity", "-Infinity", _UNSET))
        meant = {
            name: event[field] if _is_real(event[field]) else None
            for field, name in (
                *((name, name) for name in GREEKS),
                ("volatility", "implied_volatility"),
                ("price", "price"),
            )
        }
        meant["contract_key"] = SYMBOLS.get(symbol, CLEAN_KEY)
        return event, meant

    def _good(self, frame: dict[str, Any], expected: list[dict[str, Any]]) -> Sent:
        return Sent(json.dumps(frame), "good", partial(self._check, expected))

    def _check(
        self, expected: list[dict[str, Any]], ticks: list[UnifiedPositionRecord]
    ) -> None:
        each_twice = [values for values in expected for _ in HOLDERS]
        if len(ticks) != len(each_twice):
            raise WrongTick(f"{len(ticks)} ticks instead of {len(each_twice)}")
        for tick, values in zip(ticks, each_twice, strict=True):
            found = {name: getattr(tick, name) for name in values}
            if found != values or tick.event_time != self.lane.now:
                raise WrongTick(f"{found} instead of {values}")


class DxlinkSocket:
    """Stands in for the quote server's websocket: a handshake, then the lane's frames."""

    def __init__(self, lane: Lane, subscribed: Callable[[], None]) -> None:
        self._lane = lane
        self._subscribed = subscribed
        self._replies, self._handshake = trio.open_memory_channel[str](10)

    async def receive(self) -> list[str | bytes]:
        """Return the next frame."""
        try:
            return [await self._handshake.receive()]
        except trio.EndOfChannel:
            return [self._lane.next_frame()]

    async def send(self, frame: str) -> None:
        """Answer as a server does; after the subscription the lane's frames come."""
        request = json.loads(frame)
        if (
            request["type"] == "FEED_SUBSCRIPTION"
            and request["channel"] == FEED_CHANNEL
        ):
            self._subscribed()
            self._replies.close()
        for reply in _HANDSHAKE.get(request["type"], ()):
            answer = reply | {"channel": request["channel"]}
            self._replies.send_nowait(json.dumps(answer))


async def run_dxlink(
    lane: Lane, frames: DxlinkFrames, watch: Callable[[object], None]
) -> None:
    """Read frames until the lane has no more, over as many connections as it takes.

    ``watch`` gets the objects of each new connection.
    """
    while True:
        reasons: list[str] = []
        try:
            await _run_connection(lane, frames, watch)
        except* Enough:
            is_over = True
        except* FeedInterrupted as group:
            is_over = False
            # Without the words of the server, which may be anything.
            reasons += [str(each).split(", after")[0] for each in group.exceptions]
        else:
            raise AssertionError("a connection ends by raising")
        if is_over:
            return
        lane.settle(ended=True)
        lane.kinds[f"end: {reasons[0]}"] += 1


async def _run_connection(
    lane: Lane, frames: DxlinkFrames, watch: Callable[[object], None]
) -> None:
    token = QuoteToken("ws://nowhere", Secret("quote-token"), "realtime")
    portfolio = Portfolio(lane.health, PositionLog("tastytrade", Journal()))
    portfolio.wanted = dict(wanted())
    connection = Connection(
        DxlinkSocket(lane, frames.connected),  # type: ignore[arg-type]
        TastytradeSession(None),  # type: ignore[arg-type]  # it has nothing to read
        portfolio,
        health=lane.health,
        out=lane.out,
        token=token,
        current_config=TastytradeConfig,
        gaps=ContractGaps(lane.health.gaps),
    )
    watch((connection, lane.health))
    await connection.run(trio.sleep_forever)


def _message(kind: str, channel: int, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "channel": channel, **fields}


_HANDSHAKE: Final = {
    "SETUP": (
        _message("SETUP", 0, version="1.0", keepaliveTimeout=60),
        _message("AUTH_STATE", 0, state="UNAUTHORIZED"),
    ),
    "AUTH": (_message("AUTH_STATE", 0, state="AUTHORIZED", userId="u"),),
    "CHANNEL_REQUEST": (
        _message("CHANNEL_OPENED", FEED_CHANNEL, service="FEED", parameters={}),
    ),
}

_NOTICES: Final = (
    _message("SETUP", 0, version="1.0-1.2.1", keepaliveTimeout=60),
    _message("KEEPALIVE", 0),
    _message("AUTH_STATE", 0, state="AUTHORIZED", userId="u"),
    _message("CHANNEL_OPENED", 1, service="FEED", parameters={"contract": "AUTO"}),
    _message("CHANNEL_CLOSED", 3),
    _message("ERROR", 0, error="TIMEOUT", message="no AUTH for 10 s"),
    _message("ERROR", 1, error="BAD_ACTION", message="subscription size is too big"),
    _message("ERROR", 0, error="UNKNOWN", message="Session not found: api"),
    _message("FEED_CONFIG", 1, aggregationPeriod=0.1, dataFormat="COMPACT"),
    _message("FEED_CONFIG", 1, dataFormat="FULL", eventFields={"Quote": ["bidPrice"]}),
    _message("FEED_CONFIG", 1, dataFormat="COMPACT", eventFields=_ALL_COLUMNS),
)
# These end the connection, which is as it should be, and takes time.
_ENDINGS: Final = (
    _message("AUTH_STATE", 0, state="UNAUTHORIZED"),
    _message("CHANNEL_CLOSED", 1),
)


def _seed(now_ms: int, rng: Random) -> dict[str, Any]:
    """Return a message that the server might send."""
    kind = rng.random()
    if kind < 0.01:
        return dict(rng.choice(_ENDINGS))
    if kind < 0.2:
        return json.loads(json.dumps(rng.choice(_NOTICES)))  # type: ignore[no-any-return]
    at_ms = now_ms + rng.choice((0, 0, -5, 250, 10**9, -START_MS))
    symbols = rng.choices([*SYMBOLS, "SPY", ".NOBODY261218C1"], k=rng.randrange(1, 5))
    if kind < 0.3:
        quotes = [[each, 1.5, rng.choice((2, "NaN", 0, None))] for each in symbols]
        kinds = ("Quote", "Trade", "TradeETH")
        data: list[Any] = [rng.choice(kinds), [*chain(*quotes)]]
        return _message("FEED_DATA", 1, data=data)
    events = [_greeks_event(rng, each, at_ms) for each in symbols]
    for event in events:
        if rng.random() < 0.2:
            event[rng.choice(_DOUBLES)] = rng.choice(("NaN", "Infinity", None))
            event["eventFlags"] = rng.choice((0, 4, 10, 14))
    if kind < 0.6:
        return _message("FEED_DATA", 1, data=events)
    values = [event[column] for event in events for column in _COLUMNS]
    return _message("FEED_DATA", rng.choice((1, 1, 3)), data=["Greeks", values])


def _greeks_event(rng: Random, symbol: str, at_ms: int) -> dict[str, Any]:
    return {
        "eventType": "Greeks",
        "eventSymbol": symbol,
        "eventTime": 0,
        "eventFlags": 0,
        "index": at_ms // 1000 << 32 | at_ms % 1000 << 22,
        "time": at_ms,
        "sequence": 0,
        "price": rng.choice((12.5, 0.0, 1_204.25, "NaN", -1.0, _UNSET)),
        **{name: rng.uniform(-1, 1) for name in _DOUBLES},
        "volatility": rng.uniform(0.001, 3),
    }


def _is_real(value: object) -> bool:
    return isinstance(value, float) and value not in (_UNSET, -1.0)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
