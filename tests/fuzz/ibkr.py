"""IBKR's side of the campaign: frames for `FrameReader.run`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, Final

from greeks_trio.brokers.ibkr.lines.plan import Plan, WantedContract
from greeks_trio.brokers.ibkr.lines.renewals import LineSchedule
from greeks_trio.brokers.ibkr.lines.rotation import Rotation
from greeks_trio.brokers.ibkr.state import StreamState
from greeks_trio.brokers.ibkr.ticks import FrameReader
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.feeds.silence import SilenceWatch
from greeks_trio.model.contracts import Conid, contract_from_occ
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import UnifiedPositionRecord
from tests.fuzz import material
from tests.fuzz.target import START_MS, Enough, Lane, Sent, bent_frame, expect_nothing
from tests.fuzz.tick_rules import WrongTick

# Bent frames are about these.
OPTIONS: Final = {
    7: "SPY   261218C00600000",
    584891614: "SPY   250117C00440000",
    580947749: "META  240621P00330000",
}
UNDERLYING: Final = 756733
# No bent frame is about these, so their memory has to stay right.
CLEAN: Final = 918_273_645_546
CLEAN_UNDERLYING: Final = 192_837_465_564
HOLDERS: Final = (Holder("U7654321", Decimal(-2)), Holder("U1234567", Decimal(5)))

_GREEKS: Final = {"7308": "delta", "7309": "gamma", "7310": "theta", "7311": "vega"}
_VOLATILITY: Final = "7633"
_NO_VALUE: Final = ("", "N/A")
# What stands for "unset" in the programs behind the gateway.
_UNSET: Final = ("1.7976931348623157E308", "2147483647", "-9223372036854775808")
_PRICES: Final = {"7635": "price", "84": "bid", "86": "ask"}

WORDS: Final = (
    *_GREEKS,
    *("7633", "6509", "31", "84", "86", "7635", "topic", "conid", "conidEx"),
    "_updated",
    *("success", "hb", "message", "error", "args", "code", "server_id", "6119", "6508"),
    *(
        "authenticated",
        "competing",
        "connected",
        "system",
        "sts",
        "tic",
        "smd+7",
        "ntf",
    ),
    *("smd+584891614", "smd+756733", "smd+7@SMART", "waiting for session", "session"),
)


def wanted() -> dict[Conid, WantedContract]:
    """Return the contracts to stream."""
    options = {
        Conid(conid): WantedContract(
            contract_from_occ(symbol), HOLDERS, Conid(UNDERLYING)
        )
        for conid, symbol in OPTIONS.items()
    }
    clean = contract_from_occ("QQQ   261218P00500000")
    options[Conid(CLEAN)] = WantedContract(clean, HOLDERS, Conid(CLEAN_UNDERLYING))
    return options


class IbkrFrames:
    """Makes the frames, and remembers the right ticks of the clean contract."""

    def __init__(self) -> None:
        self.lane: Lane
        self._known: dict[str, float | None] = dict.fromkeys(
            (*_GREEKS.values(), "implied_volatility", *_PRICES.values())
        )
        self._underlying_price: float | None = None
        self._underlying_price_at: datetime | None = None

    def make(self, _index: int, rng: Random) -> Sent:
        """Return the frame of an index."""
        kind = rng.random()
        if kind < 0.05:
            return self._full(rng)
        if kind < 0.10:
            return self._partial(rng)
        if kind < 0.12:
            return self._underlying(rng)
        kind_name, data = bent_frame(rng, partial(_seed, self.lane.now_ms), WORDS)
        if kind_name == "bytes" and not _is_json(data):
            kind_name = "not JSON"
        frame: str | bytes = data
        if rng.random() < 0.1:
            frame = data.decode("utf-8", rng.choice(("replace", "surrogateescape")))
        return Sent(frame, kind_name)

    def _full(self, rng: Random) -> Sent:
        """A frame with all fields: nothing before it may show."""
        conid = rng.choice(list(OPTIONS))
        fields, expected = _values(rng, [*_GREEKS, _VOLATILITY])
        letter, availability = rng.choice(
            (
                ("RpB", "realtime"),
                ("DPB", "delayed"),
                ("ZB", "frozen"),
                ("N", "unknown"),
            )
        )
        frame = self._quote(rng, conid, fields | {"6509": letter})
        expected |= {"availability": availability, "contract_key": OPTIONS[conid]}
        return Sent(frame, "good", partial(self._check, expected))

    def _partial(self, rng: Random) -> Sent:
        """A frame with some fields: the others are those of the frames before."""
        names = rng.sample([*_GREEKS, _VOLATILITY], rng.randrange(1, 5))
        fields, carried = _values(rng, names, missing=0.1)
        prices, priced = _option_prices(rng)
        fields |= prices
        self._known |= carried | priced
        expected = self._known | {
            "contract_key": "QQQ   261218P00500000",
            "underlying_price": self._underlying_price,
            "underlying_price_at": self._underlying_price_at,
            "availability": "unknown",
        }
        frame = self._quote(rng, CLEAN, fields)
        if all(self._known[name] is None for name in _GREEKS.values()):
            return Sent(frame, "good", expect_nothing)
        return Sent(frame, "good", partial(self._check, expected))

    def _underlying(self, rng: Random) -> Sent:
        """A market, with a trade in it, or one from before it, or none."""
        cents = rng.randrange(1_000, 10**6)
        price = cents / 100
        self._underlying_price = price
        self._underlying_price_at = self.lane.now
        last = rng.choice((f"{price:.2f}", f"{price / 2:.2f}", f"C{price:.2f}", "-1"))
        bid, ask = f"{(cents - 1) / 100:.2f}", f"{(cents + 1) / 100:.2f}"
        fields = {
            "31": last,
            "84": bid,
            "86": ask,
            "7635": rng.choice((bid, ask, "-1")),
        }
        frame = self._quote(rng, CLEAN_UNDERLYING, fields)
        return Sent(frame, "good", expect_nothing)

    def _quote(self, rng: Random, conid: int, fields: dict[str, str]) -> bytes:
        now_ms = self.lane.now_ms
        content: list[tuple[str, Any]] = [
            *_envelope(conid, now_ms).items(),
            *fields.items(),
        ]
        rng.shuffle(content)
        return json.dumps(dict(content)).encode()

    def _check(
        self, expected: dict[str, object], ticks: list[UnifiedPositionRecord]
    ) -> None:
        if [tick.account_id for tick in ticks] != [each.account_id for each in HOLDERS]:
            raise WrongTick(f"{len(ticks)} ticks")
        for tick in ticks:
            found = {name: getattr(tick, name) for name in expected}
            if found != expected or tick.event_time != self.lane.now:
                raise WrongTick(f"{found} instead of {expected}")


class IbkrSocket:
    """Stands in for the gateway's websocket."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def receive(self) -> list[str | bytes]:
        """Return the next frame."""
        return [self._lane.next_frame()]

    async def send(self, _frame: str) -> None:
        """Take the session that a frame asked for."""


async def run_ibkr(lane: Lane, watch: Callable[[object], None]) -> None:
    """Read frames until the lane has no more; ``watch`` gets the objects of the feed."""
    state = StreamState("5e5510", LineSchedule(jitter=lambda: 0.0), Rotation())
    options = wanted()
    conids = (*options, Conid(UNDERLYING), Conid(CLEAN_UNDERLYING))
    state.plan_changed(Plan(options, conids), 0.0)
    while state.lines.take_due(0.0) is not None:
        pass
    silence = SilenceWatch(lambda: math.inf)
    reader = FrameReader(lane.health, lane.out, state, IbkrProtocol(state), silence)
    watch((reader, lane.health))
    with suppress(Enough):
        await reader.run(IbkrSocket(lane))  # type: ignore[arg-type]


def _values(
    rng: Random, numbers: list[str], missing: float = 0.0
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return fields as the gateway writes them, and their values."""
    fields: dict[str, str] = {}
    meant: dict[str, Any] = {}
    for number in numbers:
        name = _GREEKS.get(number, "implied_volatility")
        if rng.random() < missing:
            fields[number], meant[name] = rng.choice(_NO_VALUE + _UNSET), None
        elif number == _VOLATILITY:
            text = f"{rng.randrange(1, 3000) / 10:.1f}"
            fields[number], meant[name] = f"{text}%", float(text) / 100
        else:
            # Neither gamma nor vega is negative, and no delta is larger than 1.
            low = 0 if name in ("gamma", "vega") else -1000
            fields[number] = f"{rng.randrange(low, 1001) / 1000:.3f}"
            meant[name] = float(fields[number])
    return fields, meant


def _option_prices(rng: Random) -> tuple[dict[str, str], dict[str, Any]]:
    """Return some of an option's prices as the gateway writes them, and their values."""
    fields: dict[str, str] = {}
    meant: dict[str, Any] = {}
    for number in rng.sample([*_PRICES], rng.randrange(len(_PRICES) + 1)):
        name = _PRICES[number]
        if rng.random() < 0.2:
            fields[number], meant[name] = rng.choice((*_NO_VALUE, *_UNSET, "-1")), None
        else:
            fields[number] = f"{rng.randrange(1, 10**6) / 100:,.2f}"
            meant[name] = float(fields[number].replace(",", ""))
    return fields, meant


def _envelope(conid: int, at_ms: int) -> dict[str, Any]:
    return {
        "topic": f"smd+{conid}",
        "conid": conid,
        "conidEx": str(conid),
        "server_id": "q7",
        "6119": "q7",
        "_updated": at_ms,
    }


def _seed(now_ms: int, rng: Random) -> dict[str, Any]:
    """Return a frame that the gateway might send."""
    if rng.random() < 0.3:
        return json.loads(json.dumps(rng.choice(_NOTICES)))  # type: ignore[no-any-return]
    conid = rng.choice((*OPTIONS, *OPTIONS, UNDERLYING, 265598))
    at_ms = now_ms + rng.choice((0, 0, 0, -5, -60_000, 40, 299_000, 10**9, -START_MS))
    frame = _envelope(conid, at_ms)
    if conid == UNDERLYING:
        prices = ("668.25", "C4735.10", "H12", "1,234.5", "-", "N/A", 420.49)
        names = rng.sample(("31", "84", "86", "7635"), 2)
        frame |= {key: rng.choice((*prices, *_UNSET, -1, 0)) for key in names}
        return frame
    names = rng.sample([*_GREEKS, _VOLATILITY], rng.randrange(6))
    frame |= _values(rng, names, 0.1)[0]
    if rng.random() < 0.3:
        frame |= {"6509": "RpB", "87": "21.7K", "87_raw": 1.22e7, "83": -1.63}
    if rng.random() < 0.3:
        frame |= _option_prices(rng)[0] | {"31": rng.choice(("2.4", "C2.4", "-1"))}
    if rng.random() < 0.1:
        frame |= {"55": "-", "31": "N/A"}
    return frame


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data.decode("utf-8", "replace").removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return False
    return True


_NOTICES: Final = (
    {"topic": "system", "success": "someone", "isFT": False, "isPaper": True},
    {"topic": "system", "hb": START_MS},
    {"topic": "act", "args": {"accounts": ["U1234567"], "sessionId": "6a.0001"}},
    {
        "topic": "sts",
        "args": {"authenticated": True, "competing": False, "message": ""},
    },
    {"topic": "sts", "args": {"authenticated": False}},
    {"topic": "sts", "args": {"competing": True}},
    {"topic": "blt", "args": [{"id": 7, "message": "closed on Thursday"}]},
    {"topic": "ntf", "args": [{"title": "FYI", "text": "a text", "url": ""}]},
    {"topic": "tic", "alive": True, "id": "5e5510", "lastAccessed": START_MS},
    {"message": "waiting for session"},
    {"error": "Topic unknown '{\"s'", "code": 1},
    {"topic": "sor", "error": "not authenticated"},
    {"topic": "smd+28812380;;;646629987/-1,9/2", "_updated": START_MS, "31": "1.5"},
    {"topic": "error", "args": {"code": 2, "message": material.STRANGE_TEXTS[0]}},
)
